"""From an architecture back to a point of the space: which answers give it?

Fields are inverted one by one against the canonical form, several methods of a kind by trying each
place in the space; a candidate counts only when replaying it gives the same ``train_key``, and the
same training settings of the methods. Where this finds nothing in a small space, all its points
are looked at.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any

from peftnas.spaces import keys
from peftnas.spaces.architecture import Architecture
from peftnas.spaces.domains import Choice
from peftnas.spaces.enumerate import all_points, walks
from peftnas.spaces.fields import Configurable
from peftnas.spaces.keys import arms_key
from peftnas.spaces.membership_fields import Outside, fit, spellings, wanted_layers
from peftnas.spaces.membership_groups import strategies
from peftnas.spaces.membership_nothing import vanish
from peftnas.spaces.membership_ties import NO_TIES, Ties, fixed_ties
from peftnas.spaces.membership_variants import merge, variants
from peftnas.spaces.training_settings import trained_as, trains_by_method, without_training
from peftnas.spaces.tree import Ask, Choose, Point, Primitive, draw
from peftnas.spaces.tree_nodes import Fork, Groups, Leaf, Node, Presence, leaves

if TYPE_CHECKING:
    from peftnas.spaces.bound_space import BoundSpace

_CANDIDATES = 64
_CANDIDATES_UNDER_TIES = 256
_SMALL_SPACE = 2000
_TRIED = 300
_WAYS = 16

Values = dict[str, Primitive]
Taken = frozenset[int]
"""Which of the wanted methods some values give."""

_NONE: Taken = frozenset()
_LEFT_OUT = -1


class Inversion:
    """Finds points for architectures of one bound space."""

    def __init__(self, bound: BoundSpace) -> None:
        self._bound = bound

    def find(self, architecture: Architecture, trained: bool = True) -> Point | str:
        """A point with the ``train_key`` of ``architecture``, or why there is none.

        Args:
            architecture: in any spelling.
            trained: whether the training settings of its methods have to agree too; else those of
                the point are any.
        Raises:
            ValueError: if the architecture names a site or layer that the backbone does not have.
        """
        canonical = self._bound.canonical(architecture)
        key = self._bound.train_key(architecture)
        arms = arms_key(canonical, self._bound.anatomy) if trained else None
        reasons: list[str] = []
        forms = dict.fromkeys((canonical, architecture))
        for form in forms:
            search = _Search(self._bound, form, key, arms)
            found = search.run()
            if found is not None:
                return found
            reasons += search.reasons
        left = _CANDIDATES_UNDER_TIES
        for form in forms:
            for ties in fixed_ties(self._bound.nodes, form.methods):
                search = _Search(self._bound, form, key, arms, ties, left)
                found = search.run()
                if found is not None:
                    return found
                left = search.left
                if left <= 0:
                    break
        for point in self._small_space.get(key, ()):
            # the wanted training settings, in the spelling of the space
            form = trained_as(point.architecture, canonical, self._bound.anatomy)
            search = _Search(self._bound, form, key, arms)
            found = search.given(point.values)
            if found is None and trains_by_method(self._bound):
                found = search.run()
            if found is not None:
                return found
        return reasons[0] if reasons else "no combination of the space's choices gives this"

    @cached_property
    def _small_space(self) -> dict[str, list[Point]]:
        """The points of a small space by their keys, training settings left open."""
        found: dict[str, list[Point]] = {}
        for point in all_points(without_training(self._bound), _SMALL_SPACE) or ():
            found.setdefault(self._bound.train_key(point.architecture), []).append(point)
        return found


class _Search:
    """Backtracking over the items of the space, for one spelling of the architecture."""

    def __init__(
        self,
        bound: BoundSpace,
        wanted: Architecture,
        key: str,
        arms: str | None,
        ties: Ties = NO_TIES,
        left: int = _CANDIDATES,
    ) -> None:
        self._ties, self.left = ties, left
        self.reasons: list[str] = []
        self._bound = bound
        self._wanted = wanted.methods
        self._key = key
        self._arms = arms

    def run(self) -> Point | None:
        kinds = {leaf.method.kind for leaf in leaves(self._bound.nodes)}
        for method in self._wanted:
            if method.kind not in kinds:
                known = ", ".join(sorted(kinds))
                self.reasons = [f"the method must be one of {known}, got {method.kind}"]
                return None
        for gate in self._gates():
            used = frozenset[int]()
            for values in self._items(self._bound.nodes, used, gate):
                point = self._point(values, gate)
                self.left -= 1
                if self._matches(point):
                    return point
                if self.left <= 0:
                    return None
        return None

    def given(self, values: Values) -> Point | None:
        """The point of these answers, if it is what is wanted."""
        point = self._point(values, values.get("gate"))
        return point if self._matches(point) else None

    def _matches(self, point: Point) -> bool:
        bound = self._bound
        if bound.train_key(point.architecture) != self._key:
            return False
        if self._arms is None:
            return True
        return arms_key(bound.canonical(point.architecture), bound.anatomy) == self._arms

    def _gates(self) -> list[Any]:
        """The tied gate's possible values, those that the architecture holds first."""
        gate = self._bound.space.gate
        if not isinstance(gate, Choice):
            return [gate]
        held = [getattr(method, "gate", None) for method in self._wanted]
        return sorted(gate.options, key=lambda option: option not in held)

    def _point(self, values: Values, gate: Any) -> Point:
        bound = self._bound
        preset = {**values, "gate": gate} if isinstance(bound.space.gate, Choice) else values
        return draw(bound.nodes, bound.anatomy.n_layers, bound.space.gate, _preset(preset))

    def _items(self, nodes: tuple[Node, ...], used: frozenset[int], gate: Any) -> Iterator[Values]:
        """Values for the remaining items that use up the remaining methods."""
        if not nodes:
            if len(used) == len(self._wanted):
                yield {}
            elif not self.reasons:
                extra = next(m for i, m in enumerate(self._wanted) if i not in used)
                self.reasons.append(f"the space has no place for this many {extra.kind}")
            return
        for values, taken in self._node(nodes[0], used, gate):
            for rest in self._items(nodes[1:], used | taken, gate):
                joined = dict(rest)
                if merge(joined, values):
                    yield joined

    def _node(
        self, node: Node | None, used: frozenset[int], gate: Any
    ) -> Iterator[tuple[Values, Taken]]:
        """Values of one item, and which of the wanted methods they give."""
        match node:
            case None:
                yield {}, _NONE
            case Leaf():
                yield from self._leaf(node, used, gate)
            case Presence(path, leaf):
                for values, taken in self._leaf(leaf, used, gate, may_vanish=False):
                    yield {path: True} | values, taken
                yield {path: False}, _NONE
            case Fork(path, options):
                for label, option in sorted(options, key=lambda pair: pair[1] is None):
                    for values, taken in self._node(option, used, gate):
                        yield {**values, path: label}, taken
            case Groups():
                yield from self._groups(node, used, gate)

    def _groups(
        self, node: Groups, used: frozenset[int], gate: Any
    ) -> Iterator[tuple[Values, Taken]]:
        n_layers = self._bound.anatomy.n_layers
        candidates: list[list[int]] = []
        for leaf in node.leaves:
            found = [i for i, m in enumerate(self._wanted) if m.kind == leaf.method.kind]
            candidates.append([*(i for i in found if i not in used), _LEFT_OUT])
        for indices in itertools.product(*candidates):
            pairs = zip(node.labelled, indices, strict=True)
            chosen = [(label, leaf, i) for (label, leaf), i in pairs if i != _LEFT_OUT]
            if len({i for _, _, i in chosen}) < len(chosen):
                continue
            active = {label: wanted_layers(self._wanted[i], n_layers) for label, _, i in chosen}
            idle = self._idle([pair for pair in node.labelled if pair[0] not in active])
            for names in ([], [*idle]) if idle else ([],):
                ways = [*islice(itertools.product(*(idle[name] for name in names)), _WAYS)]
                for answers, layers in strategies(node, active, names, self._ties):
                    for values in self._each(chosen, layers, gate):
                        for way in ways:
                            joined = dict(values)
                            if all(merge(joined, more) for more in (answers, *way)):
                                yield joined, frozenset(i for _, _, i in chosen)

    def _idle(self, labelled: Sequence[tuple[str, Leaf]]) -> dict[str, list[Values]]:
        """The methods that can place nothing, with the answers that make them."""
        found: dict[str, list[Values]] = {}
        for label, leaf in labelled:
            ways = self._vanishing(leaf)
            if not ways and (values := self._without_effect(leaf)) is not None:
                ways = [values]
            if ways:
                found[label] = ways
        return found

    def _vanishing(self, leaf: Leaf) -> list[Values]:
        """Answers that make a method absent by a size of 0 or an empty set."""
        found: list[Values] = []
        n_layers = self._bound.anatomy.n_layers
        for variant in variants(leaf, n_layers, self._ties):
            values = vanish(variant, n_layers)
            if values is not None and values not in found:
                found.append(values)
        return found

    def _each(
        self,
        chosen: Sequence[tuple[str, Leaf, int]],
        active: Mapping[str, tuple[int, ...]],
        gate: Any,
    ) -> Iterator[Values]:
        """Values of several methods, each in its own layers."""
        if not chosen:
            yield {}
            return
        (label, leaf, index), *others = chosen
        here = Leaf(leaf.path, leaf.method.replace(layers=active[label]))
        for values in self._fits(here, index, gate):
            for rest in self._each(others, active, gate):
                joined = dict(rest)
                if merge(joined, values):
                    yield joined

    def _leaf(
        self, leaf: Leaf, used: frozenset[int], gate: Any, may_vanish: bool = True
    ) -> Iterator[tuple[Values, Taken]]:
        for index, method in enumerate(self._wanted):
            if index not in used and method.kind == leaf.method.kind:
                for values in self._fits(leaf, index, gate):
                    yield values, frozenset({index})
        if may_vanish:
            vanishing = self._vanishing(leaf)
            yield from ((values, _NONE) for values in vanishing)
            # a method may be without effect in other ways too
            tried = self._without_effect(leaf)
            if tried is not None:
                yield tried, _NONE
            elif not vanishing and all(m.kind != leaf.method.kind for m in self._wanted):
                self.reasons.append(f"{leaf.path} must be present, got an architecture without it")

    def _fits(self, leaf: Leaf, index: int, gate: Any) -> Iterator[Values]:
        """Values of one leaf that give one of the wanted methods."""
        n_layers = self._bound.anatomy.n_layers
        tied = gate if self._bound.space.gate is not None else _UNTIED
        equal = self._equal(index)
        for variant in variants(leaf, n_layers, self._ties):
            for spelling in spellings(variant.leaf, self._wanted[index], equal):
                try:
                    yield fit(variant, spelling, n_layers, equal, tied, self._arms is not None)
                    break
                except Outside as outside:
                    self.reasons.append(str(outside))

    def _without_effect(self, leaf: Leaf) -> Values | None:
        """Answers under which a method adds nothing to the wanted ones, among its first points."""
        bound = self._bound
        gate, n_layers = bound.space.gate, bound.anatomy.n_layers

        def run(choose: Choose) -> Point:
            return draw((leaf,), n_layers, gate, self._ties.over(choose))

        for point in islice(walks(run), _TRIED):
            try:
                placed = bound.placed_once(
                    Architecture(*self._wanted, *point.architecture.methods)
                )
            except ValueError:  # cannot stand beside the wanted methods
                continue
            if keys.train_key(placed.placements) == self._key:
                return {path: value for path, value in point.values.items() if path != "gate"}
        return None

    def _equal(self, index: int) -> Any:
        """Whether changing fields of one wanted method leaves the training the same."""

        def equal(changed: Configurable) -> bool:
            methods = list(self._wanted)
            methods[index] = changed
            try:
                placed = self._bound.placed(Architecture(*methods))
            except ValueError:  # names a site or layer that the backbone does not have
                return False
            return keys.train_key(placed.placements) == self._key

        return equal


def _preset(values: Values) -> Choose:
    """The given answers; an open question (which the key then decides on) gets its first value."""

    def choose(path: str, domain: Ask) -> Any:
        if path in values and values[path] in domain:
            return values[path]
        return domain.options[0] if isinstance(domain, Choice) else domain.low

    return choose


_UNTIED = object()
"""Stands for the gate where the space ties none."""
