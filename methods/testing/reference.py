"""A case of the reference vectors, attached to its backbone with the stored tensors in place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoConfig, AutoModel, PreTrainedModel

from peftnas.methods.anatomy import Anatomy
from peftnas.methods.attach import AttachedModules, attach
from peftnas.methods.describe import UnsupportedBackboneError, describe
from peftnas.methods.prefix import Prefix
from peftnas.methods.testing.tensors import slots
from peftnas.methods.testing.translate import translate
from peftnas.spaces.architecture import Architecture

INPUTS = ("input_ids", "attention_mask", "pixel_values", "decoder_input_ids")


class Reference:
    """One variant of a case: the stored tensors in our modules, on the stored inputs.

    Attributes:
        case: the case's entry in ``index.json``.
        architecture: the case's config as our methods.
        model: the backbone, in eval mode.
        attached: the modules on it.
        tensors: everything stored for the variant, without its name in front, such as
            ``out/last_hidden_state``, ``loss_weight/last_hidden_state``, ``grad/T``.
    """

    def __init__(
        self,
        case: dict[str, Any],
        architecture: Architecture,
        model: PreTrainedModel,
        attached: AttachedModules,
        stored: dict[str, Tensor],
        variant: str,
    ) -> None:
        self.case = case
        self.architecture = architecture
        self.model = model
        self.attached = attached
        self.tensors = _below(f"{variant}/", stored)
        self._values = _below("adapter/", stored)
        self._slots = slots(attached, self._values)
        with torch.no_grad():
            for slot in self._slots:
                slot.parameter.copy_(slot.part(self._values[slot.name]))

    def run(self) -> dict[str, Tensor]:
        """The outputs that the case stores, by name, with their graph."""
        inputs = {name: value for name, value in self.tensors.items() if name in INPUTS}
        outputs = self.model(**inputs)
        return {name: outputs[name] for name in self.case["outputs"]}

    def gradients(self, loss: Tensor) -> dict[str, Tensor]:
        """Gradients of ``loss`` with respect to the case's tensors, by their names in the file.

        Args:
            loss: scalar, computed from the outputs of :meth:`run`.
        """
        parameters = [slot.parameter for slot in self._slots]
        found = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
        names = dict.fromkeys(slot.name for slot in self._slots)
        gradients = {name: torch.zeros_like(self._values[name]) for name in names}
        for slot, gradient in zip(self._slots, found, strict=True):
            slot.part(gradients[slot.name]).copy_(gradient)
        return gradients


def load_reference(folder: str | Path, case_name: str, variant: str) -> Reference:
    """A case of reference vectors, attached through the public ``attach``.

    Args:
        folder: where ``index.json``, ``backbones/`` and ``cases/`` lie.
        case_name: such as ``bert/lora_qv``.
        variant: ``nopad`` or ``pad``.
    Returns:
        An object with ``run()`` and ``gradients(loss)``.
    Raises:
        ValueError: if the folder has no such case or the case no such variant.
        NotImplementedError: if the backbone's family or the library's function is none of ours, or
            the backbone does not take it; the message says why.
    """
    folder = Path(folder)
    index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    case = _named(index, case_name)
    if variant not in case["variants"]:
        raise ValueError(f"case {case_name!r} has variants {case['variants']}, got {variant!r}")
    stored = load_file(folder / case["file"])
    names = _below("adapter/", stored)
    backbone = index["backbones"][case["backbone"]]
    try:
        anatomy = describe(AutoConfig.from_pretrained(folder / backbone["folder"]))
    except UnsupportedBackboneError as error:
        raise NotImplementedError(f"backbone {case['backbone']!r}: {error}") from error
    architecture = translate(case["library_config"], anatomy, names)
    _check_positions(architecture, anatomy, case)
    model = AutoModel.from_pretrained(
        folder / backbone["folder"], attn_implementation=backbone["attention"]
    ).eval()
    try:
        attached = attach(model, architecture)
    except ValueError as error:
        raise NotImplementedError(f"case {case_name!r}: {error}") from error
    return Reference(case, architecture, model, attached, stored, variant)


def _check_positions(architecture: Architecture, anatomy: Anatomy, case: dict[str, Any]) -> None:
    """Decline a prefix in front of keys whose relative positions the library shifts by it."""
    prefixed = any(isinstance(method, Prefix) for method in architecture.methods)
    if prefixed and anatomy.positions == "relative" and not case.get("library_patched", False):
        raise NotImplementedError(
            "the library shifts the relative positions of real keys by the prefix, unless the "
            "case says library_patched: true; ours keeps them"
        )


def _named(index: dict[str, Any], case_name: str) -> dict[str, Any]:
    cases: dict[str, dict[str, Any]] = {case["name"]: case for case in index["cases"]}
    if case_name not in cases:
        known = ", ".join(sorted(cases))
        raise ValueError(f"no case {case_name!r} in this folder; it has {known}")
    return cases[case_name]


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
