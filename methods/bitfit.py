"""BitFit: trains bias vectors, as deltas on the frozen ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
from torch import nn

from peftnas.methods.anatomy import TARGETS as LINEARS
from peftnas.methods.base import BiasDelta, Method, Placement
from peftnas.methods.layers import active_layers, place_words
from peftnas.methods.places import (
    NORMS,
    OUTER_LINEARS,
    OUTER_NORMS,
    check_stack,
    names_there,
    normal_stack,
    places,
    stack_setting,
)
from peftnas.methods.sites import LinearSite
from peftnas.spaces.domains import Domain
from peftnas.spaces.fields import AnyOf, Layers, OneOf, SomeOf, held, setting
from peftnas.spaces.structure import ByLayer

if TYPE_CHECKING:
    from peftnas.methods.anatomy import Anatomy

OUTER = ("embeddings_norm", "embeddings_project", *OUTER_NORMS[1:], *OUTER_LINEARS[1:])
TARGETS = LINEARS + NORMS + OUTER
ADDED = LINEARS + NORMS + OUTER_NORMS


@dataclass(frozen=True)
class BitFitPlacement(Placement):
    """The delta of one bias vector; ``width``: its length."""

    kind: ClassVar[str] = "bitfit"
    width: int

    def count(self) -> int:
        """The vector's length."""
        return self.width

    def build(self, generator: torch.Generator) -> BitFitDelta:
        return BitFitDelta(self)

    def joins_by(self) -> str | None:
        return ""


class BitFitDelta(BiasDelta):
    """A vector added to a bias, zero at the start."""

    def __init__(self, placement: BitFitPlacement) -> None:
        super().__init__()
        self.placement = placement
        self.value = nn.Parameter(torch.zeros(placement.width))


@dataclass(frozen=True, kw_only=True)
class BitFit(Method):
    """BitFit: ``W x + b + delta`` with delta trained, for biases of linears and of norms.

    ``layers`` restricts the biases inside layers; those outside (norm of the embeddings, final
    norm, pooler) are chosen by ``targets``, and by ``stack`` where there are several stacks.

    With ``add`` all linears of layers get a bias; norms that have none (RMSNorm) where ``targets``
    names them. A norm has no room to merge a new bias into.

    The key bias adds the same to all logits of a query, so it has no effect where positions are
    learned embeddings and no prefix is attached; the canonical form drops it there.

    Values of ``targets`` layer by layer choose single bias vectors (S-BitFit): in a space
    ``BitFit(targets=PerLayer(Subset("query", "up", ..., min_size=0)))``; those outside the layers
    are the targets of a second BitFit.

    Source: Ben Zaken et al. 2106.10199; single vectors: Lawton et al. 2305.16597.
    """

    kind: ClassVar[str] = "bitfit"
    formula: ClassVar[str] = "each target: n_out of the linear, or the width of the norm"
    source: ClassVar[str] = "Ben Zaken 2106.10199"

    targets: tuple[str, ...] | None | Domain[Any] | ByLayer[Any] = setting(
        AnyOf(OneOf(None), SomeOf(*TARGETS)),
        default=None,
        by_layer=True,
        help="biases that are trained; None: all that the backbone has",
    )
    add: bool | Domain[bool] = setting(
        OneOf(False, True),
        default=False,
        help="give linears of layers that have no bias a new one, 0 at the start; norms if named",
    )
    stack: str | None | Domain[str | None] = stack_setting()
    layers: tuple[int, ...] | None | Domain[Any] = setting(
        Layers(), default=None, help="layers in which it is active; None: all"
    )

    def place(self, anatomy: Anatomy) -> Iterator[BitFitPlacement]:
        layers = active_layers(self, anatomy)
        if isinstance(self.targets, ByLayer):
            for layer in layers:
                yield from self._place(anatomy, (layer,), self.at(layer).named_targets(anatomy))
        else:
            yield from self._place(anatomy, layers, self.named_targets(anatomy))

    def _place(
        self, anatomy: Anatomy, layers: tuple[int, ...], targets: tuple[str, ...]
    ) -> Iterator[BitFitPlacement]:
        for target in targets:
            for site in places(anatomy, layers, target, held(self.stack)):
                if site.bias or (held(self.add) and target in ADDED):
                    width = site.n_out if isinstance(site, LinearSite) else site.width
                    yield BitFitPlacement(site.address, width)

    def named_targets(self, anatomy: Anatomy) -> tuple[str, ...]:
        """The targets by name, in the declared order.

        Raises:
            ValueError: if one of them has no bias in this backbone, or none has.
        """
        known = self._known(anatomy)
        targets: Any = self.targets
        named: tuple[str, ...] | None = held(targets)
        if named is None and not known:
            raise ValueError(
                f"BitFit needs a bias to train, this {anatomy.model_type} backbone has none; "
                "leave BitFit out, or take add=True"
            )
        missing = [name for name in named or () if name not in known]
        if missing:
            raise ValueError(
                f"BitFit targets {missing} have no bias in this {anatomy.model_type} backbone; "
                f"take some of {', '.join(known) or 'another method'}"
            )
        check_stack(self, anatomy)
        if named is None:
            return self._by_default(anatomy)
        return tuple(name for name in known if name in named)

    def without(self, target: str, anatomy: Anatomy) -> Self:
        """The same without one of its targets."""
        if isinstance(self.targets, ByLayer):
            tables = {
                layer: self.at(layer).named_targets(anatomy) for layer in self.targets.layers
            }
            kept = {k: tuple(n for n in names if n != target) for k, names in tables.items()}
            return self.replace(targets=ByLayer(kept))
        names = tuple(name for name in self.named_targets(anatomy) if name != target)
        return self.replace(targets=names)

    def normal(self, anatomy: Anatomy) -> Self:
        named = self.targets
        new = anatomy.targets if named is None else self._names(anatomy)
        if all(name in anatomy.known(biases) for name in new):
            return self.replace(add=False)._normal_targets(anatomy)
        return self._normal_targets(anatomy)

    def _names(self, anatomy: Anatomy) -> tuple[str, ...]:
        """All targets, of whatever layer."""
        if not isinstance(self.targets, ByLayer):
            return self.named_targets(anatomy)
        at = [self.at(layer).named_targets(anatomy) for layer in self.targets.layers]
        return tuple({name for names in at for name in names})

    def _normal_targets(self, anatomy: Anatomy) -> Self:
        if isinstance(self.targets, ByLayer):
            names = {k: self.at(k).named_targets(anatomy) for k in self.targets.layers}
            return self.replace(targets=ByLayer(names))
        named, layers = self.named_targets(anatomy), held(self.layers)
        if not active_layers(self, anatomy):
            named = tuple(target for target in named if target in OUTER)
        if not any(target not in OUTER for target in named):
            layers = None
        every = self._by_default(anatomy)
        return normal_stack(
            self.replace(targets=None if named == every else named, layers=layers), named, anatomy
        )

    def _known(self, anatomy: Anatomy) -> tuple[str, ...]:
        """The targets that it can train in a backbone, in the declared order."""
        known = anatomy.known(biases)
        if held(self.add):
            norms = anatomy.known(names_there, ADDED)
            known = tuple(t for t in TARGETS if t in known or t in norms)
        if isinstance(self.targets, ByLayer):
            known = tuple(target for target in known if target not in OUTER)
        return known

    def _by_default(self, anatomy: Anatomy) -> tuple[str, ...]:
        """The targets that None stands for: what is there, and all linears with ``add``."""
        there, added = anatomy.known(biases), anatomy.targets if held(self.add) else ()
        return tuple(t for t in self._known(anatomy) if t in there or t in added)

    def words(self) -> str:
        """For example ``bitfit on query, up in layers 0-2``."""
        added = " (added too)" if self.add else ""
        if isinstance(self.targets, ByLayer):
            number = sum(len(names or ()) for _, names in self.targets.items())
            return f"bitfit on {number} biases, chosen layer by layer{added}"
        targets: Any = self.targets
        named: tuple[str, ...] | None = held(targets)
        of_stack = "" if self.stack is None else f" of the {self.stack}"
        what = ", ".join(named or ("all biases",))
        return f"bitfit on {what}{added}{of_stack}" + place_words(self.layers)


def biases(anatomy: Anatomy) -> tuple[str, ...]:
    """The targets that have a bias in a backbone, in the declared order."""
    every = range(anatomy.n_layers)
    return tuple(
        target for target in TARGETS if any(site.bias for site in places(anatomy, every, target))
    )
