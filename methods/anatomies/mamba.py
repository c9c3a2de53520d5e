"""Mamba: layers with one sublayer, a mixer without attention.

The fused kernel reads the weights of ``conv1d`` and ``out_proj`` by itself, so nothing at these
modules would run there; they are no sites.
"""

from __future__ import annotations

from peftnas.methods.anatomies.family import Family, Stack, SublayerPaths, Tap

MAMBA = Family(
    name="mamba",
    model_types=("mamba",),
    norm_order="pre",
    positions="none",
    stacks=(
        Stack(
            layers="layers",
            linears={"in_proj": "mixer.in_proj", "x_proj": "mixer.x_proj"},
            sublayers={
                "mixer": SublayerPaths(
                    residual=Tap("norm", 0, "hidden_states"),
                    exit="mixer",
                    norm="norm",
                ),
            },
            causal=True,
            embeddings="embeddings",
            word_embeddings="embeddings",
            outer_norms={"final_norm": "norm_f"},
            heads=None,
        ),
    ),
)
