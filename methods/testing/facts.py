"""What is true of a method on a backbone, found out by attaching it to a tiny one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from peftnas.methods import Architecture, Method, attach, count, describe, stored_parameters
from peftnas.methods.anatomy import Anatomy
from peftnas.methods.testing.tiny import CONFIGS, build, inputs_of, output
from peftnas.spaces.fields import AnyOf, OneOf, SomeOf, Values, Whole, default_of, settings

_SIZES = (1, 2, 4)
"""Tried for a field that takes whole numbers."""


@dataclass(frozen=True)
class Facts:
    """One method with some fields on one backbone.

    Attributes:
        changed: the fields that do not hold their default.
        refusal: why it does not attach; "" when it does, and then the others are known.
        count: trained parameters.
        stored: those kept after training.
        identity: the output at the start is that of the backbone, bit for bit.
        merged: sites that :meth:`~AttachedModules.merge` takes into the weights, as
            ``site: kind``; the output then stays the same up to rounding.
        remaining: those that still run as modules.
    """

    changed: dict[str, Any]
    refusal: str = ""
    count: int = 0
    stored: int = 0
    identity: bool = False
    merged: tuple[str, ...] = ()
    remaining: tuple[str, ...] = ()


def families() -> dict[str, str]:
    """Name of each family of backbones that is described -> its first tiny config."""
    found: dict[str, str] = {}
    for name, config in CONFIGS.items():
        found.setdefault(describe(config()).family, name)
    return found


class TinyBackbone:
    """A tiny backbone on which methods are tried one after another.

    Args:
        name: a key of ``CONFIGS``.
    """

    def __init__(self, name: str) -> None:
        self.model: PreTrainedModel = build(name)
        self.anatomy: Anatomy = describe(self.model)
        self._inputs = inputs_of(self.model)
        self._before = self._output()

    def try_out(self, method: type[Method], **fields: Any) -> Facts:
        """Attach the method with its defaults but for some fields, look, detach."""
        try:
            architecture = Architecture(method(**fields))
            attached = attach(self.model, architecture, anatomy=self.anatomy)
        except ValueError as error:  # the sentence that a user would read
            return Facts(fields, refusal=str(error))
        attached.eval()
        try:
            identity = torch.equal(attached.real(self._output()), self._before)
            _disturb(attached)
            expected = attached.real(self._output())
            report = attached.merge()
            actual = attached.real(self._output())
            torch.testing.assert_close(actual, expected, atol=1e-3, rtol=1e-3)
        finally:
            attached.detach()
        return Facts(
            fields,
            count=count(architecture, self.anatomy),
            stored=stored_parameters(architecture, self.anatomy),
            identity=identity,
            merged=report.merged,
            remaining=report.remaining,
        )

    def attach_somehow(self, method: type[Method]) -> Facts:
        """With its defaults; where these are refused, with one field changed if that helps.

        The last change tried is ``layers``, to those of an encoder. The refusal of the defaults
        where nothing helps.
        """
        facts = self.try_out(method)
        if not facts.refusal:
            return facts
        first = self.anatomy.stacks[0]
        encoder = {"layers": tuple(first.layers)}
        by_layer = "layers" in settings(method) and not first.causal
        for fields in (*single_changes(method, parts=True), *([encoder] if by_layer else [])):
            changed = self.try_out(method, **fields)
            if not changed.refusal and changed.count:
                return changed
        return facts

    @torch.no_grad()
    def _output(self) -> torch.Tensor:
        return output(self.model, self._inputs)


def single_changes(method: type[Method], *, parts: bool) -> Iterator[dict[str, Any]]:
    """Fields that differ from the defaults in one, for each named value and a few sizes.

    Args:
        method: whose fields they are.
        parts: also each single name of a field that takes some of several.
    """
    for name, declared in settings(method).items():
        # training settings change nothing of what modules are
        for value in () if declared.training else _candidates(declared.values, parts):
            if value != default_of(method, name):
                # a field that matters only beside others is tried beside these
                beside = {field: allowed[0] for field, allowed in declared.when.items()}
                yield beside | {name: value}


def _candidates(values: Values, parts: bool) -> Iterator[Any]:
    match values:
        case OneOf():
            yield from values.values
        case SomeOf() if parts:
            yield from ((item,) for item in values.items)
        case Whole():
            yield from (size for size in _SIZES if values.takes(size))
        case AnyOf():
            for kind in values.kinds:
                yield from _candidates(kind, parts)


@torch.no_grad()
def _disturb(module: nn.Module) -> None:
    """Move every parameter from its start, which may be 0."""
    generator = torch.Generator().manual_seed(2)
    for parameter in module.parameters():
        parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
