"""Whisper: a speech encoder without words, and a decoder of text; norms before the sublayers."""

from __future__ import annotations

from peftnas.methods.anatomies.bart import ATTENTION_LINEARS, CROSS_LINEARS, FFN_LINEARS
from peftnas.methods.anatomies.family import Family, Stack, SublayerPaths, Tap

_ATTENTION = SublayerPaths(
    residual=Tap("self_attn_layer_norm", 0, "input"),
    exit="self_attn",
    norm="self_attn_layer_norm",
    core="self_attn",
)
_CROSS_ATTENTION = SublayerPaths(
    residual=Tap("encoder_attn_layer_norm", 0, "input"),
    exit="encoder_attn",
    norm="encoder_attn_layer_norm",
    core="encoder_attn",
)
_FFN = SublayerPaths(
    residual=Tap("final_layer_norm", 0, "input"), exit="fc2", norm="final_layer_norm"
)

WHISPER = Family(
    name="whisper",
    model_types=("whisper",),
    norm_order="pre",
    positions="learned",
    stacks=(
        Stack(
            name="encoder",
            entry="encoder",
            layers="encoder.layers",
            linears=ATTENTION_LINEARS | FFN_LINEARS,
            sublayers={"attention": _ATTENTION, "ffn": _FFN},
            causal=False,
            tokens=None,
            embeddings=None,
            word_embeddings=None,
            outer_norms={"final_norm": "encoder.layer_norm"},
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
            outer_norms={"final_norm": "decoder.layer_norm"},
            heads="decoder_attention_heads",
        ),
    ),
)
