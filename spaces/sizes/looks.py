"""What constraints between fields see of an assignment, and what they leave of its domains.

Layers are still to be drawn. What a constraint says of one value drawn by layer it says whatever
the other layers draw, so that it narrows the domain; two fields that both differ by layer would
have to be drawn together.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from peftnas.spaces.architecture import Architecture
from peftnas.spaces.domains import Choice, Domain, Integer
from peftnas.spaces.fields import Configurable, settings
from peftnas.spaces.relations import Forbid, Relation
from peftnas.spaces.sizes.assign import Assignment, Grouping, Unstructured
from peftnas.spaces.structure import PerGroup, PerLayer

if TYPE_CHECKING:
    from peftnas.spaces.bound_space import BoundSpace, Placed

Narrowing = tuple[tuple[str, tuple[Any, ...]], ...]
"""Fields drawn by layer, METHOD.FIELD, each with the values that are left; the others keep all."""


@dataclass(frozen=True)
class Look:
    """What constraints see of an assignment; equal where they see the same.

    Attributes:
        seen: kinds of methods, with each field that is named and what it holds.
        drawn: fields that are drawn by layer, METHOD.FIELD, and what from.
        vanishing: kinds of which a method can place nothing.
        hollow: those of ``drawn`` with which nothing may be placed, other than by a size of 0.
        placed: one such assignment, layers closed.
    """

    seen: tuple[Any, ...]
    drawn: tuple[tuple[str, Any], ...]
    vanishing: frozenset[str]
    hollow: frozenset[str]
    placed: Placed = field(compare=False)

    @property
    def methods(self) -> tuple[Configurable, ...]:
        """Those of the assignment, in canonical form."""
        return self.placed.architecture.methods


def narrowings(
    bound: BoundSpace, looks: Sequence[Look], constraints: Sequence[Relation | Forbid]
) -> list[Narrowing] | None:
    """For each of some looks, taken together, what constraints leave of it; ``None``: nothing.

    Raises:
        Unstructured: if that depends on several draws for layers.
    """
    left: dict[str, tuple[Any, ...]] = {}
    for constraint in constraints:
        drawn = {
            path: held for look in looks for path, held in look.drawn if path in constraint.paths
        }
        bad = list(_broken(bound, looks, constraint, drawn))
        if not bad:
            continue
        vanishing = frozenset[str]().union(*(look.vanishing for look in looks))
        hollow = frozenset[str]().union(*(look.hollow for look in looks))
        if len(drawn) > 1 or hollow.intersection(drawn):
            raise Unstructured
        own = {path.partition(".")[0] for path in drawn}
        if (constraint.kinds - own) & vanishing:
            raise Unstructured
        for path, held in drawn.items():
            known = left.get(path, tuple(_values(held.domain)))
            left[path] = tuple(v for v in known if not _among(v, (one[path] for one in bad)))
            if not left[path] and own & vanishing:
                raise Unstructured
        if not drawn or not all(left.values()):
            return None
    return [tuple((path, left[path]) for path, _ in look.drawn if path in left) for look in looks]


def placing(method: Configurable, name: str) -> Configurable:
    """A method whose field, drawn by layer, is never a size of 0."""
    if not settings(type(method))[name].size:
        return method
    values = _values(getattr(method, name).domain)
    left = tuple(value for value in values if value != 0)
    if not left or len(left) == len(values):
        return method
    return _narrowed(method, ((f"{method.kind}.{name}", left),))


def narrowed(assignment: Assignment, narrowing: Narrowing) -> Assignment:
    """An assignment with fields drawn by layer from fewer values."""
    if not narrowing:
        return assignment
    parts: list[Configurable | Grouping] = []
    for part in assignment.parts:
        if isinstance(part, Grouping):
            methods = tuple(_narrowed(method, narrowing) for method in part.methods)
            parts.append(dataclasses.replace(part, methods=methods))
        else:
            parts.append(_narrowed(part, narrowing))
    return dataclasses.replace(assignment, parts=tuple(parts))


def _broken(
    bound: BoundSpace,
    looks: Sequence[Look],
    constraint: Relation | Forbid,
    drawn: dict[str, Any],
) -> Iterator[dict[str, Any]]:
    """The values drawn by layer with which a constraint is broken."""
    methods = [one for look in looks for one in look.methods if one.kind in constraint.kinds]
    if constraint.kinds != {one.kind for one in methods}:
        return  # it looks at methods that are there together
    for values in itertools.product(*(_values(held.domain) for held in drawn.values())):
        given = dict(zip(drawn, values, strict=True))
        some = [_with(method, given) for method in methods]
        if None in some:
            continue
        together = Architecture(*(one for one in some if one is not None))
        # constraints on fields look at nothing but these
        placed = dataclasses.replace(looks[0].placed, architecture=together)
        if constraint.broken(placed, bound) is not None:
            yield given


def _with(method: Configurable, given: dict[str, Any]) -> Configurable | None:
    """A method with other values; ``None`` where it places nothing with them."""
    declared, changes = settings(type(method)), dict[str, Any]()
    for path, value in given.items():
        kind, _, name = path.partition(".")
        if kind == method.kind:
            if declared[name].size and value == 0:
                return None
            changes[name] = value
    return method.replace(**changes) if changes else method


def _values(domain: Any) -> list[Any]:
    """All values of a domain.

    Raises:
        Unstructured: if it is not one of a few plain values.
    """
    match domain:
        case Integer():
            return list(range(domain.low, domain.high + 1, domain.step))
        case Choice():
            return [value for option in domain.options for value in _values(option)]
        case Domain():
            raise Unstructured
    if isinstance(domain, tuple):
        raise Unstructured
    return [domain]


def _among(value: Any, some: Iterator[Any]) -> bool:
    return any(type(one) is type(value) and one == value for one in some)


def _narrowed(method: Configurable, narrowing: Narrowing) -> Configurable:
    changes: dict[str, Any] = {}
    for path, values in narrowing:
        kind, _, name = path.partition(".")
        if kind == method.kind:
            held = getattr(method, name)
            fewer = _fewer(held.domain, values)
            changes[name] = (
                PerGroup(held.n, fewer, held.grouping).bind(held.stacks)
                if isinstance(held, PerGroup)
                else PerLayer(fewer)
            )
    return method.replace(**changes) if changes else method


def _fewer(domain: Any, values: Sequence[Any]) -> Any:
    """A domain with fewer values, each in as many ways as before."""
    if isinstance(domain, Choice):
        kept = [
            option if not isinstance(option, Domain) else _fewer(option, values)
            for option in domain.options
            if any(_among(value, iter(values)) for value in _values(option))
        ]
    else:
        kept = [value for value in _values(domain) if _among(value, iter(values))]
    if any(one == other for one, other in itertools.combinations(kept, 2)):
        raise Unstructured  # equal options are drawn as one
    return Choice(*kept)
