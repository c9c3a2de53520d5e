"""From points to other points: all neighbours, one mutation, one crossover.

One change is another value of one active dimension; a tied draw is one dimension. The other
dimensions keep their values: a change that would force another one (the last items of a ``Subset``
that would become too small) is none. What the change makes active is filled in.

For :meth:`Operators.neighbours` the other values are

- of a ``Choice`` (a presence, a label of a whole method, an item of a ``Subset``): all others;
- of an ``Integer``: one ``step`` down and up; with ``log`` half and double too, within the bounds;
- of a ``Real``: a tenth of its range down and up (in the logarithm with ``log``), within them;

and what becomes active takes the middle of a number's domain (in the logarithm with ``log``), the
first option of a ``Choice``, all items of a ``Subset``; where this breaks a constraint the
smallest number, no method, the first option, as few items as may be.
Mutation draws both at random.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from peftnas.spaces import keys
from peftnas.spaces.choosers import at_random
from peftnas.spaces.dimensions import Dimension, dimensions
from peftnas.spaces.domains import Choice, Inclusion, Integer, Real
from peftnas.spaces.encoding import from_unit, to_unit
from peftnas.spaces.enumerate import all_points
from peftnas.spaces.feasible import smallest_point
from peftnas.spaces.tree import Ask, Choose, Point, Primitive
from peftnas.spaces.tree_nodes import ABSENT

if TYPE_CHECKING:
    from peftnas.spaces.bound_space import BoundSpace

_TRIES = 50
_SMALL_SPACE = 2000
_REAL_STEP = 0.1

Values = dict[str, Primitive]


class Operators:
    """The operators of one bound space; every point they take and give meets its constraints."""

    def __init__(self, bound: BoundSpace) -> None:
        self._bound = bound
        listed = bound.dimensions()
        self._dimensions = {one.path: one for one in listed}
        first: dict[str, str] = {}
        for one in listed:
            if one.subset is not None:
                first.setdefault(one.subset, one.path)
        # the first item of an active subset is always asked, the last ones may be forced
        self._asked_with = {
            one.path: first[one.subset] for one in listed if one.subset is not None
        }
        self._bundles = _bundles(bound, listed)

    def neighbours(self, point: Point) -> list[Point]:
        """Every point one change away, one for each training other than its own."""
        return list(self._neighbours(point))

    def mutate(self, point: Point, rng: random.Random, rate: float | None) -> Point:
        """A point with changes of one active dimension, or of each with probability ``rate``.

        The dimensions and their new values are drawn uniformly, again where the outcome breaks a
        constraint or trains the same. After 50 of these draws a random neighbour is taken, after
        that a random point of the space; where none of them is another, the point itself.
        """
        _check_rate(rate)
        key = self._key(point)
        held = self._held(point)
        able = [one for one in self._active(point) if _several(one.domain)]
        for _ in range(_TRIES if able else 0):
            chosen = _some(able, rng, rate)
            changes = {one.path: _other(one.domain, held[one.path], rng) for one in chosen}
            child = self._draw({**held, **changes}, at_random(rng))
            if child is not None and self._key(child) != key:
                return child
        near = self.neighbours(point)
        return rng.choice(near) if near else self._anything_but(point, rng)

    def crossover(self, a: Point, b: Point, rng: random.Random) -> Point:
        """A point that takes each dimension that both parents have from one of them.

        In one half of the draws item by item of the space (all of a method from one parent, the
        tied gate and each ``Shared`` draw by themselves), in the other dimension by dimension,
        items of a subset included. A dimension that one parent has is taken from it, what neither
        has is drawn. Drawn again where the outcome breaks a constraint; after 50 of these draws it
        is one of the parents.
        """
        if self._key(a) == self._key(b):
            return a
        one, other = self._held(a), self._held(b)
        for _ in range(_TRIES):
            child = self._draw(self._mixed(one, other, rng), at_random(rng))
            if child is not None:
                return child
        return rng.choice((a, b))

    def _mixed(self, one: Values, other: Values, rng: random.Random) -> Values:
        """The values of two parents together, by a toss for each bundle or dimension."""
        bundled = rng.random() < 0.5
        tossed: dict[str, bool] = {}
        mixed: Values = {}
        for path in self._dimensions:  # not a set: the order of the tosses is that of the walk
            if path not in one and path not in other:
                continue
            bundle = self._bundles[path] if bundled else path
            if bundle not in tossed:
                tossed[bundle] = rng.random() < 0.5
            first, second = (one, other) if tossed[bundle] else (other, one)
            mixed[path] = first[path] if path in first else second[path]
        return mixed

    def _neighbours(self, point: Point) -> Iterator[Point]:
        seen = {self._key(point)}
        held = self._held(point)
        for dimension in self._active(point):
            for value in _steps(dimension.domain, held[dimension.path]):
                preset = {**held, dimension.path: value}
                found = self._draw(preset, _usual) or self._draw(preset, _least)
                if found is not None and self._key(found) not in seen:
                    seen.add(self._key(found))
                    yield found

    def _draw(self, preset: Values, fill: Choose) -> Point | None:
        """The point with these values, ``fill`` answering the rest; ``None``: there is none."""

        def choose(path: str, domain: Ask) -> Any:
            return preset[path] if path in preset else fill(path, domain)

        point = self._bound.draw(choose)
        if any(preset.get(path) is False for path in self._forced(point)):
            return None
        return point if self._bound.broken_constraint(point.architecture) is None else None

    def _held(self, point: Point) -> Values:
        """The values of a point, those among them that its walk did not have to ask."""
        return {**point.values, **dict.fromkeys(self._forced(point), True)}

    def _forced(self, point: Point) -> list[str]:
        """Items that a subset takes since it would be too small without them."""
        values = point.values
        return [
            path
            for path, first in self._asked_with.items()
            if first in values and path not in values
        ]

    def _active(self, point: Point) -> list[Dimension]:
        return [self._dimensions[path] for path in point.values]

    def _key(self, point: Point) -> str:
        """Which training a point is, whatever the recipe."""
        placed = self._bound.placed(point.architecture)
        arms = keys.arms_key(placed.architecture, self._bound.anatomy)
        return keys.train_key(placed.placements) + arms

    def _anything_but(self, point: Point, rng: random.Random) -> Point:
        """Another point, from anywhere in the space; the point itself where none is found."""
        key = self._key(point)
        for _ in range(_TRIES):
            found = self._bound.draw_valid(rng)
            if found is not None and self._key(found) != key:
                return found
        rest = all_points(self._bound, _SMALL_SPACE) or [smallest_point(self._bound)]
        others = [
            one
            for one in rest
            if self._key(one) != key and self._bound.broken_constraint(one.architecture) is None
        ]
        return rng.choice(others) if others else point


def _bundles(bound: BoundSpace, listed: tuple[Dimension, ...]) -> dict[str, str]:
    """What each dimension comes together with: its item, or its own subset where it is tied."""
    items: dict[str, set[int]] = {}
    for index, node in enumerate(bound.nodes):
        for one in dimensions((node,), bound.anatomy.n_layers, bound.space.gate):
            items.setdefault(one.path, set()).add(index)
    bundles = {}
    for one in listed:
        tied = len(items[one.path]) > 1
        bundles[one.path] = (one.subset or one.path) if tied else f"item {min(items[one.path])}"
    return bundles


def _steps(domain: Ask, held: Any) -> list[Any]:
    """The neighbouring values of one, see the top of this file."""
    match domain:
        case Choice():
            return _options_but(domain, held)
        case Integer(low, high, log, step):
            near = {held - step, held + step}
            near |= {max(held // 2, low), min(2 * held, high)} if log else set()
            return sorted(value for value in near if value in domain and value != held)
        case Real():
            unit = to_unit(domain, held)
            ends = (max(unit - _REAL_STEP, 0.0), min(unit + _REAL_STEP, 1.0))
            return [value for value in (from_unit(domain, end) for end in ends) if value != held]


def _other(domain: Ask, held: Any, rng: random.Random) -> Any:
    """A random value other than ``held``, uniform as the domain is drawn."""
    if isinstance(domain, Choice):
        return rng.choice(_options_but(domain, held))
    value = held
    while value == held:
        value = from_unit(domain, rng.random())
    return value


def _options_but(domain: Choice, held: Any) -> list[Any]:
    # compared with their type, since 1 == True == 1.0
    return [one for one in domain.options if (type(one), one) != (type(held), held)]


def _several(domain: Ask) -> bool:
    """Whether a domain has more than one value."""
    match domain:
        case Choice(options=options):
            return len(options) > 1
        case Integer():
            return len(domain) > 1
    return True


def _some(able: list[Dimension], rng: random.Random, rate: float | None) -> list[Dimension]:
    """The dimensions to change, at least one."""
    chosen = [] if rate is None else [one for one in able if rng.random() < rate]
    return chosen or [rng.choice(able)]


def _usual(path: str, domain: Ask) -> Any:
    match domain:
        case Inclusion():
            return True
        case Choice(options=options):
            return options[0]
    return from_unit(domain, 0.5)


def _least(path: str, domain: Ask) -> Any:
    match domain:
        case Inclusion():
            return False
        case Choice(options=options):
            return ABSENT if ABSENT in options else options[0]
    return domain.low


def _check_rate(rate: float | None) -> None:
    if rate is None:
        return
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate <= 1:
        raise ValueError(
            f"rate must be a chance above 0, at most 1, got {rate!r}; leave it out to change one "
            "dimension"
        )
