"""OPT; the one of 350 M parameters has its norms behind the residual addition."""

from __future__ import annotations

import dataclasses

from peftnas.methods.anatomies.family import Family, Stack, SublayerPaths, Tap

_LINEARS = {
    "query": "self_attn.q_proj",
    "key": "self_attn.k_proj",
    "value": "self_attn.v_proj",
    "output": "self_attn.out_proj",
    "up": "fc1",
    "down": "fc2",
}

OPT = Family(
    name="opt",
    model_types=("opt",),
    when={"do_layer_norm_before": True},
    norm_order="pre",
    positions="learned",
    stacks=(
        Stack(
            layers="decoder.layers",
            linears=_LINEARS,
            sublayers={
                "attention": SublayerPaths(
                    residual=Tap("self_attn_layer_norm", 0, "input"),
                    exit="self_attn",
                    norm="self_attn_layer_norm",
                    core="self_attn",
                ),
                "ffn": SublayerPaths(
                    residual=Tap("final_layer_norm", 0, "input"),
                    exit="fc2",
                    norm="final_layer_norm",
                ),
            },
            causal=True,
            entry="decoder",
            embeddings=None,
            word_embeddings="decoder.embed_tokens",
            outer_linears={
                "embeddings_project": "decoder.project_in",
                "output_project": "decoder.project_out",
            },
            outer_norms={"final_norm": "decoder.final_layer_norm"},
            flattens=True,
            optional=("embeddings_project", "output_project", "final_norm"),
        ),
    ),
)

OPT_POST_NORM = dataclasses.replace(
    OPT,
    when={"do_layer_norm_before": False},
    norm_order="post",
    stacks=(
        dataclasses.replace(
            OPT.stacks[0],
            sublayers={
                "attention": SublayerPaths(
                    residual=Tap("self_attn", 0, "hidden_states"),
                    exit="self_attn",
                    norm="self_attn_layer_norm",
                    core="self_attn",
                ),
                "ffn": SublayerPaths(
                    residual=Tap("fc1", 0, "input"),
                    exit="fc2",
                    norm="final_layer_norm",
                ),
            },
        ),
    ),
)
