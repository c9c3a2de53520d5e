"""BART: encoder-decoder with norms behind the residual addition."""

from __future__ import annotations

from peftnas.methods.anatomies.family import Family, Stack, SublayerPaths, Tap

ATTENTION_LINEARS = {
    "query": "self_attn.q_proj",
    "key": "self_attn.k_proj",
    "value": "self_attn.v_proj",
    "output": "self_attn.out_proj",
}
CROSS_LINEARS = {
    "cross_query": "encoder_attn.q_proj",
    "cross_key": "encoder_attn.k_proj",
    "cross_value": "encoder_attn.v_proj",
    "cross_output": "encoder_attn.out_proj",
}
FFN_LINEARS = {"up": "fc1", "down": "fc2"}

_ATTENTION = SublayerPaths(
    residual=Tap("self_attn", 0, "hidden_states"),
    exit="self_attn",
    norm="self_attn_layer_norm",
    core="self_attn",
)
_CROSS_ATTENTION = SublayerPaths(
    residual=Tap("encoder_attn", 0, "hidden_states"),
    exit="encoder_attn",
    norm="encoder_attn_layer_norm",
    core="encoder_attn",
)
_FFN = SublayerPaths(residual=Tap("fc1", 0, "input"), exit="fc2", norm="final_layer_norm")

BART = Family(
    name="bart",
    model_types=("bart",),
    norm_order="post",
    positions="learned",
    stacks=(
        Stack(
            name="encoder",
            entry="encoder",
            layers="encoder.layers",
            linears=ATTENTION_LINEARS | FFN_LINEARS,
            sublayers={"attention": _ATTENTION, "ffn": _FFN},
            causal=False,
            embeddings=None,
            word_embeddings="encoder.embed_tokens",
            outer_norms={"embeddings_norm": "encoder.layernorm_embedding"},
            heads="encoder_attention_heads",
        ),
        Stack(
            name="decoder",
            entry="decoder",
            layers="decoder.layers",
            linears=ATTENTION_LINEARS | CROSS_LINEARS | FFN_LINEARS,
            sublayers={
                "attention": _ATTENTION,
                "cross_attention": _CROSS_ATTENTION,
                "ffn": _FFN,
            },
            causal=True,
            embeddings=None,
            word_embeddings="decoder.embed_tokens",
            outer_norms={"embeddings_norm": "decoder.layernorm_embedding"},
            heads="decoder_attention_heads",
        ),
    ),
)
