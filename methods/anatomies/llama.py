"""Llama and its relatives: llama, mistral, qwen2, qwen3, gemma; gemma2 with norms after F."""

from __future__ import annotations

import dataclasses

from peftnas.methods.anatomies.family import Family, Stack, SublayerPaths, Tap

_STACK = Stack(
    layers="layers",
    linears={
        "query": "self_attn.q_proj",
        "key": "self_attn.k_proj",
        "value": "self_attn.v_proj",
        "output": "self_attn.o_proj",
        "up": "mlp.up_proj",
        "gate_proj": "mlp.gate_proj",
        "down": "mlp.down_proj",
    },
    sublayers={
        "attention": SublayerPaths(
            residual=Tap("input_layernorm", 0, "hidden_states"),
            exit="self_attn",
            norm="input_layernorm",
            core="self_attn",
        ),
        # in spite of its name this norm stands before the FFN
        "ffn": SublayerPaths(
            residual=Tap("post_attention_layernorm", 0, "hidden_states"),
            exit="mlp",
            norm="post_attention_layernorm",
        ),
    },
    causal=True,
    embeddings="embed_tokens",
    word_embeddings="embed_tokens",
    outer_norms={"final_norm": "norm"},
    # qwen3 alone has them
    inner_norms={"query_norm": "self_attn.q_norm", "key_norm": "self_attn.k_norm"},
    optional=("query_norm", "key_norm"),
)

LLAMA = Family(
    name="llama",
    model_types=("llama", "mistral", "qwen2", "qwen3"),
    norm_order="pre",
    positions="rotary",
    stacks=(_STACK,),
)

# keeps the weights of norms minus 1, and calls what they read otherwise
GEMMA = dataclasses.replace(
    LLAMA,
    name="gemma",
    model_types=("gemma",),
    norm_offset=1.0,
    stacks=(
        dataclasses.replace(
            _STACK,
            sublayers={
                name: dataclasses.replace(paths, residual=Tap(paths.residual.module, 0, "x"))
                for name, paths in _STACK.sublayers.items()
            },
        ),
    ),
)

GEMMA2 = Family(
    name="gemma2",
    model_types=("gemma2",),
    norm_order="pre",
    positions="rotary",
    norm_offset=1.0,
    stacks=(
        dataclasses.replace(
            _STACK,
            # here the second norm of a sublayer stands behind F, and belongs to it
            sublayers={
                "attention": SublayerPaths(
                    residual=Tap("input_layernorm", 0, "x"),
                    exit="post_attention_layernorm",
                    norm="input_layernorm",
                    core="self_attn",
                ),
                "ffn": SublayerPaths(
                    residual=Tap("pre_feedforward_layernorm", 0, "x"),
                    exit="post_feedforward_layernorm",
                    norm="pre_feedforward_layernorm",
                ),
            },
            inner_norms={
                "attention_post_norm": "post_attention_layernorm",
                "ffn_post_norm": "post_feedforward_layernorm",
            },
            optional=(),
        ),
    ),
)
