"""Prefix tuning as HF peft holds it: a filled cache of keys and values, in every layer.

peft's prefix stands in the cache, so real tokens get positions l, l + 1, ... where ours get 0, 1,
... Rotary positions only turn queries and keys, R(p) at position p, and prefix keys k are not
turned: with keys R(l) k in the cache a query at p + l gives (R(p + l) q) . (R(l) k) =
(R(p) q) . k, so the function is the same. With learned or relative positions it is another.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from peftnas.methods.attach import AttachedModules
from peftnas.methods.base import Placement
from peftnas.methods.interchange.paths import refusal
from peftnas.methods.prefix_modules import FlatPrefix, MlpPrefix

if TYPE_CHECKING:
    from peft import PeftConfig

BY_LENGTH = ("dynamic", "longrope")
"""Kinds of rotary positions that turn otherwise in a longer text."""


def to_peft(attached: AttachedModules) -> tuple[PeftConfig, dict[str, Tensor]]:
    """The config, and ``prompt_embeddings``: (l, 2Lgc), keys and values layer by layer."""
    from peft import PrefixTuningConfig

    first = attached.placed[0][0]
    _check_backbone(attached, first)
    columns: list[Tensor] = []
    by_layer = _keys_and_values(attached)
    lengths = {len(keys) for keys, _ in by_layer.values()}
    if len(by_layer) < attached.anatomy.n_layers or len(lengths) > 1:
        raise refusal(first, "its prefix has the same length in every layer")
    [length] = lengths
    for layer in range(attached.anatomy.n_layers):
        keys, values = by_layer[layer]
        columns += [_turned(attached, layer, keys), values]
    shape = attached.anatomy.layers[0]
    config = PrefixTuningConfig(
        task_type="FEATURE_EXTRACTION",
        inference_mode=True,
        num_virtual_tokens=length,
        # of the keys, which may have fewer heads than the queries
        token_dim=shape.kv_heads * shape.head_width,
        num_layers=attached.anatomy.n_layers,
        num_attention_heads=shape.kv_heads,
        num_transformer_submodules=1,
    )
    return config, {"prompt_embeddings": torch.stack(columns, dim=1).flatten(1)}


def _check_backbone(attached: AttachedModules, placement: Placement) -> None:
    anatomy = attached.anatomy
    if len(anatomy.stacks) > 1:
        raise refusal(placement, "its prefix enters an encoder-decoder in another way")
    if anatomy.positions != "rotary" or not hasattr(attached.base, "rotary_emb"):
        raise refusal(
            placement,
            f"its prefix shifts the positions of the text, and with {anatomy.positions} positions "
            "that is another function",
        )
    if getattr(attached.base.get_submodule("rotary_emb"), "rope_type", "") in BY_LENGTH:
        raise refusal(placement, "its prefix makes texts longer, on which these positions depend")
    if getattr(attached.base.config, "sliding_window", None) is not None:
        raise refusal(placement, "its prefix gets out of sight in a sliding window")


def _keys_and_values(attached: AttachedModules) -> dict[int, tuple[Tensor, Tensor]]:
    """Layer -> keys and values of all its prefixes, (l, g, c) each."""
    found: dict[int, tuple[Tensor, Tensor]] = {}
    for placement, module in attached.placed:
        assert isinstance(module, FlatPrefix | MlpPrefix)
        if module.placement.gate is not None:
            raise refusal(placement, "it has no gates")
        for layer in module.placement.layers:
            with torch.no_grad():
                here = (
                    module.folded(layer)
                    if isinstance(module, MlpPrefix)
                    else (module.keys.detach(), module.values.detach())
                )
            if layer in found:
                before = found[layer]
                here = torch.cat([before[0], here[0]]), torch.cat([before[1], here[1]])
            found[layer] = here
    return found


@torch.no_grad()
def _turned(attached: AttachedModules, layer: int, keys: Tensor) -> Tensor:
    """Keys (l, g, c) as the backbone turns those of the token at position l."""
    base = attached.base
    core = attached.anatomy.sublayer(layer, "attention").core
    assert core is not None
    turn = sys.modules[type(base.get_submodule(core)).__module__].apply_rotary_pos_emb
    heads = keys.transpose(0, 1).unsqueeze(0)  # (1, g, l, c)
    positions = torch.full((1, len(keys)), len(keys), device=keys.device)
    rotary = base.get_submodule("rotary_emb")
    cos, sin = rotary(heads, positions)
    # some kinds of rotary positions also scale, which is not to be done to the prefix
    scale = getattr(rotary, "attention_scaling", 1.0)
    turned: Tensor = turn(heads, heads, cos / scale, sin / scale)[1]
    return turned.squeeze(0).transpose(0, 1)
