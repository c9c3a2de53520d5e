"""How far apart two architectures are: a metric in [0, 1] over the modules that they place.

Modules of one kind at one site are compared field by field: two numbers differ by
``1 - smaller / larger`` (rank 8 and 16 by 1/2), any other two values by 1; half of the sum, at
most 1, is how far two such modules are apart. A module that only one side has counts 1. With
``d`` the sum of these, ``a`` and ``b`` the numbers of modules, the distance is
``2 d / (a + b + d)``: for modules that are either equal or at different places this is the Jaccard
distance, the share of all modules that is not common to both. Several modules of a kind at a site
are paired in the order of their fields.

It is 0 for equal ``train_key`` only, symmetric, and holds the triangle inequality: sums, halves
and minima with 1 of metrics are metrics, and so is the last step, the Steinhaus transform.

Sources: Marczewski and Steinhaus, On a certain distance of sets and the corresponding distance of
functions, Colloquium Mathematicum 6 (1958); the sum over fields after Gower, A general coefficient
of similarity and some of its properties, Biometrics 27 (1971).
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable
from operator import itemgetter
from typing import Any

from peftnas.spaces import keys
from peftnas.spaces.architecture import Placement

_FIELD = 0.5
"""Weight of a field: one that differs leaves two modules of a kind nearer than two of others."""

Fields = dict[str, Any]
Place = tuple[str, str]
Module = tuple[str, Fields]
"""What a key is made of, as text and as values."""


def distance(a: Iterable[Placement], b: Iterable[Placement]) -> float:
    """The distance of what two architectures place on one backbone, in [0, 1].

    Args:
        a, b: the placements of their canonical forms; the order does not matter.
    """
    one, other = _by_place(a), _by_place(b)
    differ = 0.0
    for place in sorted({*one, *other}):
        here, there = one.get(place, []), other.get(place, [])
        differ += abs(len(here) - len(there))
        differ += sum(map(_modules, here, there))
    modules = sum(map(len, one.values())) + sum(map(len, other.values()))
    return 2 * differ / (modules + differ) if differ else 0.0


def _by_place(placements: Iterable[Placement]) -> dict[Place, list[Module]]:
    """The modules of each kind at each site, in an order of their own."""
    found: dict[Place, list[Module]] = {}
    for placement in placements:
        place, module = _module(placement)
        found.setdefault(place, []).append(module)
    return {place: sorted(several, key=itemgetter(0)) for place, several in found.items()}


@functools.lru_cache(maxsize=20_000)
def _module(placement: Placement) -> tuple[Place, Module]:
    text = keys.identity(placement)
    fields = json.loads(text)
    return (str(fields.get("kind")), placement.site), (text, fields)


def _modules(one: Module, other: Module) -> float:
    """How far apart two modules of one kind at one site are; a missing field is a value too."""
    (text, here), (other_text, there) = one, other
    if text == other_text:
        return 0.0
    differ = sum(
        _values(here[name], there[name]) if name in here and name in there else 1.0
        for name in sorted({*here, *there})
    )
    return min(1.0, _FIELD * differ)


def _values(one: Any, other: Any) -> float:
    if _is_number(one) and _is_number(other):
        if one == other:
            return 0.0
        if one * other <= 0:  # of different signs, or one of them 0
            return 1.0
        return 1 - float(min(abs(one), abs(other)) / max(abs(one), abs(other)))
    return float(json.dumps(one, sort_keys=True) != json.dumps(other, sort_keys=True))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
