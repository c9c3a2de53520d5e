"""What a space refuses when it is made, each in one sentence."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from peftnas.spaces.domains import Choice
from peftnas.spaces.fields import Configurable, default_of, settings
from peftnas.spaces.grouped import Grouped
from peftnas.spaces.refusals import refusal
from peftnas.spaces.structure import Maybe, PerGroup, PerLayer
from peftnas.spaces.ties import Shared
from peftnas.spaces.tree_nodes import differs_by_layer, is_primitive, within


def methods_in(item: Any) -> Iterator[Configurable]:
    """Every method in an item of a space."""
    if isinstance(item, Configurable):
        yield item
    elif isinstance(item, Maybe):
        yield from methods_in(item.content)
    elif isinstance(item, Grouped):
        yield from item.methods
    elif isinstance(item, Choice):
        for option in item.options:
            yield from methods_in(option)


def most_methods(item: Any) -> int:
    """How many methods an item of a space gives at most."""
    match item:
        case None:
            return 0
        case Maybe(content):
            return most_methods(content)
        case Grouped():
            return len(item.methods)
        case Choice(options=options):
            return max(map(most_methods, options))
    return 1


def check_item(item: Any, top: bool) -> None:
    """Raise ValueError unless it can stand in a space; ``top``: as an item of its own."""
    match item:
        case None if not top:
            return
        case Configurable() if hasattr(item, "place"):
            for name in settings(type(item)):
                _check_nesting(f"{type(item).__name__}.{name}", getattr(item, name))
        case Grouped() if top:
            for method in item.methods:
                check_item(method, top)
        case Maybe(Choice() as content):
            if None in content.options:
                raise ValueError(
                    f"Maybe(Choice(..., None)) says absent twice, got {item!r}; drop the None"
                )
            check_item(content, top)
        case Maybe(content):
            check_item(content, top)
        case Choice():
            if set(item.options) == {None}:
                raise ValueError(f"a Choice of methods needs a method, got {item!r}; add one")
            if None in item.options and any(isinstance(o, Maybe) for o in item.options):
                raise ValueError(
                    f"Choice(None, Maybe(...)) says absent twice, got {item!r}; drop the None"
                )
            if any(isinstance(option, Grouped) for option in item.options):
                raise ValueError(
                    f"a Choice takes methods and None, got {item!r}; write Grouped(...) as an "
                    "item of its own, Maybe(Grouped(...)) if it may be absent"
                )
            for option in item.options:
                check_item(option, top=False)
        case _:
            remedy = "drop it"
            if isinstance(item, type):
                remedy = f"write {item.__name__}(...)"
            elif isinstance(item, list | tuple):
                remedy = "unpack it: SearchSpace(*methods)"
            raise ValueError(
                "SearchSpace takes methods, Maybe(method), Choice(method, ..., None) and Grouped, "
                f"got {item!r}; {remedy}"
            )


def _check_nesting(name: str, value: Any) -> None:
    for outer in within(value):
        if isinstance(outer, PerLayer | PerGroup):
            for inner in within(outer.domain):
                if differs_by_layer(inner):
                    raise ValueError(
                        f"{name} must have one PerLayer, PerGroup or ByGroup, got {inner!r} "
                        "inside another; drop one"
                    )


def check_ties(items: tuple[Any, ...], names: Iterable[str]) -> None:
    """Raise ValueError where a name is shared by different domains, or stands for something else.

    Args:
        items: of the space.
        names: of the items, as dimensions are called after them.
    """
    domains: dict[str, Any] = {}
    for tie in ties(items):
        if tie.name == "gate" or tie.name in names:
            raise ValueError(
                f"Shared needs a name of its own, got {tie.name!r}, which names another "
                "dimension of the space; rename it"
            )
        if domains.setdefault(tie.name, tie.domain) != tie.domain:
            raise ValueError(
                f"Shared({tie.name!r}) must draw from one domain wherever it stands, got "
                f"{domains[tie.name]!r} and {tie.domain!r}; rename one of them"
            )


def ties(items: Iterable[Any]) -> Iterator[Shared[Any]]:
    """Every ``Shared`` in the items of a space."""
    for item in items:
        content = item.content if isinstance(item, Maybe) else item
        if isinstance(content, Grouped):
            for held in (content.grouping, content.tuned):
                yield from (one for one in within(held) if isinstance(one, Shared))
        for method in methods_in(item):
            for name in settings(type(method)):
                held = getattr(method, name)
                yield from (one for one in within(held) if isinstance(one, Shared))


def gated_methods(items: Iterable[Any]) -> Iterator[Configurable]:
    """The methods that can carry a gate."""
    for item in items:
        yield from (one for one in methods_in(item) if "gate" in settings(type(one)))


def check_gate(gate: Any, items: tuple[Any, ...]) -> None:
    """Raise ValueError unless the gate is a value, or a ``Choice``, that some method takes."""
    options = gate.options if isinstance(gate, Choice) else (gate,)
    if not all(is_primitive(option) for option in options):
        raise ValueError(
            f'gate must be a value or a Choice of values such as Choice(None, "unipelt"), got '
            f"{gate!r}; name the values"
        )
    gated = list(gated_methods(items))
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
