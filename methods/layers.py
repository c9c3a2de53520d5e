"""The layers in which a method is active, and how they read in words."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any

from peftnas.spaces.structure import ByLayer

if TYPE_CHECKING:
    from peftnas.methods.anatomy import Anatomy
    from peftnas.methods.base import Method


def active_layers(method: Method, anatomy: Anatomy) -> tuple[int, ...]:
    """The layers in which ``method`` acts on a backbone, in ascending order.

    Its field ``layers`` says which (``None``: all); a field that holds values layer by layer
    leaves out the layers for which it has none.

    Raises:
        ValueError: if the backbone does not have one of the layers.
    """
    n_layers, named = anatomy.n_layers, getattr(method, "layers", None)
    by_layer = [value.layers for value in vars(method).values() if value.__class__ is ByLayer]
    if named is None and not by_layer:
        return tuple(range(n_layers))
    active = set(range(n_layers) if named is None else named)
    every = active.union(*by_layer)
    if every and max(every) >= n_layers:
        missing = sorted(layer for layer in every if layer >= n_layers)
        raise ValueError(
            f"{type(method).__name__} needs layers in 0..{anatomy.n_layers - 1} on this backbone, "
            f"got {missing}; leave them out"
        )
    return tuple(sorted(active.intersection(*by_layer)))


def check_layers_matter(method: Method, anatomy: Anatomy) -> None:
    """Raise where layers are named that have nothing of what a method without modules acts on.

    A size of 0, no layers and no targets mean absence and are none of this; nor is a draw of a
    search space, whose canonical form leaves such a method out before it is placed.

    Raises:
        ValueError: if the method would put modules into other layers than those it names.
    """
    named = getattr(method, "layers", None)
    if not named or any(isinstance(size, ByLayer) for size in vars(method).values()):
        return
    if any(True for _ in method.replace(layers=None).place(anatomy)):
        raise ValueError(
            f"{type(method).__name__} needs layers that have what it acts on, got layers "
            f"{list(named)}, where this {anatomy.model_type} backbone has nothing of it; name "
            "other layers, or leave the method out"
        )


def layer_words(layers: Iterable[int]) -> str:
    """Layer numbers with runs drawn together, such as ``0-2,5``."""
    runs: list[list[int]] = []
    for layer in sorted(layers):
        if runs and runs[-1][-1] == layer - 1:
            runs[-1].append(layer)
        else:
            runs.append([layer])
    return ",".join(f"{run[0]}" if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def value_words(value: Any) -> str:
    """A field's value in words; values layer by layer as ``4 (layers 0-1), 8 (layer 2)``."""
    if not isinstance(value, ByLayer):
        return str(value)
    groups: dict[Any, list[int]] = {}
    for layer, inner in value.items():
        groups.setdefault(inner, []).append(layer)
    return ", ".join(f"{inner} ({_named(at)})" for inner, at in groups.items())


def place_words(layers: tuple[int, ...] | Any) -> str:
    """The field ``layers`` in words: nothing for all layers, else `` in layers 0-2``.

    Of one layer `` in layer 1``.
    """
    return "" if layers is None else f" in {_named(layers)}"


def _named(layers: Collection[int]) -> str:
    return f"layer{'' if len(layers) == 1 else 's'} {layer_words(layers)}"


def layer_of(site: str) -> int:
    """The layer that an address names: 3 of ``layers[3].ffn.down``."""
    return int(site.removeprefix("layers[").partition("]")[0])
