"""Settings of a method that say how its modules train, and not what they are.

A field declared with ``setting(training=...)``, such as the learning rate of one method. It is no
part of the architecture: it changes no key, no count and no size of a space. But it is drawn, told
and found again as any other field, and two trainings that differ in it are two trainings.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from peftnas.spaces.architecture import Anatomy, Architecture
from peftnas.spaces.domains import Choice
from peftnas.spaces.fields import Configurable, default_of, settings
from peftnas.spaces.grouped import Grouped
from peftnas.spaces.structure import Maybe
from peftnas.spaces.tree_nodes import leaves

if TYPE_CHECKING:
    from peftnas.spaces.bound_space import BoundSpace

T = TypeVar("T", bound=Configurable)


_NAMES: dict[type, tuple[str, ...]] = {}  # every architecture asks for its methods'


def training_names(cls: type[Configurable]) -> tuple[str, ...]:
    """The training settings of a class, in order."""
    if cls not in _NAMES:
        declared = settings(cls).items()
        _NAMES[cls] = tuple(name for name, known in declared if known.training)
    return _NAMES[cls]


def own_training(method: Configurable) -> dict[str, Any]:
    """The training settings that a method gives, by name; those of the recipe are left out."""
    names = training_names(type(method))
    held = {name: getattr(method, name) for name in names}
    return {name: value for name, value in held.items() if value is not None}


def untrained(method: T) -> T:
    """A method without training settings of its own."""
    given = own_training(method)
    return method.replace(**{name: default_of(type(method), name) for name in given})


def untrained_architecture(architecture: Architecture) -> Architecture:
    """An architecture of which no method has training settings of its own."""
    if not any(map(own_training, architecture.methods)):
        return architecture
    return Architecture(*map(untrained, architecture.methods))


def trains_by_method(bound: BoundSpace) -> bool:
    """Whether some method of a space has training settings of its own."""
    return any(own_training(leaf.method) for leaf in leaves(bound.nodes))


def without_training(bound: BoundSpace) -> BoundSpace:
    """The space of architectures alone: the one that is counted."""
    if not trains_by_method(bound):
        return bound
    space = bound.space
    bare = type(space)(
        *(_untrained_item(item) for item in space.items),
        gate=space.gate,
        max_parameters=space.max_parameters,
        at_least_one_method=space.at_least_one_method,
        constraints=space.constraints,
    )
    return type(bound)(bare, bound.anatomy, bound.train_memory_bytes)


def _untrained_item(item: Any) -> Any:
    match item:
        case Configurable():
            return untrained(item)
        case Maybe(content):
            return Maybe(_untrained_item(content))
        case Grouped():
            return item.changed(methods=[untrained(method) for method in item.methods])
        case Choice(options=options):
            return Choice(*_distinct(map(_untrained_item, options)))
    return item


def _distinct(options: Iterable[Any]) -> Iterator[Any]:
    """Options that differed in their training alone are one."""
    seen: list[Any] = []
    for option in options:
        if option not in seen:
            seen.append(option)
            yield option


def trained_as(spelled: Architecture, wanted: Architecture, anatomy: Anatomy) -> Architecture:
    """An architecture with the training settings of another one that places the same."""
    own: dict[Any, dict[str, Any]] = {}
    for method in wanted.methods:
        for part in anatomy.place(Architecture(method)):
            own.setdefault(part, own_training(method))
    methods = []
    for method in spelled.methods:
        parts = anatomy.place(Architecture(method))
        given = next((own[part] for part in parts if part in own), {})
        methods.append(method.replace(**given))
    return Architecture(*methods)
