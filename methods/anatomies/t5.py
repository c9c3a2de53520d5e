"""T5, plain and gated (v1.1, flan): encoder-decoder, relative positions, RMS norms, no bias."""

from __future__ import annotations

from peftnas.methods.anatomies.family import Family, Stack, SublayerPaths, Tap

_ATTENTION = SublayerPaths(
    residual=Tap("layer.0.layer_norm", 0, "hidden_states"),
    exit="layer.0.dropout",
    norm="layer.0.layer_norm",
    core="layer.0.SelfAttention",
)
_CROSS_ATTENTION = SublayerPaths(
    residual=Tap("layer.1.layer_norm", 0, "hidden_states"),
    exit="layer.1.dropout",
    norm="layer.1.layer_norm",
    core="layer.1.EncDecAttention",
)
_CROSS_LINEARS = {
    "cross_query": "layer.1.EncDecAttention.q",
    "cross_key": "layer.1.EncDecAttention.k",
    "cross_value": "layer.1.EncDecAttention.v",
    "cross_output": "layer.1.EncDecAttention.o",
}


def _ffn(number: int) -> SublayerPaths:
    return SublayerPaths(
        residual=Tap(f"layer.{number}.layer_norm", 0, "hidden_states"),
        exit=f"layer.{number}.dropout",
        norm=f"layer.{number}.layer_norm",
    )


def _linears(ffn: int, gated: bool) -> dict[str, str]:
    inside = {"up": "wi_1", "gate_proj": "wi_0"} if gated else {"up": "wi"}
    attention = {"query": "q", "key": "k", "value": "v", "output": "o"}
    return {name: f"layer.0.SelfAttention.{short}" for name, short in attention.items()} | {
        name: f"layer.{ffn}.DenseReluDense.{short}"
        for name, short in (inside | {"down": "wo"}).items()
    }


def _family(gated: bool) -> Family:
    return Family(
        name="t5_gated" if gated else "t5",
        model_types=("t5",),
        when={"is_gated_act": gated},
        norm_order="pre",
        positions="relative",
        stacks=(
            Stack(
                name="encoder",
                entry="encoder",
                layers="encoder.block",
                linears=_linears(1, gated),
                sublayers={"attention": _ATTENTION, "ffn": _ffn(1)},
                causal=False,
                embeddings="encoder.embed_tokens",
                word_embeddings="encoder.embed_tokens",
                outer_norms={"final_norm": "encoder.final_layer_norm"},
            ),
            Stack(
                name="decoder",
                entry="decoder",
                layers="decoder.block",
                linears=_linears(2, gated) | _CROSS_LINEARS,
                sublayers={
                    "attention": _ATTENTION,
                    "cross_attention": _CROSS_ATTENTION,
                    "ffn": _ffn(2),
                },
                causal=True,
                embeddings="decoder.embed_tokens",
                word_embeddings="decoder.embed_tokens",
                outer_norms={"final_norm": "decoder.final_layer_norm"},
            ),
        ),
    )


T5 = _family(gated=False)
T5_GATED = _family(gated=True)
