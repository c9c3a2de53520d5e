"""Anatomy of a backbone: its sites, their shapes and its size; needs no weights.

Layers are numbered through all stacks: those of an encoder first, then those of its decoder.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from peftnas.methods.anatomies import names
from peftnas.methods.anatomies.family import NormOrder, Positions
from peftnas.methods.sites import LayerSite, LinearSite, NormSite, StackSite, SublayerSite

if TYPE_CHECKING:
    from peftnas.methods.base import Placement
    from peftnas.spaces.architecture import Architecture

T = TypeVar("T")

SUBLAYERS = names.SUBLAYERS

TARGETS = names.TARGETS
"""Names of the linears that a layer of some family has, in the order of methods' fields."""

LEAVE_OUT = "leave the method out"
"""The remedy where a backbone has nothing that a method could take."""


@dataclass(frozen=True)
class Anatomy:
    """What there is in one backbone and where. Made by ``describe``; can be pickled.

    Attributes:
        family: name of the family.
        model_type: ``config.model_type``.
        norm_order: "post" or "pre".
        positions: how positions enter; see ``family.Family``.
        backbone_parameters: parameters of the base model, without any task head.
        stacks: one, or an encoder and its decoder, or the towers of two kinds of input.
        layers: every layer by its number.
        targets: names of the linears in its layers, in the order of ``TARGETS``.
        linears: every linear by address.
        norms: every norm by address.
        sublayers: every sublayer by address.
    """

    family: str
    model_type: str
    norm_order: NormOrder
    positions: Positions
    backbone_parameters: int
    stacks: tuple[StackSite, ...]
    layers: tuple[LayerSite, ...]
    targets: tuple[str, ...]
    linears: Mapping[str, LinearSite]
    norms: Mapping[str, NormSite]
    sublayers: Mapping[str, SublayerSite]

    @functools.cached_property
    def _known(self) -> dict[Any, Any]:
        return {}

    def known(self, work: Callable[..., T], *args: Any) -> T:
        """``work(self, *args)``, worked out once: what is true of this backbone for good.

        Thousands of architectures are counted on one backbone.

        Args:
            work: a function of a module.
            args: can be hashed.
        """
        key = (work, args)
        if key not in self._known:
            self._known[key] = work(self, *args)
        found: T = self._known[key]
        return found

    @property
    def n_layers(self) -> int:
        """Number of layers of all stacks."""
        return len(self.layers)

    @property
    def stack_sizes(self) -> tuple[int, ...]:
        """How many layers each stack has, in the order of their numbers."""
        return tuple(len(stack.layers) for stack in self.stacks)

    @property
    def width(self) -> int:
        """Width of the residual stream of the first stack."""
        return self.layers[0].width

    @property
    def causal(self) -> bool:
        """Whether the stack that gives the output of the backbone sees earlier tokens only."""
        return self.stacks[-1].causal

    def has(self, layer: int, target: str) -> bool:
        """Whether a layer has this linear."""
        return linear_address(layer, target) in self.linears

    def linear(self, layer: int, name: str) -> LinearSite:
        """The linear ``name`` (query, ..., down) of a layer.

        Raises:
            ValueError: if the backbone has no such linear or layer.
        """
        site = self.linears.get(linear_address(layer, name))
        if site is None:
            self.check_targets((name,))
            if layer < self.n_layers:
                stack = self.stacks[self.layers[layer].stack].name
                raise ValueError(f"layer {layer} belongs to the {stack}, which has no {name!r}")
            raise ValueError(
                f"this {self.model_type} backbone has layers 0..{self.n_layers - 1}, got {layer}"
            )
        return site

    def linears_of(
        self, layer: int, targets: tuple[str, ...]
    ) -> tuple[tuple[str, LinearSite], ...]:
        """Those of the targets that a layer has, with their sites."""
        return self.known(_linears, targets)[layer]

    def check_targets(self, names: Sequence[str], among: Sequence[str] = TARGETS) -> None:
        """Raise ``ValueError`` if one of the target names does not exist in this backbone.

        Args:
            names: of linears.
            among: those that whoever asks can take at all; the remedy names no other.
        """
        if not set(names) <= set(self.targets):
            raise ValueError(
                no_such_targets("targets", names, self.targets, self.model_type, among)
            )

    def sublayer(self, layer: int, name: str) -> SublayerSite:
        """A sublayer (attention, cross_attention, ffn, mixer) of a layer that has it."""
        return self.sublayers[sublayer_address(layer, name)]

    def sublayers_of(self, layer: int, names: tuple[str, ...]) -> tuple[SublayerSite, ...]:
        """Those of the named sublayers that a layer has."""
        return self.known(_sublayers, names)[layer]

    def check_sublayers(self, names: Sequence[str], among: Sequence[str] = ()) -> None:
        """Raise ``ValueError`` if no layer has one of the named sublayers.

        Args:
            names: of sublayers.
            among: those that whoever asks could take instead, which the remedy names.
        """
        there = self.known(_sublayer_names)
        missing = [name for name in names if name not in there]
        if missing:
            others = [name for name in SUBLAYERS if name in there and name in among]
            remedy = f"take {', '.join(others)}" if others else LEAVE_OUT
            raise ValueError(
                f"sublayers {missing} do not exist in {self.model_type} backbones; {remedy}"
            )

    def check_core(self, what: str) -> None:
        """Raise ``ValueError`` if no attention takes keys and values from outside."""
        if not any(site.core for site in self.sublayers.values()):
            raise ValueError(
                f"the attention of {self.model_type} backbones takes no keys and values from "
                f"outside, so no {what.removeprefix('a ')}; {LEAVE_OUT}"
            )

    def canonical(self, architecture: Architecture) -> Architecture:
        """See :func:`peftnas.methods.canonical.canonical`."""
        from peftnas.methods.canonical import canonical

        return canonical(architecture, self)

    def functions(self, placements: Iterable[Placement]) -> list[dict[str, Any]]:
        """See :func:`peftnas.methods.function_classes.functions`."""
        from peftnas.methods.function_classes import functions

        return functions(placements, self)

    def place(self, architecture: Architecture) -> tuple[Placement, ...]:
        """See :func:`peftnas.methods.costs.place`."""
        from peftnas.methods.costs import place

        return place(architecture, self)


def no_such_targets(
    what: str,
    given: Sequence[str],
    there: Sequence[str],
    model_type: str,
    among: Sequence[str] | None = None,
) -> str:
    """Why targets are refused, in one sentence.

    Args:
        what: whose they are.
        given: their names, of which the backbone lacks some.
        there: those that it has.
        model_type: of the backbone.
        among: those that whoever asks can take at all; ``None``: every one.
    """
    missing = [name for name in given if name not in there]
    fit = [name for name in there if among is None or name in among]
    if fit:
        remedy = f"take some of {'these' if len(fit) == len(there) else ', '.join(fit)}"
    else:
        remedy = LEAVE_OUT
    return (
        f"{what} {missing} do not exist in {model_type} backbones, which have "
        f"{', '.join(there) or 'none of their kind'}, got {tuple(given)}; {remedy}"
    )


def _linears(
    anatomy: Anatomy, targets: tuple[str, ...]
) -> list[tuple[tuple[str, LinearSite], ...]]:
    """Of each layer."""
    found = [
        [(target, anatomy.linears.get(linear_address(layer, target))) for target in targets]
        for layer in range(anatomy.n_layers)
    ]
    return [tuple((t, site) for t, site in row if site is not None) for row in found]


def _sublayers(anatomy: Anatomy, names: tuple[str, ...]) -> list[tuple[SublayerSite, ...]]:
    """Of each layer."""
    found = [
        [anatomy.sublayers.get(sublayer_address(layer, name)) for name in names]
        for layer in range(anatomy.n_layers)
    ]
    return [tuple(site for site in row if site is not None) for row in found]


def _sublayer_names(anatomy: Anatomy) -> frozenset[str]:
    return frozenset(address.rpartition(".")[2] for address in anatomy.sublayers)


_SUBLAYER_OF = (
    dict.fromkeys(("query", "key", "value", "output"), "attention")
    | dict.fromkeys(("up", "gate_proj", "down"), "ffn")
    | dict.fromkeys(("in_proj", "x_proj"), "mixer")
)


@functools.cache
def linear_address(layer: int, name: str) -> str:
    """Address of a linear in a layer: ``layers[3].attention.query``.

    ``cross_query`` is ``layers[3].cross_attention.query``.
    """
    plain = name.removeprefix("cross_")
    sublayer = "cross_attention" if plain != name else _SUBLAYER_OF.get(name, "ffn")
    return f"layers[{layer}].{sublayer}.{plain}"


def sublayer_address(layer: int, name: str) -> str:
    """Address of a sublayer, such as ``layers[3].ffn``."""
    return f"layers[{layer}].{name}"


def outer_norm_address(name: str) -> str:
    """Address of a norm outside the layers: ``embeddings_norm`` is ``embeddings.norm``."""
    return "embeddings.norm" if name == "embeddings_norm" else name
