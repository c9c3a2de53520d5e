"""What workers cannot import travels by value: the user's modules, and the methods in them."""

from __future__ import annotations

from collections.abc import Iterable
from types import ModuleType

from ray import cloudpickle

from peftnas.spaces.fields import Configurable


def travel_by_value(modules: Iterable[ModuleType]) -> None:
    """Make the classes and functions of modules travel to workers by value from here on."""
    for module in modules:
        cloudpickle.register_pickle_by_value(module)  # type: ignore[no-untyped-call]


def kinds_in(modules: Iterable[ModuleType]) -> tuple[type[Configurable], ...]:
    """The methods that modules define; a worker has to make their names known, see
    :func:`make_known`.
    """
    return tuple(
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, Configurable)
        and value.__module__ == module.__name__
        and "kind" in vars(value)
    )


def make_known(kinds: Iterable[type[Configurable]]) -> None:
    """Make the names of methods known in this process, which travelling did not."""
    for kind in kinds:
        kind.__init_subclass__()
