"""SearchSpace: methods holding domains, a tied gate, a budget. Bound to a backbone it is drawn."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

from peftnas.spaces.architecture import Anatomy
from peftnas.spaces.bound_space import BoundSpace
from peftnas.spaces.budget import check_budget
from peftnas.spaces.domains import Choice
from peftnas.spaces.fields import Configurable, check_clashes, default_of, settings
from peftnas.spaces.refusals import refusal
from peftnas.spaces.serial import from_json, to_json
from peftnas.spaces.structure import Maybe, PerGroup, PerLayer
from peftnas.spaces.tree_nodes import is_primitive

FORMAT = 1
_FIELDS = ("items", "gate", "max_parameters", "at_least_one_method")


@dataclass(frozen=True, init=False)
class SearchSpace:
    """All architectures that can be drawn from its items.

    Each item is a method (it is always there), a ``Maybe`` of one, or a ``Choice`` of whole
    methods and ``None``; methods hold values or domains.

    Args:
        items: at least one.
        gate: value or ``Choice`` for the field ``gate`` of all methods that have one, drawn once.
        max_parameters: limit of trainable parameters (without head): a whole number >= 1, or a
            percentage of the backbone such as ``"2%"``. Default: no limit.
        at_least_one_method: leave out the bare head.
    Raises:
        ValueError: if an item is no method, or a rule of the arguments above is broken.
    """

    items: tuple[Any, ...]
    gate: Any
    max_parameters: int | str | None
    at_least_one_method: bool

    def __init__(
        self,
        *items: Any,
        gate: Any = None,
        max_parameters: int | str | None = None,
        at_least_one_method: bool = False,
    ) -> None:
        if not items:
            raise ValueError("SearchSpace needs at least one item, got none; add a method")
        for item in items:
            _check_item(item, top=True)
        for first, second in itertools.combinations(items, 2):
            for pair in itertools.product(methods_in(first), methods_in(second)):
                check_clashes(pair)
        check_budget(max_parameters)
        if gate is not None:
            _check_gate(gate, items)
        if not isinstance(at_least_one_method, bool):
            raise ValueError(
                f"at_least_one_method must be True or False, got {at_least_one_method!r}"
            )
        object.__setattr__(self, "items", items)
        object.__setattr__(self, "gate", gate)
        object.__setattr__(self, "max_parameters", max_parameters)
        object.__setattr__(self, "at_least_one_method", at_least_one_method)

    def bind(self, anatomy: Anatomy) -> BoundSpace:
        """The space on one backbone, where it can be counted and drawn.

        Raises:
            ValueError: if a method names a layer or a site that the backbone does not have.
        """
        return BoundSpace(self, anatomy)

    def to_dict(self) -> dict[str, Any]:
        """JSON form, exact; equal for equal spaces."""
        return {
            "format": FORMAT,
            "items": [to_json(item) for item in self.items],
            "gate": to_json(self.gate),
            "max_parameters": self.max_parameters,
            "at_least_one_method": self.at_least_one_method,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The space that :meth:`to_dict` wrote.

        Raises:
            ValueError: if the format, a kind or a field is unknown, or a value is not allowed.
        """
        if data.get("format") != FORMAT:
            raise ValueError(
                f"a search space must have format {FORMAT}, got {data.get('format')!r}; read it "
                "with the version that wrote it"
            )
        missing = [name for name in _FIELDS if name not in data]
        if missing:
            raise ValueError(f"a stored search space has a field {missing[0]!r}, got none; add it")
        return cls(
            *(from_json(item) for item in data["items"]),
            gate=from_json(data["gate"]),
            max_parameters=data["max_parameters"],
            at_least_one_method=data["at_least_one_method"],
        )


def methods_in(item: Any) -> Iterator[Configurable]:
    """Every method in an item of a space."""
    if isinstance(item, Configurable):
        yield item
    elif isinstance(item, Maybe):
        yield from methods_in(item.content)
    elif isinstance(item, Choice):
        for option in item.options:
            yield from methods_in(option)


def _check_item(item: Any, top: bool) -> None:
    match item:
        case None if not top:
            return
        case Configurable() if hasattr(item, "place"):
            for name in settings(type(item)):
                _check_nesting(f"{type(item).__name__}.{name}", getattr(item, name))
        case Maybe(Choice() as content):
            if None in content.options:
                raise ValueError(
                    f"Maybe(Choice(..., None)) says absent twice, got {item!r}; drop the None"
                )
            _check_item(content, top)
        case Maybe(content):
            _check_item(content, top)
        case Choice():
            if set(item.options) == {None}:
                raise ValueError(f"a Choice of methods needs a method, got {item!r}; add one")
            if None in item.options and any(isinstance(o, Maybe) for o in item.options):
                raise ValueError(
                    f"Choice(None, Maybe(...)) says absent twice, got {item!r}; drop the None"
                )
            for option in item.options:
                _check_item(option, top=False)
        case _:
            remedy = f"write {item.__name__}(...)" if isinstance(item, type) else "drop it"
            raise ValueError(
                "SearchSpace takes methods, Maybe(method) and Choice(method, ..., None), got "
                f"{item!r}; {remedy}"
            )


def _check_nesting(name: str, value: Any, inside: bool = False) -> None:
    if isinstance(value, PerLayer | PerGroup):
        if inside:
            raise ValueError(
                f"{name} must have one PerLayer or PerGroup, got {value!r} inside another; "
                "drop one"
            )
        _check_nesting(name, value.domain, inside=True)
    elif isinstance(value, Choice):
        for option in value.options:
            _check_nesting(name, option, inside)


def _check_gate(gate: Any, items: tuple[Any, ...]) -> None:
    options = gate.options if isinstance(gate, Choice) else (gate,)
    if not all(is_primitive(option) for option in options):
        raise ValueError(
            f'gate must be a value or a Choice of values such as Choice(None, "unipelt"), got '
            f"{gate!r}"
        )
    gated = [
        method for item in items for method in methods_in(item) if "gate" in settings(type(method))
    ]
    if not gated:
        raise ValueError(
            f"gate needs a method that can carry one, got gate={gate!r} and none in the space; "
            "drop it"
        )
    for method in gated:
        name, declared = type(method).__name__, settings(type(method))["gate"]
        held = method.gate  # type: ignore[attr-defined]
        if held != default_of(type(method), "gate"):
            raise ValueError(
                f"the gate is drawn once for the whole space, got {name}(gate={held!r}) beside "
                f"SearchSpace(gate={gate!r}); drop one of them"
            )
        for option in options:
            if not declared.values.takes(option):
                raise ValueError(refusal(f"{name}.gate", declared.values, option))
