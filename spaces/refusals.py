"""What is said of a value that a field does not take: the broken rule, the value, the remedy."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from typing import Any

from peftnas.spaces.domains import Choice, Domain, Integer, Real, Subset
from peftnas.spaces.nearest import did_you_mean, nearest
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
    is_finite,
)

SITE_NAMES = (
    "these names are peftnas's own, `peftnas doctor --backbone FOLDER` shows those of a backbone"
)


def refusal(name: str, values: Values, given: Any) -> str:
    """One sentence.

    Args:
        name: of the field, with its class: ``LoRA.rank``.
        values: what it takes.
        given: a value that it does not take, or a domain with such a value.
    """
    inner = given
    if isinstance(given, Subset) and not given.layers and isinstance(values, SomeOf | AnyOf):
        inner = given.items
    rule, remedy = _said(name, values, inner)
    return f"{name} must be {rule}, got {given!r}; {remedy}"


def misnamed(cls: type[Any], values: tuple[Any, ...], names: Iterable[str]) -> str:
    """What is said of values without a name, else of the first name that is no field.

    Args:
        cls: the dataclass of which an object was to be made.
        values: given without a name.
        names: given with one.
    """
    declared = dataclasses.fields(cls)
    # the training settings that all methods have are named where nothing else is to be named
    training = [field.name for field in declared if _trains(field)]
    known = [field.name for field in declared if not _trains(field)] or training
    if not known:
        given = ", ".join([*map(repr, values), *names])
        return f"{cls.__name__} has no fields, got {given}; write {cls.__name__}()"
    if values:
        given = values[0]
        meant = next((name for name in known if _takes(cls, name, given)), None)
        remedy = (
            f"name one of {', '.join(known)}"
            if meant is None
            else f"write {cls.__name__}({meant}={given!r})"
        )
        return f"{cls.__name__} takes its fields by name, got {given!r}; {remedy}"
    wrong = next(name for name in names if name not in known and name not in training)
    fields = ", ".join(known)
    place = getattr(cls, "elsewhere", {}).get(wrong)
    if place is not None:
        return f"{cls.__name__} has the fields {fields}, got {wrong!r}; {place}"
    guess = did_you_mean(wrong, known if nearest(wrong, known) else training)
    return f"{cls.__name__} has the fields {fields}, got {wrong!r}; {guess}"


def _trains(field: dataclasses.Field[Any]) -> bool:
    return getattr(field.metadata.get("setting"), "training", "") != ""


def _takes(cls: type[Any], name: str, given: Any) -> bool:
    """Whether a field would take what is given without a name; of a domain, one end tells."""
    declared = cls.__dataclass_fields__[name].metadata.get("setting")
    match given:
        case Integer() | Real():
            given = given.low
        case Choice():
            given = given.options[0]
        case Subset():
            given = given.items
    return declared is not None and bool(declared.values.takes(given))


def _said(name: str, values: Values, given: Any) -> tuple[str, str]:
    """The rule that is broken, and what to write instead."""
    match values:
        case AnyOf():
            return values.words, _said(name, _meant(values, given), given)[1]
        case SomeOf():
            return _some_of(name, values, given)
        case Layers():
            return _layers(values, given)
        case Tokens() | Sizes():
            return values.words, _many(given)
        case Whole() | Number():
            return values.words, _number(values, given)
        case OneOf():
            return values.words, _one_of(values, given)
    return values.words, "take one of these"


def _meant(values: AnyOf, given: Any) -> Values:
    """The kind of values that was most likely meant."""
    kinds = values.kinds
    if isinstance(given, str):
        wanted: tuple[type, ...] = (OneOf, SomeOf)
    elif isinstance(given, tuple | set | frozenset):
        wanted = (SomeOf, Sizes, Tokens)
    else:
        wanted = (Whole, Number, Sizes, Tokens)
    for kind in kinds:
        named = not isinstance(kind, OneOf) or any(isinstance(one, str) for one in kind.values)
        if isinstance(kind, wanted) and named:
            return kind
    return kinds[-1]


def _some_of(name: str, values: SomeOf, given: Any) -> tuple[str, str]:
    if isinstance(given, str) and given in values.items:
        return "a tuple of names", f"write ({given!r},)"
    if isinstance(given, set | frozenset | range):
        given = tuple(sorted(given, key=str))
        if values.takes(given):
            return "a tuple of names", f"write {given!r}"
    names = (given,) if isinstance(given, str) else given
    if not isinstance(names, tuple):
        return f"a tuple with {values.words}", "name them, or leave it out"
    wrong = [one for one in names if not values.takes((one,))]
    if not wrong:
        return "distinct names", f"drop {_twice(names)!r}"
    found = nearest(wrong[0], values.items)
    guess = "take some of these" if found is None else f"did you mean {found!r}?"
    where = f" ({SITE_NAMES})" if name.endswith(".targets") else ""
    return values.words, f"{wrong[0]!r} is none of them, {guess}{where}"


def _layers(values: Layers, given: Any) -> tuple[str, str]:
    if isinstance(given, int) and not isinstance(given, bool):
        return values.words, f"write ({given},)" if given >= 0 else "count from 0"
    if isinstance(given, range | set | frozenset):
        given = tuple(given)
        if values.takes(given):
            return values.words, f"write {tuple(sorted(given))!r}"
    if not isinstance(given, tuple):
        return values.words, "leave it out for all layers"
    if any(isinstance(layer, int) and layer < 0 for layer in given):
        return "layer numbers from 0 on", "the last of n layers is n - 1"
    if all(values.takes((layer,)) for layer in given):
        return "distinct layer numbers", f"drop {_twice(given)!r}"
    return "whole layer numbers from 0 on", "write such as (0, 1), or leave it out for all layers"


def _many(given: Any) -> str:
    """For a tuple of whole numbers."""
    if isinstance(given, int) and not isinstance(given, bool):
        return f"write ({given},)"
    if given == ():
        return "name at least one, or leave it out"
    return "write whole numbers, as a tuple"


def _number(values: Whole | Number, given: Any) -> str:
    domain = "Integer" if isinstance(values, Whole) else "Real"
    match given:
        case Real() if isinstance(values, Whole):
            return f"use Integer({math.ceil(given.low)}, {math.floor(given.high)})"
        case Integer() | Real():
            wrong = given.low if not values.takes(given.low) else given.high
            return f"change its bounds: {_into_range(values, wrong, repr(wrong))}"
        case Domain():
            return f"use {domain}(low, high), or a Choice of such values"
        case (int() | float() as low, int() | float() as high):
            return f"to search a range write {domain}({low}, {high})"
        case bool() | None | tuple():
            return "write a number, or leave it out"
        case str():
            return "write a number without quotes"
        case int() | float():
            return _into_range(values, given)
    return "write a plain Python number"


def _into_range(values: Whole | Number, given: float, called: str = "it") -> str:
    whole = isinstance(given, int) and isinstance(values, Whole)
    if not whole and not is_finite(given):
        return "take a finite one"
    if isinstance(values, Number) and values.above and given <= values.low:
        return f"raise {called} above {values.low:g}"
    if given < values.low:
        return f"raise {called} to {values.low:g} or more"
    if values.high is not None and given > values.high:
        return f"lower {called} to {values.high:g} or less"
    near, far = math.floor(given), math.ceil(given)
    return f"write {near}" if near == far else f"take {near} or {far}"


def _one_of(values: OneOf, given: Any) -> str:
    names = [one for one in values.values if isinstance(one, str)]
    if isinstance(given, tuple | list) and "both" in names and {*given} == {"attention", "ffn"}:
        return "write 'both'"
    found = nearest(given, names)
    if found is not None:
        return f"did you mean {found!r}?"
    if isinstance(given, Integer | Real | Subset):
        return "to search several write Choice(...)"
    return "leave it out" if len(values.values) == 1 else "take one of these"


def _twice(items: Iterable[Any]) -> Any:
    """The first item that comes again."""
    seen = set()
    for item in items:
        if item in seen:
            return item
        seen.add(item)
    raise AssertionError("no item comes twice")
