"""DeBERTa v2 and v3."""

from __future__ import annotations

from peftnas.methods.anatomies.family import Family, Stack, SublayerPaths, Tap

# one projection for texts and for the table of distances, which all rows of a batch read
_ONE_PROJECTION = {"relative_attention": True, "share_att_key": True}

DEBERTA = Family(
    name="deberta",
    model_types=("deberta-v2",),
    norm_order="post",
    positions="relative",
    stacks=(
        Stack(
            layers="encoder.layer",
            linears={
                "query": "attention.self.query_proj",
                "key": "attention.self.key_proj",
                "value": "attention.self.value_proj",
                "output": "attention.output.dense",
                "up": "intermediate.dense",
                "down": "output.dense",
            },
            # it attends by itself, so no prefix can enter
            sublayers={
                "attention": SublayerPaths(
                    residual=Tap("attention.output", 1, "input_tensor"),
                    exit="attention.output.dropout",
                    norm="attention.output.LayerNorm",
                ),
                "ffn": SublayerPaths(
                    residual=Tap("output", 1, "input_tensor"),
                    exit="output.dropout",
                    norm="output.LayerNorm",
                ),
            },
            causal=False,
            embeddings=None,
            word_embeddings="embeddings.word_embeddings",
            outer_linears={"embeddings_project": "embeddings.embed_proj"},
            outer_norms={
                "embeddings_norm": "embeddings.LayerNorm",
                "relative_norm": "encoder.LayerNorm",
            },
            shared={"query": _ONE_PROJECTION, "key": _ONE_PROJECTION, "relative_norm": {}},
            optional=("embeddings_project", "relative_norm"),
        ),
    ),
)
