"""From one method of an architecture back to the answers that draw it from one leaf of a space."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

from peftnas.spaces.domains import Choice, Integer, Real, Subset
from peftnas.spaces.fields import Configurable, settings
from peftnas.spaces.membership_nothing import zero
from peftnas.spaces.membership_variants import Variant
from peftnas.spaces.structure import ByLayer, PerGroup, PerLayer
from peftnas.spaces.training_settings import training_names
from peftnas.spaces.tree import Primitive, active_layers, field_order
from peftnas.spaces.tree_nodes import Leaf, label_options, possible_layers

Values = dict[str, Primitive]
Equal = Callable[[Configurable], bool]
"""Whether putting a changed method in the place of the wanted one leaves the training the same."""

_FEW = 64
_SPELLINGS = 500


class Outside(ValueError):
    """A field of the method cannot take the wanted value; the message says which and why."""


def spellings(leaf: Leaf, wanted: Configurable, equal: Equal) -> Iterator[Configurable]:
    """The wanted method, then its other spellings in the values that the leaf's fields hold.

    Canonical form may move a value from one field to another (the root of rsLoRA's rank into
    alpha), so the fields with few values are tried together. It names no layers where only sites
    outside of them are trained: in no layer, sites inside of them may be named too.
    """
    yield wanted
    in_no_layer = wanted.replace(layers=()) if "layers" in settings(type(wanted)) else wanted
    if in_no_layer != wanted and equal(in_no_layer):
        yield in_no_layer
    yield from filter(equal, wanted.spelled_otherwise())
    fixed = ("layers", *training_names(type(wanted)))
    few = {
        name: values
        for name in settings(type(wanted))
        if name not in fixed and (values := _plain_values(getattr(leaf.method, name)))
    }
    if math.prod(len(values) for values in few.values()) > _SPELLINGS:
        return
    for combination in itertools.product(*few.values()):
        try:
            other = wanted.replace(**dict(zip(few, combination, strict=True)))
        except ValueError:  # a rule over several fields forbids the spelling
            continue
        if other != wanted and equal(other):
            yield other


def fit(
    variant: Variant,
    wanted: Configurable,
    n_layers: int,
    equal: Equal,
    gate: Any,
    trained: bool = True,
) -> Values:
    """Answers that draw ``wanted`` from a method of the space, field by field.

    Args:
        variant: a method of the space, of the same kind as ``wanted``.
        wanted: a method of an architecture.
        n_layers: layers of the backbone.
        equal: decides whether another spelling of a field trains the same.
        gate: the tied gate's value; any object of another type when gates are not tied.
        trained: whether training settings have to be those of ``wanted``; else they stay open.
    Raises:
        Outside: if a field cannot take the wanted value.
    """
    fitting = _Fitting(variant, wanted, n_layers, equal)
    held = {name: getattr(wanted, name) for name in settings(type(wanted))}
    later = training_names(type(wanted))
    for name in field_order(variant.leaf.method):
        if not wanted.active(name, held):
            continue
        if name in later:
            fitting.training(name, trained)
        elif name == "gate" and (gate is None or isinstance(gate, bool | int | float | str)):
            fitting.plain("gate", name, gate)
        elif name == "layers":
            fitting.layers()
        else:
            fitting.field(name)
    return fitting.values


class _Fitting:
    def __init__(
        self, variant: Variant, wanted: Configurable, n_layers: int, equal: Equal
    ) -> None:
        self.values: Values = dict(variant.chosen)
        self._leaf, self._path = variant.leaf, variant.path
        self._wanted, self._n_layers, self._equal = wanted, n_layers, equal
        self._active = wanted_layers(wanted, n_layers)
        self._drawn: tuple[int, ...] = tuple(range(n_layers))

    def plain(self, path: str, name: str, value: Any) -> None:
        """Require that the wanted method holds ``value``, or a spelling of it."""
        wanted = getattr(self._wanted, name)
        if value != wanted and not self._same(name, value):
            raise Outside(f"{path} must be {value!r} here, got {wanted!r}")

    def field(self, name: str) -> None:
        """Invert one field."""
        path, held = self._path(name), getattr(self._leaf.method, name)
        wanted = getattr(self._wanted, name)
        if isinstance(held, PerLayer | PerGroup):
            self._structured(name, path, held, wanted)
            return
        self._inverted(path, held, wanted, lambda value: self._same(name, value))

    def training(self, name: str, exact: bool) -> None:
        """Invert a training setting, which has no other spelling."""
        path, held = self._path(name), getattr(self._leaf.method, name)
        wanted = getattr(self._wanted, name)
        if exact:
            self._inverted(path, held, wanted, lambda value: bool(value == wanted))

    def _inverted(self, path: str, held: Any, wanted: Any, same: Callable[[Any], bool]) -> None:
        values = self._invert(path, held, wanted, same)
        if values is None:
            held_words = f"drawn from {held!r}" if _is_domain(held) else repr(held)
            raise Outside(f"{path} must be {held_words}, got {wanted!r}")
        self.values |= values

    def layers(self) -> None:
        """Choose the layers to draw: those wanted, and others that can be emptied."""
        held = self._leaf.method.layers  # type: ignore[attr-defined]
        path = self._path("layers")
        if not (self._layers(path, held) or self._any_layers(path, held)):
            got = "no layer" if not self._active else f"layers {self._active}"
            raise Outside(f"{path} must be {held!r}, got {got}")

    def _layers(self, path: str, held: Any) -> bool:
        if isinstance(held, Choice):
            for (_, label), option in label_options(held).items():
                if self._layers(f"{path}.{label}", option):
                    self.values[path] = label
                    return True
            return False
        if not set(self._active) <= set(possible_layers(held, self._n_layers)):
            return False
        if isinstance(held, Subset):
            spare = [layer for layer in held.items if self._can_empty(layer)]
            missing = max(held.min_size - len(self._active), 0)
            drawn = {*self._active, *spare[:missing]}
            if len(drawn) < held.min_size:
                return False
            self._drawn = tuple(layer for layer in held.items if layer in drawn)
            self.values |= {f"{path}.{layer}": layer in drawn for layer in held.items}
            return True
        self._drawn = active_layers(held, self._n_layers)
        return all(layer in self._active or self._can_empty(layer) for layer in self._drawn)

    def _any_layers(self, path: str, held: Any) -> bool:
        """Answer the question of layers anyhow, where none of them changes anything."""
        lowest = held.items[: held.min_size] if isinstance(held, Subset) else held
        if isinstance(held, Choice):
            for (_, label), option in label_options(held).items():
                if self._any_layers(f"{path}.{label}", option):
                    self.values[path] = label
                    return True
            return False
        if not self._same("layers", lowest):
            return False
        self._drawn = active_layers(lowest, self._n_layers)
        if isinstance(held, Subset):
            self.values |= {f"{path}.{layer}": layer in lowest for layer in held.items}
        return True

    def _can_empty(self, layer: int) -> bool:
        """Whether a per-layer size can be 0 in a layer that is not wanted."""
        if layer not in self._active and any(
            isinstance(held := getattr(self._leaf.method, name), ByLayer)
            and declared.size
            and dict(held.items()).get(layer) == 0
            for name, declared in settings(type(self._leaf.method)).items()
        ):
            return True
        return layer not in self._active and any(
            zero(inner, declared.size) is not None
            and not (isinstance(held, PerGroup) and self._group_active(held, layer))
            for _, declared, held, inner in self._structures()
        )

    def _group_active(self, held: PerGroup[Any], layer: int) -> bool:
        group = held.group_of(layer)
        return any(held.group_of(other) == group for other in self._active)

    def _structures(self) -> list[tuple[str, Any, PerLayer[Any] | PerGroup[Any], Any]]:
        return [
            (name, declared, held, held.domain)
            for name, declared in settings(type(self._leaf.method)).items()
            if isinstance(held := getattr(self._leaf.method, name), PerLayer | PerGroup)
        ]

    def _structured(self, name: str, path: str, held: Any, wanted: Any) -> None:
        nothing = zero(held.domain, settings(type(self._wanted))[name].size)
        for layer in self._drawn:
            if isinstance(held, PerGroup):
                at = f"groups[{held.group_of(layer)}].{path}"
                empty = not self._group_active(held, layer)
            else:
                at, empty = f"layers[{layer}].{path}", layer not in self._active
            if empty:
                if nothing is not None:
                    self.values |= {f"{at}{rest}": value for rest, value in nothing.items()}
                continue
            if layer not in self._active:
                continue
            here = wanted[layer] if isinstance(wanted, ByLayer) else wanted
            same = self._same_at(name, layer, wanted)
            values = self._invert(at, held.domain, here, same)
            agrees = values is not None and all(
                self.values.get(key, value) == value for key, value in values.items()
            )
            if values is None or not agrees:
                raise Outside(f"{at} must be drawn from {held.domain!r}, got {here!r}")
            self.values |= values

    def _invert(
        self, path: str, held: Any, wanted: Any, same: Callable[[Any], bool]
    ) -> Values | None:
        """Answers below ``path`` that give ``wanted`` or, by ``same``, another spelling of it."""
        match held:
            case Real():
                return {path: float(wanted)} if wanted in held else None
            case Integer():
                if isinstance(wanted, float) and wanted.is_integer():
                    wanted = int(wanted)  # a field that takes fractions holds 4 as 4.0
                if wanted in held:
                    return {path: wanted}
                few = held.values() if len(held) <= _FEW else ()
                spelling = next((value for value in few if same(value)), None)
                return None if spelling is None else {path: spelling}
            case Choice():
                return self._invert_choice(path, held, wanted, same)
            case Subset():
                return _invert_subset(path, held, wanted, same)
            case _:
                return {} if _equals(held, wanted) or same(held) else None

    def _invert_choice(
        self, path: str, held: Choice, wanted: Any, same: Callable[[Any], bool]
    ) -> Values | None:
        labels = label_options(held)
        for strict in (True, False):
            for (_, label), option in labels.items():
                if not _is_domain(option):
                    if _equals(option, wanted) if strict else same(option):
                        return {path: label}
                    continue
                inner = self._invert(
                    f"{path}.{label}", option, wanted, (lambda _: False) if strict else same
                )
                if inner is not None:
                    return {path: label} | inner
        return None

    def _same(self, name: str, value: Any) -> bool:
        try:
            return self._equal(self._wanted.replace(**{name: value}))
        except ValueError:  # a rule over several fields forbids the spelling
            return False

    def _same_at(self, name: str, layer: int, wanted: Any) -> Callable[[Any], bool]:
        def same(value: Any) -> bool:
            table = {i: wanted[i] if isinstance(wanted, ByLayer) else wanted for i in self._active}
            return self._same(name, ByLayer(table | {layer: value}))

        return same


def wanted_layers(method: Configurable, n_layers: int) -> tuple[int, ...]:
    """The layers in which a method of an architecture is active."""
    layers = set(active_layers(getattr(method, "layers", None), n_layers))
    for name in settings(type(method)):
        value = getattr(method, name)
        if isinstance(value, ByLayer):
            layers &= set(value.layers)
    return tuple(sorted(layers))


def _invert_subset(
    path: str, held: Subset, wanted: Any, same: Callable[[Any], bool]
) -> Values | None:
    if not isinstance(wanted, tuple) or not set(wanted) <= set(held.items):
        taken = held.items if same(held.items) else None
    else:
        taken = tuple(item for item in held.items if item in wanted)
    for item in held.items:
        if taken is not None and len(taken) < held.min_size and item not in taken:
            more = tuple(other for other in held.items if other in taken or other == item)
            taken = more if same(more) else taken
    if taken is None or len(taken) < held.min_size:
        return None
    return {f"{path}.{item}": item in taken for item in held.items}


def _plain_values(held: Any) -> tuple[Any, ...]:
    """The values of a field without structure, if they are few."""
    if isinstance(held, Choice):
        return () if any(map(_is_domain, held.options)) else held.options
    return () if _is_domain(held) or isinstance(held, ByLayer) else (held,)


def _is_domain(value: Any) -> bool:
    return isinstance(value, Integer | Real | Choice | Subset | PerLayer | PerGroup)


def _equals(value: Any, wanted: Any) -> bool:
    if isinstance(value, tuple) and isinstance(wanted, tuple):
        return sorted(value) == sorted(wanted)
    return type(value) is type(wanted) and bool(value == wanted)
