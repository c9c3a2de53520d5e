"""How many points and architectures a bound space has: by looking at all, or by its structure."""

from __future__ import annotations

import contextlib
import math
import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from peftnas.spaces.choosers import uniform
from peftnas.spaces.domains import Choice, Integer, Real, Subset
from peftnas.spaces.enumerate import all_points
from peftnas.spaces.fields import settings
from peftnas.spaces.sizes.assign import Unstructured
from peftnas.spaces.sizes.size import Size
from peftnas.spaces.sizes.structural import Structural, apart, count_structure, count_unlimited
from peftnas.spaces.structure import ByGroup, PerGroup, PerLayer
from peftnas.spaces.ties import Shared, Switch
from peftnas.spaces.tree import Point
from peftnas.spaces.tree_nodes import Fork, Groups, Leaf, Node, Presence

if TYPE_CHECKING:
    from peftnas.spaces.bound_space import BoundSpace

_FEW = 2_000
_MANY = 20_000
_SAMPLES = 500


@dataclass(frozen=True)
class Count:
    """What counting a space found.

    Attributes:
        distinct: architectures with different ``train_key`` that meet every constraint.
        raw: points that meet every constraint.
        parameters: fewest and most trainable parameters of these; ``None`` where not exact.
    """

    distinct: Size
    raw: Size
    parameters: tuple[int, int] | None


def count_points(bound: BoundSpace) -> Count:
    """Count a space: one by one when it is small, else by structure, else within bounds."""
    reals = tuple(d.path for d in bound.dimensions() if isinstance(d.domain, Real))
    points = all_points(bound, _FEW)
    if points is not None:
        return one_by_one(bound, points, reals)
    try:
        found = count_structure(bound)
    except Unstructured:
        found = None
    if found is None or found.distinct[0] < found.distinct[1] or found.raw[0] < found.raw[1]:
        points = all_points(bound, _MANY)
        if points is not None:
            return one_by_one(bound, points, reals)
    if found is None:
        return _loosely(bound, reals)
    return Count(Size(*found.distinct, reals), Size(*found.raw, reals), found.parameters)


def one_by_one(bound: BoundSpace, points: Iterable[Point], reals: tuple[str, ...]) -> Count:
    """Count a space by all its points."""
    keys: dict[str, int] = {}
    raw = 0
    for point in points:
        if bound.broken_constraint(point.architecture) is None:
            raw += 1
            keys[bound.train_key(point.architecture)] = bound.count(point.architecture)
    counts = keys.values()
    return Count(
        Size(len(keys), len(keys), reals),
        Size(raw, raw, reals),
        (min(counts), max(counts)) if counts else None,
    )


def _loosely(bound: BoundSpace, reals: tuple[str, ...]) -> Count:
    """Bounds for any space.

    There are at least those seen in samples, or those of a smaller space whose items do not depend
    on each other; at most all points, constraints aside.
    """
    (high, exact), low = _unlimited(bound), Structural((0, 0), (0, 0), None)
    with contextlib.suppress(Unstructured):
        low = count_structure(bound, apart(bound))
    points: set[tuple[tuple[str, object], ...]] = set()
    keys: set[str] = set()
    choose = uniform(random.Random(0))
    for _ in range(_SAMPLES):
        point = bound.draw(choose)
        if bound.broken_constraint(point.architecture) is None:
            points.add(tuple(point.values.items()))
            keys.add(bound.train_key(point.architecture))
    raw = (max(low.raw[0], len(points)), high)
    if exact and bound.max_parameters is None and not bound.space.at_least_one_method:
        raw = (high, high)
    return Count(Size(max(low.distinct[0], len(keys)), high, reals), Size(*raw, reals), None)


def _unlimited(bound: BoundSpace) -> tuple[int, bool]:
    """Number of points, constraints aside, or an upper bound of it; whether it is exact."""
    try:
        return count_unlimited(bound), True
    except Unstructured:
        gate = bound.space.gate
        gates = len(gate.options) if isinstance(gate, Choice) else 1
        items = [_at_most(node, bound.anatomy.n_layers) for node in bound.nodes]
        return gates * math.prod(items), False


def _at_most(node: Node | None, n_layers: int) -> int:
    """An upper bound of the points of one item."""
    match node:
        case None:
            return 1
        case Presence():
            return 1 + _at_most(node.leaf, n_layers)
        case Fork():
            return sum(_at_most(option, n_layers) for _, option in node.options)
        case Groups(item=item, leaves=inner):
            drawn = [item.grouping, item.tuned, *[item.choices()] * item.n]
            inside = [_at_most(leaf, n_layers) for leaf in inner]
            return math.prod([*inside, *(_values_at_most(held, n_layers) for held in drawn)])
        case Leaf():
            fields = [getattr(node.method, name) for name in settings(type(node.method))]
            return math.prod(_values_at_most(held, n_layers) for held in fields)


def _values_at_most(held: Any, n_layers: int) -> int:
    match held:
        case Integer():
            return len(held)
        case Choice():
            return sum(_values_at_most(option, n_layers) for option in held.options)
        case Subset():
            n = len(held.items)
            return sum(math.comb(n, size) for size in range(held.min_size, n + 1))
        case PerLayer(inner):
            return math.prod([_values_at_most(inner, n_layers)] * n_layers)
        case PerGroup(n, inner, grouping):
            number: int = _values_at_most(inner, n_layers) ** n
            return number * _values_at_most(grouping, n_layers)
        case ByGroup(grouping=grouping):
            return _values_at_most(grouping, n_layers)
        case Shared(_, inner):
            return _values_at_most(inner, n_layers)
        case Switch(on=on, cases=cases):
            inside = max(_values_at_most(case, n_layers) for _, case in cases)
            return _values_at_most(on, n_layers) * inside
        case _:
            return 1
