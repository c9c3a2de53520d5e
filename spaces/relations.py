"""Constraints between fields of a space's methods: comparisons, and combinations ruled out."""

from __future__ import annotations

import ast
import itertools
import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from peftnas.spaces.architecture import Architecture
from peftnas.spaces.constraint_checks import (
    check_compared,
    check_field,
    check_forbidden,
    check_kinds,
    is_field,
    is_plain,
    kinds_in,
)
from peftnas.spaces.constraints import Constraint, tuples
from peftnas.spaces.fields import settings
from peftnas.spaces.structure import ByLayer

if TYPE_CHECKING:
    from peftnas.spaces.bound_space import BoundSpace, Placed

_OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
    "==": lambda one, other: _equal(one, other),
    "!=": lambda one, other: not _equal(one, other),
}


@dataclass(frozen=True)
class Relation(Constraint):
    """A comparison of two fields, or of a field with a value. See :func:`relation`."""

    name: ClassVar[str] = "relation"
    left: str
    sign: str
    right: Any

    def __post_init__(self) -> None:
        if not is_field(self.left):
            raise ValueError(
                f'a relation compares a field such as "lora.rank", got {self.left!r}; write it '
                "METHOD.FIELD"
            )
        if self.sign not in _OPERATORS:
            raise ValueError(
                f"a relation compares by {', '.join(_OPERATORS)}, got {self.sign!r}; take one"
            )
        if not is_plain(self.right):
            raise ValueError(
                f"constraint {self.words()!r} must compare with a field, a number, a text, True, "
                f"False, None or a tuple of these, got {self.right!r}; take one value, or rule "
                "out several by forbid"
            )

    def broken(self, placed: Placed, bound: BoundSpace) -> str | None:
        compare = _OPERATORS[self.sign]
        for one, other in self._pairs(placed.architecture):
            try:
                met = compare(one, other)
            except TypeError:  # such as a number and None
                met = False
            if not met:
                return f"{self.words()} must hold, got {one!r} and {other!r}"
        return None

    @property
    def paths(self) -> tuple[str, ...]:
        """The fields that it looks at."""
        return tuple(side for side in (self.left, self.right) if is_field(side))

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds of methods that it looks at."""
        return frozenset(path.partition(".")[0] for path in self.paths)

    def check(self, items: Sequence[Any]) -> None:
        kinds, where = kinds_in(items), f"constraint {self.words()!r}"
        for path in self.paths:
            check_field(where, path, kinds)
        check_compared(where, self.left, self.sign, self.right, kinds)

    def words(self) -> str:
        right = self.right if is_field(self.right) else repr(self.right)
        return f"{self.left} {self.sign} {right}"

    def _pairs(self, architecture: Architecture) -> Iterator[tuple[Any, Any]]:
        lefts = list(values_of(architecture, self.left))
        fixed = not is_field(self.right)
        rights = [self.right] if fixed else list(values_of(architecture, self.right))
        for left, right in itertools.product(lefts, rights):
            tables = [side for side in (left, right) if isinstance(side, ByLayer)]
            if not tables:
                yield left, right
                continue
            for layer in sorted(set.intersection(*(set(table.layers) for table in tables))):
                yield (
                    left[layer] if isinstance(left, ByLayer) else left,
                    right[layer] if isinstance(right, ByLayer) else right,
                )


@dataclass(frozen=True)
class Forbid(Constraint):
    """A combination that may not occur. See :func:`forbid`."""

    name: ClassVar[str] = "forbid"
    present: tuple[str, ...]
    values: tuple[tuple[str, tuple[Any, ...]], ...]

    def __post_init__(self) -> None:
        if not self.present and not self.values:
            raise ValueError("forbid needs at least one condition, got none; name a combination")
        for kind in self.present:
            if is_field(kind):
                raise ValueError(
                    f"forbid takes a field together with its value, got {kind!r}; write "
                    f'{{"{kind}": VALUE}}'
                )
        for path, options in self.values:
            if not is_field(path):
                raise ValueError(
                    f"forbid takes the values of METHOD.FIELD, got {path!r}; name the field too, "
                    "or the method alone where its presence is meant"
                )
            if not options or not is_plain(options):
                raise ValueError(
                    f"forbid {path} needs a value or a tuple of values that it may not hold, got "
                    f"{options if not options else options[0]!r}; write numbers, texts, True, "
                    "False, None or tuples of these"
                )

    def broken(self, placed: Placed, bound: BoundSpace) -> str | None:
        kinds = {method.kind for method in placed.architecture.methods}
        if not kinds.issuperset(self.present):
            return None
        for path, options in self.values:
            found = [
                inner
                for value in values_of(placed.architecture, path)
                for inner in _one_by_one(value)
            ]
            if not any(_equal(value, option) for value in found for option in options):
                return None
        return f"{self.words()}, got {placed.architecture.words()}"

    @property
    def paths(self) -> tuple[str, ...]:
        """The fields that it looks at."""
        return tuple(path for path, _ in self.values)

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds of methods that it looks at."""
        return frozenset([*self.present, *(path.partition(".")[0] for path in self.paths)])

    def check(self, items: Sequence[Any]) -> None:
        kinds = kinds_in(items)
        check_kinds("forbid", self.present, kinds)
        for path, options in self.values:
            check_field("forbid", path, kinds)
            check_forbidden(path, options, kinds)

    def words(self) -> str:
        parts = list(self.present)
        for path, options in self.values:
            parts.append(f"{path} = {' or '.join(map(str, options))}")
        return f"never {' with '.join(parts)}"


def relation(text: str) -> Relation:
    """A comparison such as ``"lora.rank <= adapter.bottleneck"`` or ``"lora.rank != 3"``.

    A field is METHOD.FIELD by the method's kind. Of values layer by layer each layer is compared.
    Where a method is absent, or a field has no effect, nothing is compared.

    Raises:
        ValueError: if the text does not read so.
    """
    rule = (
        "a relation must read FIELD SIGN FIELD or FIELD SIGN VALUE such as "
        f'"lora.rank <= adapter.bottleneck", got {text!r}'
    )
    if not isinstance(text, str):
        raise ValueError(f"{rule}; write it as a text")
    found = re.fullmatch(r"\s*(\S+?)\s*(<=|>=|==|!=|<|>)\s*(\S.*?)\s*", text)
    if found is None:
        raise ValueError(f"{rule}; write both sides and a sign between")
    left, sign, right = found.groups()
    try:
        value = right if is_field(right) else _value(right)
    except (SyntaxError, ValueError):
        raise ValueError(f"{rule}; compare once, and without arithmetic") from None
    return Relation(left, sign, value)


def forbid(*conditions: str | Mapping[str, Any]) -> Forbid:
    """A combination that may not occur: ``forbid("lora", {"adapter.bottleneck": (128, 256)})``.

    Args:
        conditions: kinds of methods that are present; fields with the value, or a tuple of
            values, of which they hold one (of values layer by layer, in one of the layers); a
            value that is a tuple itself stands in one. An architecture is ruled out where all
            of them hold.
    Raises:
        ValueError: if there is none, or one is neither.
    """
    present: list[str] = []
    values: dict[str, tuple[Any, ...]] = {}
    for one in conditions:
        if isinstance(one, str):
            present.append(one)
            continue
        if not isinstance(one, Mapping):
            raise ValueError(
                'forbid takes methods such as "lora" and fields such as {"adapter.bottleneck": '
                f"8}}, got {one!r}; {_meant(one)}"
            )
        for path, value in one.items():
            options = tuples(value) if isinstance(value, tuple | list) else (value,)
            if path in values:
                raise ValueError(
                    f"forbid names each field once, got {path!r} for {values[path]!r} and for "
                    f'{options!r}; write {{"{path}": {values[path] + options!r}}} for either, or '
                    "two constraints"
                )
            values[path] = options
    return Forbid(tuple(present), tuple(sorted(values.items(), key=lambda pair: str(pair[0]))))


def _meant(given: Any) -> str:
    """What to write in place of a condition that is none."""
    if isinstance(given, list | tuple | set):
        return "name its parts one by one"
    kind = getattr(given, "kind", None)
    return "name a method" if kind is None else f'write "{kind}"'


def values_of(architecture: Architecture, path: str) -> Iterator[Any]:
    """The values of METHOD.FIELD wherever it has an effect; ``ByLayer`` where it has several."""
    kind, _, name = path.partition(".")
    for method in architecture.methods:
        if method.kind == kind:
            held = {field: getattr(method, field) for field in settings(type(method))}
            if method.active(name, held):
                yield held[name]


def _one_by_one(value: Any) -> list[Any]:
    return [inner for _, inner in value.items()] if isinstance(value, ByLayer) else [value]


def _equal(one: Any, other: Any) -> bool:
    """Equal as numbers are, 1 and 1.0; a truth value is no number."""
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def _value(text: str) -> Any:
    """A number, True, False, None, a tuple or a quoted text as Python reads it; else a bare word.

    Raises:
        ValueError: if it is none of these.
    """
    try:
        value = ast.literal_eval(text)
    except (SyntaxError, ValueError):
        if re.fullmatch(r"[\w+-]+", text) is None:
            raise
        return text
    return tuples(value)
