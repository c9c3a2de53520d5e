"""Llama and its relatives: llama, mistral, qwen2."""

from __future__ import annotations

from peftnas.methods.anatomies.family import Family, SublayerPaths, Tap

LLAMA = Family(
    name="llama",
    model_types=("llama", "mistral", "qwen2"),
    norm_order="pre",
    causal=True,
    learned_positions=False,
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
    attention=SublayerPaths(
        residual=Tap("input_layernorm", 0, "hidden_states"),
        exit="self_attn",
        norm="input_layernorm",
    ),
    # in spite of its name this norm stands before the FFN
    ffn=SublayerPaths(
        residual=Tap("post_attention_layernorm", 0, "hidden_states"),
        exit="mlp",
        norm="post_attention_layernorm",
    ),
    core="self_attn",
    embeddings="embed_tokens",
    word_embeddings="embed_tokens",
    outer_norms={"final_norm": "norm"},
)
