"""What is not counted, for architectures that were drawn without it."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from peftnas.spaces.architecture import Architecture
from peftnas.spaces.choosers import uniform
from peftnas.spaces.domains import Real
from peftnas.spaces.fields import Configurable
from peftnas.spaces.membership import Inversion
from peftnas.spaces.sizes.reals import real_fields
from peftnas.spaces.training_settings import training_names, trains_by_method
from peftnas.spaces.tree import Ask, Choose, Primitive, Walk
from peftnas.spaces.tree_nodes import Node

if TYPE_CHECKING:
    from peftnas.spaces.bound_space import BoundSpace


def redrawn(
    bound: BoundSpace, architectures: Sequence[Architecture], rng: random.Random
) -> list[Architecture]:
    """Architectures of a space with each ``Real`` and training setting drawn from its domain.

    Where several places of a space can give a method, from the domains of the first of them.

    Args:
        bound: the space.
        architectures: of it, training settings aside, each ``Real`` at its low end; they are left
            as they are where the space has neither.
        rng: draws them.
    """
    if not trains_by_method(bound) and not real_fields(bound):
        return list(architectures)
    inversion, choose = Inversion(bound), uniform(rng)
    found = []
    for architecture in architectures:
        point = inversion.find(architecture, trained=False)
        assert not isinstance(point, str), f"drawn from the space, but {point}"
        walk = _Redrawn(point.values, choose, bound)
        found.append(bound.canonical(Architecture(*walk.methods(bound.nodes))))
    return found


class _Redrawn(Walk):
    """Draws the training settings and each ``Real``, and takes all else from a point."""

    def __init__(self, known: Mapping[str, Primitive], choose: Choose, bound: BoundSpace) -> None:
        super().__init__(self._answer, bound.anatomy.n_layers, bound.space.gate)
        self._known, self._draw = known, choose
        self._training = False

    def methods(self, nodes: Iterable[Node]) -> list[Configurable]:
        """All methods of a space."""
        return [method for node in nodes for method in self.node(node)]

    def field(
        self, method: Configurable, path: str, name: str, held: Any, drawn: dict[str, Any]
    ) -> Any:
        self._training = name in training_names(type(method))
        try:
            return super().field(method, path, name, held, drawn)
        finally:
            self._training = False

    def _answer(self, path: str, domain: Ask) -> Any:
        if self._training or isinstance(domain, Real):
            return self._draw(path, domain)
        return self._known[path]
