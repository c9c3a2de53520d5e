"""THE walk: how a space is drawn, one question for each active dimension, in a fixed order.

Random sampling, Optuna's suggestions, decoding, enumeration and replay differ only in who answers.
A path is readable and unique: ``adapter`` (present?), ``adapter.bottleneck``,
``lora.targets.query`` (an item of a subset), ``adapter.layers.3``, ``layers[3].lora.rank``
(``PerLayer``), ``groups[1].lora.rank`` (``PerGroup``), ``gate``, ``size`` (a ``Shared`` draw of
that name), ``groups[1].adapter`` (in the second group of a ``Grouped``?), ``adapter2...`` (the
second of a kind), ``method`` (which of several whole methods) with ``method.lora.rank`` below it.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from peftnas.spaces.architecture import Architecture
from peftnas.spaces.domains import Choice, Inclusion, Integer, Real, Subset
from peftnas.spaces.fields import PLAIN, Configurable, default_of, settings
from peftnas.spaces.structure import ByGroup, ByLayer, PerGroup, PerLayer
from peftnas.spaces.ties import Shared, Switch
from peftnas.spaces.tree_nodes import Fork, Groups, Leaf, Node, Presence, label_options

Primitive = bool | int | float | str | None
Ask = Integer | Real | Choice
Choose = Callable[[str, Ask], Any]
"""Answers one question: the path of a dimension and its domain -> a value of the domain.

A ``Choice`` handed out here has plain values only: labels stand for methods and nested domains.
"""


@dataclass(frozen=True)
class Point:
    """One draw: the raw value of every active dimension, and the architecture that they give.

    The architecture is as drawn, not yet canonical.
    """

    values: dict[str, Primitive]
    architecture: Architecture


def draw(nodes: Iterable[Node], n_layers: int, gate: Any, choose: Choose) -> Point:
    """Walk a space once.

    Args:
        nodes: the space on a backbone (``nodes.build``).
        n_layers: layers of the backbone.
        gate: value or ``Choice`` tied across all methods with a field ``gate``; ``None``: none.
        choose: answers each question.
    Raises:
        ValueError: if ``choose`` answers with a value outside the domain.
    """
    walk = Walk(choose, n_layers, gate)
    methods = [method for node in nodes for method in walk.node(node)]
    return Point(walk.values, Architecture(*methods))


def draw_fields(
    config: Configurable, path: str, choose: Choose
) -> tuple[dict[str, Primitive], Configurable]:
    """Walk the fields of one object that stands outside a space, such as a recipe.

    Returns:
        The raw values by path (``recipe.learning_rate``), and the object holding values.
    """
    walk = Walk(choose, 0, None)
    return walk.values, walk.method(Leaf(path, config))


_PRESENT = Choice(False, True)


class Walk:
    """One walk under way: asks ``choose`` and keeps the answers in ``values``."""

    def __init__(self, choose: Choose, n_layers: int, gate: Any) -> None:
        self.values: dict[str, Primitive] = {}
        self._choose = choose
        self._n_layers = n_layers
        self._gate = gate
        self._tied: list[Any] = []
        self._shared: dict[str, Any] = {}

    def node(self, node: Node | None) -> list[Configurable]:
        """The methods that a node yields: none, or one."""
        match node:
            case None:
                return []
            case Leaf():
                return [self.method(node)]
            case Presence(path, leaf):
                return [self.method(leaf)] if self.ask(path, _PRESENT) else []
            case Fork(path):
                return self.node(node.option(self.ask(path, node.labels)))
            case Groups():
                return self._groups(node)

    def _groups(self, node: Groups) -> list[Configurable]:
        path, item = node.path, node.item
        cut = self.value(f"{path}.grouping", item.grouping, ())
        tuned = self.value(f"{path}.tuned", item.tuned, ())
        groups = [group for group in range(node.n) if tuned is None or group in tuned]
        drawn = {
            group: self.value(node.path_of(group), item.choices, ())
            for group in (range(node.n) if item.draw_all else groups)
        }
        methods = []
        for label, leaf in node.labelled:
            layers = node.layers([group for group in groups if label in drawn[group]], cut)
            if layers:
                methods.append(self.method(Leaf(leaf.path, leaf.method.replace(layers=layers))))
        return methods

    def method(self, leaf: Leaf) -> Configurable:
        """The method with every domain replaced by a draw."""
        method, drawn = leaf.method, dict[str, Any]()
        for name in field_order(method):
            if not method.active(name, drawn):
                drawn[name] = inactive_value(method, name)
            elif name == "gate" and self._gate is not None:
                drawn[name] = self.gate()
            else:
                held = getattr(method, name)
                drawn[name] = self.field(method, f"{leaf.path}.{name}", name, held, drawn)
        return method.replace(**drawn)

    def field(
        self, method: Configurable, path: str, name: str, held: Any, drawn: dict[str, Any]
    ) -> Any:
        """The value of one active field, given the fields ``drawn`` before it."""
        layers = active_layers(drawn.get("layers"), self._n_layers)
        value = self.value(path, held, layers)
        return inactive_value(method, name) if value is _NOWHERE else value

    def value(self, path: str, domain: Any, layers: Sequence[int]) -> Any:
        """A value from what a field holds; ``layers``: where the method is active."""
        if domain.__class__ in PLAIN:  # most fields, and most options
            return domain
        match domain:
            case Integer() | Real():
                return self.ask(path, domain)
            case Choice():
                labels, question = _labelled(domain)
                label = self.ask(path, question)
                return self.value(f"{path}.{label}", labels[(type(label), label)], layers)
            case Subset():
                return self._subset(path, domain)
            case PerLayer(inner):
                return self._per_layer(path, inner, layers)
            case PerGroup():
                return self._per_group(path, domain, layers)
            case ByGroup():
                cut = self.value(f"{path}.grouping", domain.grouping, ())
                return domain.table(layers, cut) if layers else _NOWHERE
            case Shared(domain=PerLayer()):
                return self._shared_by_layer(domain, layers)
            case Shared():
                return self.shared(domain)
            case Switch(on=on):
                option = self.shared(on)
                return self.value(f"{path}.{option}", domain.case(option), layers)
            case _:
                return domain

    def _shared_by_layer(self, tie: Shared[Any], layers: Sequence[int]) -> Any:
        """The draws of a name in some layers, each asked when the first field needs it."""
        table = self._shared.setdefault(tie.name, {})
        for layer in layers:
            if layer not in table:
                path = f"layers[{layer}].{tie.name}"
                table[layer] = self.value(path, tie.domain.domain, layers)  # type: ignore[attr-defined]
        return ByLayer({layer: table[layer] for layer in layers}) if layers else _NOWHERE

    def shared(self, tie: Shared[Any]) -> Any:
        """The draw of a name, asked when the first field needs it."""
        if tie.name not in self._shared:
            self._shared[tie.name] = self.value(tie.name, tie.domain, ())
        return self._shared[tie.name]

    def gate(self) -> Any:
        """The gate tied across methods, asked when the first method needs it."""
        if not self._tied:
            self._tied.append(self.value("gate", self._gate, ()))
        return self._tied[0]

    def ask(self, path: str, domain: Ask) -> Any:
        """One answer, checked and kept."""
        value = self._choose(path, domain)
        if value not in domain:
            raise _outside(path, domain, value)
        self.values[path] = value
        return value

    def _subset(self, path: str, domain: Subset) -> tuple[Any, ...]:
        # most questions of a walk are these: asked here, not through a function for each
        choose, values = self._choose, self.values
        taken: list[Any] = []
        left, missing, most = len(domain.items), domain.min_size, domain.max_size
        for item in domain.items:
            if missing == left:
                return (*taken, *domain.items[-left:])
            if most is None:
                question = _inclusion(left, missing) if missing else _EVEN
            elif len(taken) == most:
                break
            else:
                question = _inclusion(left, missing, most - len(taken))
            here = f"{path}.{item}"
            value = values[here] = choose(here, question)
            if value is True:
                taken.append(item)
                missing -= missing > 0
            elif value is not False:
                raise _outside(here, question, value)
            left -= 1
        return tuple(taken)

    def _per_layer(self, path: str, inner: Any, layers: Sequence[int]) -> Any:
        if isinstance(inner, Integer | Real):
            drawn = {i: self.ask(f"layers[{i}].{path}", inner) for i in layers}
        else:
            drawn = {i: self.value(f"layers[{i}].{path}", inner, layers) for i in layers}
        return ByLayer(drawn) if drawn else _NOWHERE

    def _per_group(self, path: str, domain: PerGroup[Any], layers: Sequence[int]) -> Any:
        cut = self.value(f"{path}.grouping", domain.grouping, ())
        numbers = domain.numbers(cut)
        drawn = {
            group: self.value(f"groups[{group}].{path}", domain.domain, layers)
            for group in sorted({numbers[layer] for layer in layers})
        }
        return ByLayer({layer: drawn[numbers[layer]] for layer in layers}) if drawn else _NOWHERE


def _outside(path: str, domain: Ask, value: Any) -> ValueError:
    return ValueError(f"{path} must be drawn from {domain!r}, got {value!r}; change the value")


_NOWHERE = object()
"""A per-layer draw of a method that is active in no layer."""


def field_order(method: Configurable) -> list[str]:
    """The fields in the order of the walk: ``layers`` first, since per-layer draws need it."""
    cls: Any = type(method)
    return _field_order(cls)


@functools.cache
def _field_order(cls: Any) -> list[str]:
    declared = settings(cls)
    names = list(declared)
    if "layers" in declared and not declared["layers"].when:
        names.remove("layers")
        names.insert(0, "layers")
    return names


def active_layers(layers: tuple[int, ...] | None, n_layers: int) -> tuple[int, ...]:
    """The layer numbers that a drawn ``layers`` field stands for."""
    return _every(n_layers) if layers is None else layers


@functools.cache
def _every(n_layers: int) -> tuple[int, ...]:
    return tuple(range(n_layers))


def inactive_value(method: Configurable, name: str) -> Any:
    """What a field takes while it does not matter: its default, else its first possible value."""
    default = default_of(type(method), name)
    return _first(getattr(method, name)) if default is dataclasses.MISSING else default


def _first(domain: Any) -> Any:
    match domain:
        case Integer(low) | Real(low):
            return low
        case Choice():
            return _first(domain.options[0])
        case Subset():
            return domain.items
        case PerLayer(inner) | PerGroup(_, inner) | Shared(_, inner):
            return _first(inner)
        case ByGroup():
            return domain.values[0]
        case Switch():
            return _first(domain.cases[0][1])
        case _:
            return domain


def _subsets(items: int, at_least: int, at_most: int) -> int:
    """How many subsets of so many items have at least and at most so many members."""
    sizes = range(max(at_least, 0), min(at_most, items) + 1)
    return sum(math.comb(items, size) for size in sizes)


@functools.lru_cache(maxsize=4096)
def _inclusion(left: int, missing: int, room: int | None = None) -> Inclusion:
    """The question for the next of ``left`` items, of which ``missing`` to ``room`` are taken."""
    room = left if room is None else room
    taking = _subsets(left - 1, missing - 1, room - 1)
    return Inclusion(taking / _subsets(left, missing, room))


_EVEN = _inclusion(1, 0)
"""The question where no item is missing any more."""


@functools.lru_cache(maxsize=1024)
def _labelled(domain: Choice) -> tuple[dict[Any, Any], Choice]:
    """The labels of a choice's options, and the question for one of them."""
    labels = label_options(domain)
    return labels, Choice(*(label for _, label in labels))
