"""What is not counted, for architectures that were drawn without it."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from peftnas.spaces.architecture import Architecture
from peftnas.spaces.choosers import at_random
from peftnas.spaces.domains import Real
from peftnas.spaces.fields import Configurable, settings
from peftnas.spaces.membership import Inversion
from peftnas.spaces.sizes.reals import real_fields
from peftnas.spaces.ties import Shared
from peftnas.spaces.training_settings import training_names, trains_by_method
from peftnas.spaces.tree import Ask, Choose, Primitive, Walk
from peftnas.spaces.tree_nodes import Leaf, Node, leaves, within

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
    Raises:
        ValueError: if the settings depend on draws of the space that are not found again.
    """
    if not trains_by_method(bound) and not real_fields(bound):
        return list(architectures)
    choose, places = at_random(rng), None if real_fields(bound) else _places(bound)
    if places is not None:
        return [_trained(bound, one, places, choose) for one in architectures]
    inversion = Inversion(bound)
    found = []
    for architecture in architectures:
        point = inversion.find(architecture, trained=False)
        if isinstance(point, str):
            raise ValueError(
                "training settings that follow other draws are drawn where these are found "
                f"again, got {architecture.words()}, of which {point}; use sample(seed), or give "
                "each method settings of its own"
            )
        walk = _Redrawn(point.values, choose, bound)
        found.append(bound.canonical(Architecture(*walk.methods(bound.nodes))))
    return found


def _places(bound: BoundSpace) -> dict[str, Leaf] | None:
    """The place of each kind, in the order of the walk, where nothing else decides on settings.

    ``None`` where a kind has several places, or a training setting follows a ``Shared`` draw or a
    field of the architecture.
    """
    places = list(leaves(bound.nodes))
    if max(Counter(leaf.method.kind for leaf in places).values()) > 1:
        return None
    tied: tuple[set[str], set[str]] = (set(), set())
    for leaf in places:
        training = training_names(type(leaf.method))
        for name, declared in settings(type(leaf.method)).items():
            trains = name in training
            if trains and not declared.when.keys() <= {*training}:
                return None
            held = within(getattr(leaf.method, name))
            tied[trains].update(one.name for one in held if isinstance(one, Shared))
    return None if tied[0] & tied[1] else {leaf.method.kind: leaf for leaf in places}


def _trained(
    bound: BoundSpace, architecture: Architecture, places: Mapping[str, Leaf], choose: Choose
) -> Architecture:
    """An architecture with settings drawn for each of its methods at the place of its kind."""
    walk = Walk(choose, bound.anatomy.n_layers, bound.space.gate)
    own = {method.kind: method for method in architecture.methods}
    methods = []
    for kind, leaf in places.items():
        if kind not in own:
            continue
        drawn = {name: getattr(own[kind], name) for name in settings(type(leaf.method))}
        for name in training_names(type(leaf.method)):
            if leaf.method.active(name, drawn):
                held = getattr(leaf.method, name)
                drawn[name] = walk.field(leaf.method, f"{leaf.path}.{name}", name, held, drawn)
        methods.append(own[kind].replace(**drawn))
    return bound.canonical(Architecture(*methods))


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
