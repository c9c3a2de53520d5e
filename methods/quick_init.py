"""An ``__init__`` for frozen dataclasses of which an architecture has hundreds."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any


def quick_init(cls: type) -> Callable[..., None]:
    """What ``dataclasses`` writes for a frozen class, but filling the object at once.

    Theirs calls ``object.__setattr__`` for each field, which takes as long as all else in a count.

    Args:
        cls: a frozen dataclass whose fields are all taken by position, without factories.
    Raises:
        TypeError: if it has other fields, or a ``__post_init__``.
    """
    fields = dataclasses.fields(cls)
    factory = any(field.default_factory is not dataclasses.MISSING for field in fields)
    if (
        factory
        or hasattr(cls, "__post_init__")
        or not all(f.init and not f.kw_only for f in fields)
    ):
        raise TypeError(
            f"{cls.__name__} must have plain fields taken by position and no __post_init__; "
            "compute what follows from them in properties"
        )
    names = [field.name for field in fields]
    defaults: dict[str, Any] = {
        f"_{f.name}": f.default for f in fields if f.default is not dataclasses.MISSING
    }
    taken = ", ".join(f"{name}=_{name}" if f"_{name}" in defaults else name for name in names)
    lines = [f"    _here[{name!r}] = {name}" for name in names]
    source = [f"def __init__(self, {taken}):", "    _here = self.__dict__", *lines]
    found: dict[str, Any] = {}
    exec("\n".join(source), defaults, found)  # as dataclasses itself does
    init: Callable[..., None] = found["__init__"]
    return init


def late_init(cls: type) -> Callable[..., None]:
    """The same for a class that is still to become a dataclass: worked out at the first call."""

    def init(self: Any, *args: Any, **named: Any) -> None:
        cls.__init__ = quick_init(cls)  # type: ignore[misc]
        cls.__init__(self, *args, **named)  # type: ignore[misc]

    return init
