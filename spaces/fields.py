"""Fields that hold a value or a domain, checked by the same rule either way.

A method or a recipe is a frozen dataclass derived from :class:`Configurable`. Each field is
declared with :func:`setting`, which says what values it takes; the base class checks a held value,
and every value that a held domain could yield, when the object is made.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self, TypeVar, dataclass_transform

from peftnas.spaces.domains import Choice, Domain, Integer, Real, Subset
from peftnas.spaces.field_checks import check_value
from peftnas.spaces.refusals import misnamed
from peftnas.spaces.structure import ByGroup, ByLayer, PerGroup, PerLayer
from peftnas.spaces.ties import Shared, Switch
from peftnas.spaces.values import (
    AnyOf,
    Layers,
    Number,
    OneOf,
    Sizes,
    SomeOf,
    Tokens,
    Values,
    Whole,
    same_value,
)

__all__ = [
    "AnyOf",
    "Configurable",
    "Layers",
    "Number",
    "OneOf",
    "Rule",
    "Setting",
    "Sizes",
    "SomeOf",
    "Tokens",
    "Values",
    "Whole",
    "check_clashes",
    "default_of",
    "held",
    "held_at",
    "is_resolved",
    "kind_named",
    "may_hold",
    "possible_values",
    "setting",
    "settings",
]

T = TypeVar("T")


@dataclass(frozen=True)
class Setting:
    """What one field takes and means; kept in the dataclass field's metadata.

    Attributes:
        values: the values that the field takes.
        by_layer: whether ``PerLayer`` / ``PerGroup`` / ``ByLayer`` are allowed.
        when: the field matters only while each named field holds one of the listed values; it
            must be declared after those fields. An unneeded domain is not drawn.
        size: 0 means that the method is absent (methods.md section 5, rule 1).
        help: one line for ``peftnas methods``.
        training: its word in tables, where it says how modules train and not what they are; see
            ``training_settings.py``.
    """

    values: Values
    by_layer: bool = False
    when: Mapping[str, tuple[Any, ...]] = dataclasses.field(default_factory=dict)
    size: bool = False
    help: str = ""
    training: str = ""


def setting(
    values: Values,
    *,
    default: Any = dataclasses.MISSING,
    by_layer: bool = False,
    when: Mapping[str, tuple[Any, ...]] | None = None,
    size: bool = False,
    help: str = "",
    training: str = "",
) -> Any:
    """Declare a field of a :class:`Configurable`; see :class:`Setting` for the arguments."""
    metadata = {"setting": Setting(values, by_layer, when or {}, size, help, training)}
    return dataclasses.field(default=default, metadata=metadata, kw_only=True)


@dataclass(frozen=True)
class Rule:
    """A rule over several fields of one object.

    Attributes:
        fields: names of the fields it looks at.
        broken: given their values by name, the sentence to show when they break the rule, else
            ``None``. It is asked for every combination that domains in these fields could yield.
    """

    fields: tuple[str, ...]
    broken: Callable[[dict[str, Any]], str | None]


_KINDS: dict[str, type[Configurable]] = {}
_SETTINGS: dict[type, dict[str, Setting]] = {}  # every object made asks for its class's


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(setting,))
class Configurable:
    """Base of methods and recipes: a frozen dataclass whose fields hold values or domains.

    Subclasses are decorated with ``@dataclass(frozen=True, kw_only=True)``, declare ``kind``
    (their stable name in files and storages) and their fields with :func:`setting`.

    Raises:
        TypeError: when a field is named that there is none of, or none is named.
        ValueError: when a field holds a value, or a domain that could yield a value, which the
            field does not take, or when a rule over several fields is broken.
    """

    kind: ClassVar[str]
    rules: ClassVar[tuple[Rule, ...]] = ()

    def __new__(cls, *values: Any, **fields: Any) -> Self:
        if values or fields.keys() - cls.__dataclass_fields__:  # type: ignore[attr-defined]
            raise TypeError(misnamed(cls, values, fields))
        return super().__new__(cls)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "kind" in cls.__dict__:
            _KINDS[cls.kind] = cls

    def __post_init__(self) -> None:
        for name, declared in settings(type(self)).items():
            value = getattr(self, name)
            if isinstance(value, list):
                value = tuple(value)
                object.__setattr__(self, name, value)
            _check_field(type(self), name, declared, value)
        for rule in self.rules:
            self._check_rule(rule)

    def _check_rule(self, rule: Rule) -> None:
        possible = [possible_values(getattr(self, name)) for name in rule.fields]
        for combination in itertools.product(*possible):
            sentence = rule.broken(dict(zip(rule.fields, combination, strict=True)))
            if sentence:
                raise ValueError(f"{type(self).__name__}: {sentence}")

    def active(self, name: str, values: Mapping[str, Any]) -> bool:
        """Whether field ``name`` matters when the other fields hold ``values``."""
        when = settings(type(self))[name].when
        return not when or all(_holds(values[field], allowed) for field, allowed in when.items())

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed, these (and the rules over them) checked again."""
        cls, declared = type(self), settings(type(self))
        if (
            cls.__post_init__ is not Configurable.__post_init__
            or not changes.keys() <= declared.keys()
        ):
            return dataclasses.replace(self, **changes)  # type: ignore[type-var]
        changed = {
            name: value for name, value in changes.items() if value is not getattr(self, name)
        }
        if not changed:
            return self
        # spaces are drawn and counted by copies: checking only what changed is what keeps it fast
        copy = object.__new__(cls)
        copy.__dict__.update(self.__dict__)
        for name, value in changed.items():
            value = tuple(value) if isinstance(value, list) else value
            copy.__dict__[name] = value
            _check_field(cls, name, declared[name], value)
        for rule in self.rules:
            if not changed.keys().isdisjoint(rule.fields):
                copy._check_rule(rule)
        return copy

    def clash(self, other: Configurable) -> str | None:
        """Why the two cannot stand in one architecture, in one sentence; ``None`` when they can.

        Of objects that hold domains: why they cannot for some of their values.
        """
        return None

    def spelled_otherwise(self) -> Iterable[Self]:
        """Objects with other settings that mean the same everywhere; by default none.

        Where canonical form moves a value from one field to another, a space may hold either.
        """
        return ()

    def at(self, layer: int) -> Self:
        """The settings as they hold in one layer: each ``ByLayer`` replaced by its value."""
        changes = {
            name: value[layer]
            for name, value in self.__dict__.items()
            if value.__class__ is ByLayer
        }
        if not changes:
            return self
        if type(self).__post_init__ is not Configurable.__post_init__:
            return self.replace(**changes)
        # every value of a ByLayer was checked with it, and every rule for all of them
        copy = object.__new__(type(self))
        copy.__dict__.update(self.__dict__)
        copy.__dict__.update(changes)
        return copy


def settings(cls: type[Configurable]) -> Mapping[str, Setting]:
    """The declared fields of a Configurable class, by name, in order; those of training last."""
    if cls not in _SETTINGS:
        declared = {
            field.name: field.metadata["setting"]
            for field in dataclasses.fields(cls)  # type: ignore[arg-type]
            if "setting" in field.metadata
        }
        _SETTINGS[cls] = dict(sorted(declared.items(), key=lambda one: one[1].training != ""))
    return _SETTINGS[cls]


def default_of(cls: type[Configurable], name: str) -> Any:
    """The default of a field; ``dataclasses.MISSING`` where it has none."""
    return cls.__dataclass_fields__[name].default  # type: ignore[attr-defined]


def kind_named(kind: str) -> type[Configurable]:
    """The class registered under ``kind``; ValueError naming the known kinds otherwise."""
    if kind not in _KINDS:
        known = ", ".join(sorted(_KINDS))
        raise ValueError(
            f"a kind must be that of a loaded class ({known or 'none yet'}), got {kind!r}; import "
            "its module first (peftnas.methods for those that come with peftnas)"
        )
    return _KINDS[kind]


def check_clashes(configs: Sequence[Configurable]) -> None:
    """Raise ``ValueError`` with the reason if two of the objects cannot stand together."""
    for first, second in itertools.combinations(configs, 2):
        reason = first.clash(second) or second.clash(first)
        if reason is not None:
            raise ValueError(reason)


PLAIN = {int, float, str, bool, tuple, type(None)}
"""Classes of most held values: looked up, where an instance check of each would take long."""


def held_at(value: T | Domain[T] | ByLayer[T], layer: int) -> T:
    """The plain value of a field in one layer; errors as :func:`held`."""
    if isinstance(value, ByLayer):
        inner: T = value[layer]
        return inner
    return held(value)


def held(value: T | Domain[T] | ByLayer[T]) -> T:
    """The plain value of a field of an architecture.

    Raises:
        ValueError: if the field still holds a domain (a search space, not an architecture) or one
            value for each layer (see :meth:`Configurable.at`).
    """
    if value.__class__ in PLAIN:
        return value  # type: ignore[return-value]
    if isinstance(value, Domain | ByLayer):
        raise ValueError(f"an architecture holds plain values, got {value!r}; draw from it first")
    return value


def is_resolved(config: Configurable) -> bool:
    """Whether every field holds a value, so that the object can stand in an architecture."""
    values = vars(config)
    return not any(isinstance(values[name], Domain) for name in settings(type(config)))


def may_hold(held: Any, allowed: tuple[Any, ...]) -> bool:
    """Whether one of the allowed values is, or could be drawn from, what a field holds."""
    match held:
        case PerLayer() | PerGroup() | Shared():
            return may_hold(held.domain, allowed)
        case Switch():
            return any(may_hold(case, allowed) for _, case in held.cases)
        case ByGroup():
            return any(may_hold(value, allowed) for value in held.values)
        case Choice():
            return any(may_hold(option, allowed) for option in held.options)
        case Integer() | Real() | Subset():
            return any(value in held for value in allowed)
        case _:
            return _holds(held, allowed)


def _holds(value: Any, allowed: tuple[Any, ...]) -> bool:
    """Whether ``value`` is allowed; of values layer by layer, whether one of them is."""
    if isinstance(value, ByLayer):
        return any(_holds(inner, allowed) for _, inner in value.items())
    return any(value is known or same_value(value, known) for known in allowed)


def possible_values(value: Any) -> Iterable[Any]:
    """The values a rule has to be asked for: all options of a Choice, the ends of a range.

    Fields that a ``Shared`` draw ties are asked for every combination all the same.
    """
    match value:
        case PerLayer() | PerGroup() | Shared():
            return possible_values(value.domain)
        case Switch():
            return [inner for _, case in value.cases for inner in possible_values(case)]
        case ByGroup():
            return value.values
        case Choice():
            return [inner for option in value.options for inner in possible_values(option)]
        case Integer() | Real():
            return (value.low, value.high)
        case Subset():
            most = value.items[: value.max_size]
            return (most,) if value.min_size else (most, ())
        case ByLayer():
            return [inner for _, inner in value.items()]
        case _:
            return (value,)


def _check_field(cls: type[Configurable], name: str, declared: Setting, value: Any) -> None:
    if value.__class__ in PLAIN and declared.values.takes(value):
        return
    check_value(f"{cls.__name__}.{name}", declared.values, declared.by_layer, value)
