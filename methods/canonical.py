"""Canonical form of an architecture on a backbone: two spellings of one network become one.

Rules by their numbers in section 5 of the methods' reference: 1 (absent parts), 2 (fields without
an effect), 5 (order), 6 (layer by layer values), 9 (key bias); 2, 3, 7 and 11 through
``Method.normal``, 10 through the anatomy. The rules for functions alone, whatever trains them, are
in ``function_classes.py``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from peftnas.methods.anatomy import linear_address
from peftnas.methods.base import Method, Placement
from peftnas.methods.bitfit import BitFit
from peftnas.methods.checks import check_anatomy
from peftnas.methods.key_products import KEYS, idle_keys, key_products, prefixed
from peftnas.methods.layers import active_layers
from peftnas.spaces.architecture import Architecture, as_architecture
from peftnas.spaces.fields import (
    AnyOf,
    Number,
    Setting,
    SomeOf,
    Values,
    default_of,
    settings,
)
from peftnas.spaces.structure import ByLayer

if TYPE_CHECKING:
    from peftnas.methods.anatomy import Anatomy


def canonical(architecture: Architecture | Method, anatomy: Anatomy) -> Architecture:
    """The architecture without anything that has no effect on this backbone.

    Applying it twice changes nothing more. The count stays, except where trained parameters
    have no effect (a key bias).

    Raises:
        ValueError: if a method names a site or layer that the backbone does not have.
    """
    check_anatomy(anatomy)
    methods = [_normal(method, anatomy) for method in as_architecture(architecture).methods]
    present = [method for method in methods if method is not None]
    present = _without_idle_key_bias(present, anatomy)
    return Architecture(*sorted(present, key=_order))


def in_order(placements: Iterable[Placement]) -> list[Placement]:
    """Placements in the one order in which they act, whatever order their methods are written in.

    Rotations of one input, prompts and shifts do not commute; two orders of them have one
    canonical form, so they have to be one function. The order of the sites stays.
    """
    placements = list(placements)
    at: dict[str, list[Placement]] = {}
    for placement in placements:
        at.setdefault(placement.site, []).append(placement)
    turns = {
        site: iter(sorted(here, key=_rank) if len(here) > 1 else here) for site, here in at.items()
    }
    return [next(turns[placement.site]) for placement in placements]


def _rank(placement: Placement) -> tuple[str, str]:
    return placement.kind, json.dumps(placement.identity(), sort_keys=True)


def _order(method: Method) -> tuple[str, str]:
    return method.kind, repr(method)


def _normal(method: Any, anatomy: Anatomy) -> Method | None:
    if not isinstance(method, Method):
        raise ValueError(f"an architecture holds methods, got {method!r}; leave it out")
    if not any(True for _ in method.place(anatomy)):
        return None
    plain = _plain_fields(method, anatomy)
    own = plain.normal(anatomy)
    # a method's own rule may leave other fields without an effect
    return own if own is None or own is plain else _plain_fields(own, anatomy)


def _plain_fields(method: Method, anatomy: Anatomy) -> Method:
    """Every field in its one normal spelling."""
    declared = settings(type(method))
    layers = _layers_with_size(method, active_layers(method, anatomy), declared)
    values = {name: getattr(method, name) for name in declared}
    for name, setting in declared.items():
        if isinstance(values[name], ByLayer):
            values[name] = _by_layer(values[name], layers)
        values[name] = _plain(values[name], setting.values)
    if "layers" in values:
        values["layers"] = None if layers == tuple(range(anatomy.n_layers)) else layers
    for name in declared:
        if not method.active(name, values):
            values[name] = default_of(type(method), name)
    return method.replace(**values)


def _layers_with_size(
    method: Method, layers: tuple[int, ...], declared: Mapping[str, Setting]
) -> tuple[int, ...]:
    for name, setting in declared.items():
        sizes = getattr(method, name)
        if setting.size and isinstance(sizes, ByLayer):
            layers = tuple(layer for layer in layers if sizes[layer] != 0)
    return layers


def _by_layer(table: ByLayer[Any], layers: tuple[int, ...]) -> Any:
    values = {layer: table[layer] for layer in layers}
    distinct = list(dict.fromkeys(values.values()))
    return distinct[0] if len(distinct) == 1 else ByLayer(values)


def _plain(value: Any, values: Values) -> Any:
    if isinstance(values, SomeOf):
        return tuple(item for item in values.items if item in value)
    if isinstance(value, int) and not isinstance(value, bool) and _takes_fractions(values):
        return float(value)  # 4 and 4.0 are one scale
    return value


def _takes_fractions(values: Values) -> bool:
    if isinstance(values, AnyOf):
        return any(_takes_fractions(kind) for kind in values.kinds)
    return isinstance(values, Number)


def _without_idle_key_bias(methods: list[Method], anatomy: Anatomy) -> list[Method]:
    """Rule 9: a key bias shifts all logits of a query alike, unless prefix keys go without it."""
    if not anatomy.known(key_products) or not any(isinstance(m, BitFit) for m in methods):
        return methods
    others = (method for method in methods if not isinstance(method, BitFit))
    idle = idle_keys(anatomy, prefixed(part for one in others for part in one.place(anatomy)))
    kept: list[Method] = []
    for method in methods:
        normal: Method | None = method
        if isinstance(method, BitFit):
            for name in _idle_targets(method, idle, anatomy):
                method = method.without(name, anatomy)
            normal = method if method is normal else _normal(method, anatomy)
        kept.extend([normal] if normal is not None else [])
    return kept


def _idle_targets(method: BitFit, idle: set[str], anatomy: Anatomy) -> Iterator[str]:
    """The targets that are idle in every layer in which the method is active."""
    layers = active_layers(method, anatomy)
    for name in KEYS:
        sites = (linear_address(layer, name) for layer in layers)
        if name in anatomy.targets and idle.issuperset(s for s in sites if s in anatomy.linears):
            yield name
