"""Methods that act at linears: their common fields, and the linears that these name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from peftnas.methods.anatomy import TARGETS
from peftnas.methods.layers import active_layers, place_words
from peftnas.methods.sites import LinearSite
from peftnas.spaces.domains import Subset
from peftnas.spaces.fields import (
    AnyOf,
    Layers,
    Number,
    OneOf,
    SomeOf,
    Whole,
    held,
    held_at,
    possible_values,
    setting,
    settings,
)

if TYPE_CHECKING:
    from peftnas.methods.anatomy import Anatomy
    from peftnas.methods.base import Method


def rank_setting(default: int = 8, help: str = "rank r of the delta; 0 = absent") -> Any:
    """The field ``rank``, which may differ from layer to layer."""
    return setting(Whole(0), default=default, by_layer=True, size=True, help=help)


def targets_setting(default: tuple[str, ...] = ("query", "value")) -> Any:
    """The field ``targets``: names of linears."""
    return setting(SomeOf(*TARGETS), default=default, help="linears that it is added to")


def layers_setting() -> Any:
    """The field ``layers``; ``None``: all."""
    return setting(Layers(), default=None, help="layers in which it is active; None: all")


def alpha_setting() -> Any:
    """The field ``alpha``: the scale s times the rank; ``None``: s = 1."""
    return setting(
        AnyOf(OneOf(None), Number(0, above=True)),
        default=None,
        help="scale times rank; None: equal to the rank",
    )


def sites_of(method: Method, anatomy: Anatomy) -> list[tuple[int, LinearSite]]:
    """The layer and the site of each linear that ``targets`` and ``layers`` name.

    Raises:
        ValueError: if the backbone does not have one of the targets or layers.
    """
    targets: tuple[str, ...] = held(method.targets)  # type: ignore[attr-defined]
    anatomy.check_targets(targets, among=_targets_of(type(method)))
    return [
        (layer, site)
        for layer in active_layers(method, anatomy)
        for _, site in anatomy.linears_of(layer, targets)
    ]


def _targets_of(method: type[Method]) -> tuple[str, ...]:
    """Names that the field ``targets`` of a method takes."""
    values = settings(method)["targets"].values
    return values.items if isinstance(values, SomeOf) else TARGETS


def ranked_sites(method: Method, anatomy: Anatomy) -> list[tuple[int, LinearSite]]:
    """The rank in its layer, where it is not 0, and the site of each linear that is named."""
    targets: tuple[str, ...] = held(method.targets)  # type: ignore[attr-defined]
    anatomy.check_targets(targets, among=_targets_of(type(method)))
    ranks: Any = method.rank  # type: ignore[attr-defined]
    return [
        (rank, site)
        for layer in active_layers(method, anatomy)
        if (rank := held_at(ranks, layer))
        for _, site in anatomy.linears_of(layer, targets)
    ]


def scale_of(alpha: float | None, rank: int) -> float:
    """s = alpha / rank; 1 where alpha is ``None``."""
    return 1.0 if alpha is None else float(alpha / rank)


def targets_words(method: Method) -> str:
    """For example `` on query, value in layers 0-2``."""
    targets: tuple[str, ...] = held(method.targets)  # type: ignore[attr-defined]
    return f" on {', '.join(targets)}" + place_words(method.layers)  # type: ignore[attr-defined]


def may_meet(first: Method, second: Method) -> bool:
    """Whether two methods with ``targets`` and ``layers`` could act at one linear.

    Of methods that hold domains: for some of their values.
    """
    return _overlap(first, second, "targets") and _overlap(first, second, "layers")


def _overlap(first: Method, second: Method, name: str) -> bool:
    ours, theirs = (_every(getattr(method, name)) for method in (first, second))
    return ours is None or theirs is None or not ours.isdisjoint(theirs)


def _every(value: Any) -> set[Any] | None:
    """All that a tuple, or a domain of tuples, could name; ``None``: everything."""
    if isinstance(value, Subset) and value.layers:
        return None
    named: set[Any] = set()
    for option in possible_values(value):
        if not isinstance(option, tuple):
            return None
        named.update(option)
    return named
