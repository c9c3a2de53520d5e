"""Attached architectures in the forms of other libraries: HF peft, plain transformers.

One translator for each set of modules that HF peft can hold in one adapter, in ``TRANSLATORS``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from torch import Tensor

from peftnas.methods.attach import AttachedModules
from peftnas.methods.interchange import ia3, lora, prefix, prompt
from peftnas.methods.interchange.paths import refusal, require_peft

if TYPE_CHECKING:
    from peft import PeftConfig

Translator = Callable[[AttachedModules], tuple["PeftConfig", dict[str, Tensor]]]

TRANSLATORS: dict[frozenset[str], Translator] = {
    frozenset({"lora"}): lora.to_peft,
    frozenset({"ia3"}): ia3.to_peft,
    frozenset({"prompt"}): prompt.to_peft,
    frozenset({"prefix"}): prefix.to_peft,
    frozenset({"prefix_mlp"}): prefix.to_peft,
}
"""By the kinds of placements that one HF peft adapter holds together."""

WHY_NOT = {
    "adapter": "it has no bottleneck adapters",
    "bitfit": "it trains biases only together with LoRA",
    "compacter": "it has no Compacter layers",
    "full": "an adapter does not hold a whole backbone",
    "reft": "it has no ReFT edits",
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
    translator = TRANSLATORS.get(kinds)
    if translator is None:
        raise _no_translator(attached, kinds)
    config, tensors = translator(attached)
    return config, {
        name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()
    }


def _no_translator(attached: AttachedModules, kinds: frozenset[str]) -> ValueError:
    alone = {kind for known in TRANSLATORS for kind in known}
    for placement, _ in attached.placed:
        if placement.kind not in alone:
            why = WHY_NOT.get(placement.kind, "it has nothing like it")
            return refusal(placement, why)
    held = ", ".join(sorted(" with ".join(sorted(known)) for known in TRANSLATORS))
    return ValueError(
        f"{' with '.join(sorted(kinds))} cannot go into one HF peft adapter, which holds one of: "
        f"{held}; keep peftnas's own format"
    )
