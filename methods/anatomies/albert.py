"""ALBERT: few physical layers, each called several times. Layers here are the physical ones."""

from __future__ import annotations

from peftnas.methods.anatomies.family import Family, Stack, SublayerPaths, Tap

ALBERT = Family(
    name="albert",
    model_types=("albert",),
    norm_order="post",
    positions="learned",
    stacks=(
        Stack(
            layers="encoder.albert_layer_groups.*.albert_layers",
            linears={
                "query": "attention.query",
                "key": "attention.key",
                "value": "attention.value",
                "output": "attention.dense",
                "up": "ffn",
                "down": "ffn_output",
            },
            sublayers={
                "attention": SublayerPaths(
                    residual=Tap("attention", 0, "hidden_states"),
                    exit="attention.output_dropout",
                    norm="attention.LayerNorm",
                    core="attention",
                ),
                "ffn": SublayerPaths(
                    residual=Tap("ffn", 0, "input"),
                    exit="ffn_output",
                    norm="full_layer_layer_norm",
                ),
            },
            causal=False,
            embeddings="embeddings",
            word_embeddings="embeddings.word_embeddings",
            outer_linears={
                "pooler": "pooler",
                "embeddings_project": "encoder.embedding_hidden_mapping_in",
            },
            outer_norms={"embeddings_norm": "embeddings.LayerNorm"},
            optional=("pooler",),
        ),
    ),
)
