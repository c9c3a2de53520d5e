"""GPT-2: query, key and value are thirds of one projection, stored as Conv1D."""

from __future__ import annotations

from peftnas.methods.anatomies.family import Family, Fused, Stack, SublayerPaths, Tap

GPT2 = Family(
    name="gpt2",
    model_types=("gpt2",),
    norm_order="pre",
    positions="learned",
    stacks=(
        Stack(
            layers="h",
            linears={
                "query": Fused("attn.c_attn", 0),
                "key": Fused("attn.c_attn", 1),
                "value": Fused("attn.c_attn", 2),
                "output": "attn.c_proj",
                "up": "mlp.c_fc",
                "down": "mlp.c_proj",
            },
            sublayers={
                "attention": SublayerPaths(
                    residual=Tap("ln_1", 0, "input"),
                    exit="attn",
                    norm="ln_1",
                    core="attn",
                ),
                "ffn": SublayerPaths(
                    residual=Tap("ln_2", 0, "input"),
                    exit="mlp",
                    norm="ln_2",
                ),
            },
            causal=True,
            embeddings=None,
            word_embeddings="wte",
            outer_norms={"final_norm": "ln_f"},
        ),
    ),
)
