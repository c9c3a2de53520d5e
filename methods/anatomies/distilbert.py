"""DistilBERT."""

from __future__ import annotations

from peftnas.methods.anatomies.family import Family, Stack, SublayerPaths, Tap

DISTILBERT = Family(
    name="distilbert",
    model_types=("distilbert",),
    norm_order="post",
    positions="learned",
    stacks=(
        Stack(
            layers="transformer.layer",
            linears={
                "query": "attention.q_lin",
                "key": "attention.k_lin",
                "value": "attention.v_lin",
                "output": "attention.out_lin",
                "up": "ffn.lin1",
                "down": "ffn.lin2",
            },
            sublayers={
                "attention": SublayerPaths(
                    residual=Tap("attention", 0, "hidden_states"),
                    exit="attention",
                    norm="sa_layer_norm",
                    core="attention",
                ),
                "ffn": SublayerPaths(
                    residual=Tap("ffn", 0, "input"),
                    exit="ffn",
                    norm="output_layer_norm",
                ),
            },
            causal=False,
            embeddings="embeddings",
            word_embeddings="embeddings.word_embeddings",
            outer_norms={"embeddings_norm": "embeddings.LayerNorm"},
        ),
    ),
)
