"""Attached architectures in the forms of other libraries: HF peft, plain transformers.

One translator for each set of modules that HF peft can hold in one adapter, in ``TRANSLATORS``;
what may be trained beside them, norms and biases, is in ``beside.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from peftnas.methods.attach import AttachedModules
from peftnas.methods.base import TrainsBackbone
from peftnas.methods.interchange import (
    adaption,
    bitfit,
    dora,
    ia3,
    lora,
    oft,
    prefix,
    products,
    prompt,
    ssf,
    vera,
    whole,
)
from peftnas.methods.interchange.paths import refusal, require_peft

if TYPE_CHECKING:
    from peft import PeftConfig

Translator = Callable[[AttachedModules], tuple["PeftConfig", dict[str, Tensor]]]


@dataclass(frozen=True)
class Form:
    """One kind of HF peft adapter.

    Attributes:
        kinds: placements of which at least one is there, and any may be.
        translate: attached modules to config and tensors.
        beside: what else may be there, with one of ``kinds``.
    """

    kinds: frozenset[str]
    translate: Translator
    beside: frozenset[str] = frozenset()

    def holds(self, kinds: frozenset[str]) -> bool:
        """Whether an architecture of these kinds goes into one such adapter."""
        return bool(kinds & self.kinds) and kinds <= self.kinds | self.beside

    def words(self) -> str:
        """For example ``adalora, lora (with bitfit)``."""
        beside = f" (with {', '.join(sorted(self.beside))})" if self.beside else ""
        return ", ".join(sorted(self.kinds)) + beside


NORMS_AND_BIASES = frozenset({"bitfit", "ln_tuning"})
TRANSLATORS = (
    Form(lora.KINDS, lora.to_peft, beside=NORMS_AND_BIASES),
    Form(frozenset({"dora"}), dora.to_peft, beside=NORMS_AND_BIASES),
    Form(frozenset({"ia3"}), ia3.to_peft, beside=NORMS_AND_BIASES),
    Form(frozenset({"loha"}), products.loha_to_peft, beside=NORMS_AND_BIASES),
    Form(frozenset({"lokr"}), products.lokr_to_peft, beside=NORMS_AND_BIASES),
    Form(frozenset({"oft"}), oft.to_peft, beside=NORMS_AND_BIASES),
    Form(frozenset({"ssf"}), ssf.to_peft),
    Form(frozenset({"vera"}), vera.to_peft, beside=NORMS_AND_BIASES),
    Form(NORMS_AND_BIASES, bitfit.to_peft),
    Form(frozenset({"dense"}), whole.to_peft, beside=NORMS_AND_BIASES | {"dense_bias"}),
    Form(frozenset({"llama_adapter"}), adaption.to_peft),
    Form(frozenset({"prefix", "prefix_mlp"}), prefix.to_peft),
    Form(frozenset({"prompt", "ptuning"}), prompt.to_peft),
)
"""What HF peft can hold, each in an adapter of its own."""

WHY_NOT = {
    "adamix": "it has no bottleneck adapters",
    "adapter": "it has no bottleneck adapters",
    "coda": "it passes every token through every layer",
    "compacter": "it has no Compacter layers",
    "full": "an adapter does not hold a whole backbone",
    "gated_lora_prefix": "it has no gates",
    "linear_adapter": "it has no bottleneck adapters",
    "reft": "it has no ReFT edits",
    "sparse_adapter": "it has no bottleneck adapters",
    "vpt": "its prompts stand before words",
}


def to_peft(attached: AttachedModules) -> tuple[PeftConfig, dict[str, Tensor]]:
    """The attached modules as one HF peft adapter of the same function.

    Args:
        attached: modules with their trained values, attached and not merged.
    Returns:
        The config, and the tensors under the names of peft's own files (copies, on the CPU).
    Raises:
        ImportError: if peft is not installed.
        ValueError: if peft cannot express the whole architecture; it names the part and why.
    """
    require_peft()
    kinds = frozenset(placement.kind for placement, _ in attached.placed)
    if not kinds:
        raise ValueError(
            "an HF peft adapter needs at least one module, nothing is attached; "
            "take the backbone as it is"
        )
    form = next((form for form in TRANSLATORS if form.holds(kinds)), None)
    if form is None:
        raise _no_translator(attached, kinds)
    config, tensors = form.translate(attached)
    return config, {
        name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()
    }


@torch.no_grad()
def check_peft(attached: AttachedModules) -> None:
    """Raise the ``ValueError`` of :func:`to_peft` that follows from the architecture alone.

    Args:
        attached: modules with any values, which are all 1 in the meantime: where training left a
            0, a rank may be left out.
    """
    own = [module for _, module in attached.placed if not isinstance(module, TrainsBackbone)]
    parameters = list(torch.nn.ModuleList(own).parameters())
    former = [parameter.clone() for parameter in parameters]
    try:
        for parameter in parameters:
            parameter.fill_(1.0)
        to_peft(attached)
    finally:
        for parameter, value in zip(parameters, former, strict=True):
            parameter.copy_(value)


def _no_translator(attached: AttachedModules, kinds: frozenset[str]) -> ValueError:
    known = {kind for form in TRANSLATORS for kind in form.kinds}
    for placement, _ in attached.placed:
        if placement.kind not in known:
            why = WHY_NOT.get(placement.kind, "it has nothing like it")
            return refusal(placement, why)
    return ValueError(
        f"{' with '.join(sorted(kinds))} cannot go into one HF peft adapter, which holds one of: "
        f"{'; '.join(form.words() for form in TRANSLATORS)}; keep peftnas's own format"
    )
