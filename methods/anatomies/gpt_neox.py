"""GPT-NeoX (pythia): one projection for query, key and value, head by head; parallel residual."""

from __future__ import annotations

from peftnas.methods.anatomies.family import Family, Fused, Stack, SublayerPaths, Tap

GPT_NEOX = Family(
    name="gpt_neox",
    model_types=("gpt_neox",),
    norm_order="pre",
    positions="rotary",
    stacks=(
        Stack(
            layers="layers",
            linears={
                "query": Fused("attention.query_key_value", 0, per_head=True),
                "key": Fused("attention.query_key_value", 1, per_head=True),
                "value": Fused("attention.query_key_value", 2, per_head=True),
                "output": "attention.dense",
                "up": "mlp.dense_h_to_4h",
                "down": "mlp.dense_4h_to_h",
            },
            sublayers={
                "attention": SublayerPaths(
                    residual=Tap("input_layernorm", 0, "input"),
                    exit="post_attention_dropout",
                    norm="input_layernorm",
                    core="attention",
                ),
                "ffn": SublayerPaths(
                    residual=Tap("post_attention_layernorm", 0, "input"),
                    exit="post_mlp_dropout",
                    norm="post_attention_layernorm",
                ),
            },
            causal=True,
            embeddings="embed_in",
            word_embeddings="embed_in",
            outer_norms={"final_norm": "final_layer_norm"},
        ),
    ),
)
