"""The widest search space that the methods can express on a backbone."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from peftnas.methods import METHODS, Anatomy, Architecture, Method, count
from peftnas.spaces.choosers import at_random
from peftnas.spaces.domains import Choice, Integer, Real, Subset
from peftnas.spaces.fields import AnyOf, Layers, Number, OneOf, SomeOf, Values, Whole, settings
from peftnas.spaces.space import SearchSpace
from peftnas.spaces.structure import Maybe, PerLayer

_DRAWS = 40  # with which a domain is tried
_HIGH = 64  # of whole numbers without a limit
_POWERS = (4, 8, 16)


def widest_space(anatomy: Anatomy) -> SearchSpace:
    """Every method in an optional arm, every field a domain as wide as this backbone takes.

    A field that may differ from layer to layer is drawn layer by layer. Where values of several
    fields do not fit together, the later field is narrowed or keeps its default.
    """
    groups: list[list[Method]] = []
    for method in METHODS.values():
        arm = _arm(method, anatomy)
        if arm is None:
            continue
        # what cannot stand together is a choice
        joined = [group for group in groups if any(_clash(arm, other) for other in group)]
        groups = [group for group in groups if group not in joined]
        groups.append([*(other for group in joined for other in group), arm])
    return SearchSpace(
        *(Maybe(group[0] if len(group) == 1 else Choice(*group)) for group in groups)
    )


def _clash(one: Method, other: Method) -> bool:
    return bool(one.clash(other) or other.clash(one))


def _arm(method: type[Method], anatomy: Anatomy) -> Method | None:
    """A method with wide fields; ``None`` where the backbone takes it with none."""
    fields: dict[str, Any] = {}
    for _ in range(2):  # again, since a later field may be what a backbone asks for
        for name, declared in settings(method).items():
            if name in fields or declared.training:
                continue
            for domain in _domains(method, fields, name, declared.values, anatomy):
                wide = PerLayer(domain) if declared.by_layer else domain
                if _fits(method, fields | {name: wide}, anatomy):
                    fields[name] = wide
                    break
    return method(**fields) if _fits(method, fields, anatomy) else None


def _domains(
    method: type[Method], fields: dict[str, Any], name: str, values: Values, anatomy: Anatomy
) -> Iterator[Any]:
    """Domains for a field beside others, the widest first."""
    match values:
        case Whole(low, high):
            least = max(low, 1)
            yield Integer(least, max(_HIGH, least) if high is None else high)
            if powers := [size for size in _POWERS if values.takes(size)]:
                yield Choice(*powers)
        case Number(low, high):
            least_real = max(low, 0.25)
            yield Real(least_real, 32 * least_real if high is None else high)
        case OneOf():
            known = [v for v in values.values if _fits(method, fields | {name: v}, anatomy)]
            if len(known) > 1:
                yield Choice(*known)
        case SomeOf():
            known = [v for v in values.items if _fits(method, fields | {name: (v,)}, anatomy)]
            if known:
                yield Subset(*known)
        case Layers():
            yield Subset.of_layers()
        case AnyOf():
            options: list[Any] = []
            for kind in values.kinds:
                if isinstance(kind, OneOf):
                    options += kind.values
                else:
                    options += list(_domains(method, fields, name, kind, anatomy))[:1]
            if options:
                yield Choice(*options)


def _fits(method: type[Method], fields: dict[str, Any], anatomy: Anatomy) -> bool:
    """Whether a backbone takes what is drawn from these fields."""
    try:
        bound = SearchSpace(method(**fields)).bind(anatomy)
        choose = at_random(random.Random(0))
        for _ in range(_DRAWS):
            architecture: Architecture = bound.draw(choose).architecture
            count(architecture, anatomy)
    except ValueError:  # how a method, a rule or a space refuses
        return False
    return True
