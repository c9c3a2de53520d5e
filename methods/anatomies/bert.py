"""BERT and its relatives: bert, roberta, electra."""

from __future__ import annotations

from peftnas.methods.anatomies.family import Family, Stack, SublayerPaths, Tap

BERT = Family(
    name="bert",
    model_types=("bert", "roberta", "electra"),
    norm_order="post",
    positions="learned",
    stacks=(
        Stack(
            layers="encoder.layer",
            linears={
                "query": "attention.self.query",
                "key": "attention.self.key",
                "value": "attention.self.value",
                "output": "attention.output.dense",
                "up": "intermediate.dense",
                "down": "output.dense",
            },
            sublayers={
                "attention": SublayerPaths(
                    residual=Tap("attention.output", 1, "input_tensor"),
                    exit="attention.output.dropout",
                    norm="attention.output.LayerNorm",
                    core="attention.self",
                ),
                "ffn": SublayerPaths(
                    residual=Tap("output", 1, "input_tensor"),
                    exit="output.dropout",
                    norm="output.LayerNorm",
                ),
            },
            causal=False,
            embeddings="embeddings",
            word_embeddings="embeddings.word_embeddings",
            # the pooler is left out by some task heads; only electra can have the projection
            outer_linears={
                "pooler": "pooler.dense",
                "embeddings_project": "embeddings_project",
            },
            outer_norms={"embeddings_norm": "embeddings.LayerNorm"},
            optional=("pooler", "embeddings_project"),
        ),
    ),
)
