"""LLaMA-Adapter as HF peft holds it: adaption prompts in the top layers of a llama or mistral."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from peftnas.methods.attach import AttachedModules
from peftnas.methods.base import Placement
from peftnas.methods.interchange.paths import PREFIX, refusal
from peftnas.methods.llama_adapter import LlamaAdapterBranch

if TYPE_CHECKING:
    from peft import PeftConfig


def to_peft(attached: AttachedModules) -> tuple[PeftConfig, dict[str, Tensor]]:
    """The config, ``adaption_prompt`` (1, l, d) and ``adaption_gate`` (1,) of each top layer.

    Raises:
        ValueError: if the gates are one a head, the layers not the top ones, lengths differ, or
            peft does not know the attention of the backbone.
    """
    from peft import AdaptionPromptConfig

    anatomy = attached.anatomy
    first = attached.placed[0][0]
    target = _target(attached, first)
    found: dict[int, LlamaAdapterBranch] = {}
    for placement, module in attached.placed:
        assert isinstance(module, LlamaAdapterBranch)
        [layer] = module.placement.layers
        if module.placement.gate_form != "per_layer":
            raise refusal(placement, "it has one plain gate a layer, gate_form='per_layer'")
        if layer in found:
            raise refusal(placement, "it holds one of them in a layer")
        found[layer] = module
    lengths = sorted({module.placement.length for module in found.values()})
    if len(lengths) > 1:
        raise refusal(first, f"it has one length in all layers, not {lengths}")
    top = range(anatomy.n_layers - len(found), anatomy.n_layers)
    if set(found) != set(top):
        raise refusal(first, f"so many of them stand in the topmost layers, {list(top)}")
    tensors: dict[str, Tensor] = {}
    for layer in top:
        core = anatomy.sublayer(layer, "attention").core
        # peft keeps them in the type of the backbone
        prompts, gate = found[layer].prompts.to(attached.base.dtype), found[layer].gate
        tensors[f"{PREFIX}{core}.adaption_prompt"] = prompts[None]
        tensors[f"{PREFIX}{core}.adaption_gate"] = gate.to(prompts.dtype)
    config = AdaptionPromptConfig(
        inference_mode=True,
        target_modules=target,
        adapter_len=lengths[0],
        adapter_layers=len(found),
    )
    return config, tensors


def _target(attached: AttachedModules, first: Placement) -> str:
    """What peft calls the attention of this backbone, if it computes the same there."""
    from peft.tuners.adaption_prompt.config import TRANSFORMERS_MODEL_CONFIG

    anatomy = attached.anatomy
    known = TRANSFORMERS_MODEL_CONFIG.get(anatomy.model_type)
    if known is None:
        raise refusal(first, f"it has no adaption prompts for {anatomy.model_type} backbones")
    if known.o_proj_layer is None:
        raise refusal(first, "it adds their branch here behind the output projection, not before")
    shape = anatomy.layers[0]
    if shape.heads * shape.head_width != shape.width:
        raise refusal(first, "it takes the width of all heads for that of the backbone")
    if anatomy.linear(0, "output").bias:
        raise refusal(first, "it adds the bias of the output projection twice")
    target: str = known.target_modules
    return target
