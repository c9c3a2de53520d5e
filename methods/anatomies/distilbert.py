"""DistilBERT."""

from __future__ import annotations

from peftnas.methods.anatomies.family import Family, SublayerPaths, Tap

DISTILBERT = Family(
    name="distilbert",
    model_types=("distilbert",),
    norm_order="post",
    causal=False,
    learned_positions=True,
    layers="transformer.layer",
    linears={
        "query": "attention.q_lin",
        "key": "attention.k_lin",
        "value": "attention.v_lin",
        "output": "attention.out_lin",
        "up": "ffn.lin1",
        "down": "ffn.lin2",
    },
    attention=SublayerPaths(
        residual=Tap("attention", 0, "hidden_states"),
        exit="attention",
        norm="sa_layer_norm",
    ),
    ffn=SublayerPaths(
        residual=Tap("ffn", 0, "input"),
        exit="ffn",
        norm="output_layer_norm",
    ),
    core="attention",
    embeddings="embeddings",
    word_embeddings="embeddings.word_embeddings",
    outer_norms={"embeddings_norm": "embeddings.LayerNorm"},
)
