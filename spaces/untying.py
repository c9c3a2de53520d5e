"""Items of a space in which one ``Shared`` draw is held at a value."""

from __future__ import annotations

from typing import Any

from peftnas.spaces.domains import Choice, Subset
from peftnas.spaces.fields import Configurable, settings
from peftnas.spaces.grouped import Grouped
from peftnas.spaces.structure import ByGroup, Maybe, PerGroup, PerLayer
from peftnas.spaces.ties import Shared, Switch


def untied(item: Any, name: str, value: Any) -> Any:
    """An item with a value wherever it held the draw; ``None``: no method is left of it.

    Args:
        item: of a space.
        name: of the draw.
        value: of its domain.
    """
    match item:
        case Configurable():
            held = {field: getattr(item, field) for field in settings(type(item))}
            return item.replace(
                **{field: _settled(one, name, value) for field, one in held.items()}
            )
        case Maybe(content):
            left = untied(content, name, value)
            return None if left is None else Maybe(left)
        case Choice(options=options):
            return _distinct(untied(option, name, value) for option in options)
        case Grouped():
            item = item.changed(
                methods=[untied(method, name, value) for method in item.methods],
                grouping=_settled(item.grouping, name, value),
            )
            return with_tuned(item, _settled(item.tuned, name, value))
    return item


def with_tuned(item: Grouped, tuned: Any) -> Grouped | None:
    """A ``Grouped`` with other tuned groups, of which a tuple is exactly those; ``()``: none."""
    if tuned == ():
        return None
    # a fixed set is a subset of itself with all its items
    fixed = isinstance(tuned, tuple)
    return item.changed(tuned=Subset(*tuned, min_size=len(tuned)) if fixed else tuned)


def _settled(held: Any, name: str, value: Any) -> Any:
    """What a field holds once the draw is held."""
    match held:
        case Shared():
            return value if held.name == name else held
        case Switch(on=on, cases=cases):
            if on.name == name:
                return _settled(held.case(value), name, value)
            return Switch(on, {option: _settled(case, name, value) for option, case in cases})
        case Choice(options=options):
            return _distinct(_settled(option, name, value) for option in options)
        case PerLayer(domain):
            return PerLayer(_settled(domain, name, value))
        case PerGroup(n, domain, grouping):
            return PerGroup(n, _settled(domain, name, value), _settled(grouping, name, value))
        case ByGroup(values=values, grouping=grouping):
            return ByGroup(*values, grouping=_settled(grouping, name, value))
    return held


def _distinct(options: Any) -> Choice:
    """A choice of options, some of which may have become one."""
    found: dict[tuple[type, Any], Any] = {}
    for option in options:
        found.setdefault((type(option), option), option)
    return Choice(*found.values())
