"""Constraints between fields of a space's methods: comparisons, and combinations ruled out."""

from __future__ import annotations

import ast
import itertools
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from peftnas.spaces.architecture import Architecture
from peftnas.spaces.constraints import Constraint
from peftnas.spaces.fields import Configurable, settings
from peftnas.spaces.nearest import did_you_mean
from peftnas.spaces.structure import ByLayer
from peftnas.spaces.values import same_value

if TYPE_CHECKING:
    from peftnas.spaces.bound_space import BoundSpace, Placed

_FIELD = r"[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*"
_OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
    "==": operator.eq,
    "!=": operator.ne,
}


@dataclass(frozen=True)
class Relation(Constraint):
    """A comparison of two fields, or of a field with a value. See :func:`relation`."""

    name: ClassVar[str] = "relation"
    left: str
    sign: str
    right: Any

    def __post_init__(self) -> None:
        if not isinstance(self.left, str) or not re.fullmatch(_FIELD, self.left):
            raise ValueError(
                f'a relation compares a field such as "lora.rank", got {self.left!r}; write it '
                "METHOD.FIELD"
            )
        if self.sign not in _OPERATORS:
            raise ValueError(
                f"a relation compares by {', '.join(_OPERATORS)}, got {self.sign!r}; take one"
            )

    def broken(self, placed: Placed, bound: BoundSpace) -> str | None:
        compare = _OPERATORS[self.sign]
        for one, other in self._pairs(placed.architecture):
            try:
                met = compare(one, other)
            except TypeError:  # such as a number and None
                met = self.sign == "!="
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

    def check(self, methods: Iterable[Configurable]) -> None:
        methods = list(methods)
        for path in self.paths:
            _check_field(f"constraint {self.words()!r}", path, methods)

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
            if not any(same_value(value, option) for value in found for option in options):
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

    def check(self, methods: Iterable[Configurable]) -> None:
        methods = list(methods)
        kinds = sorted({method.kind for method in methods})
        for kind in self.present:
            if kind not in kinds:
                raise ValueError(
                    f"forbid names methods of the space ({', '.join(kinds)}), got {kind!r}; "
                    f"{did_you_mean(kind, kinds)}"
                )
        for path, _ in self.values:
            _check_field("forbid", path, methods)

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
    found = re.fullmatch(r"\s*(\S+)\s*(<=|>=|==|!=|<|>)\s*(\S.*?)\s*", text)
    if found is None:
        raise ValueError(
            "a relation must read FIELD SIGN FIELD or FIELD SIGN VALUE such as "
            f'"lora.rank <= adapter.bottleneck", got {text!r}; write both sides and a sign between'
        )
    left, sign, right = found.groups()
    return Relation(left, sign, right if re.fullmatch(_FIELD, right) else _value(right))


def forbid(*conditions: str | Mapping[str, Any]) -> Forbid:
    """A combination that may not occur: ``forbid("lora", {"adapter.bottleneck": (128, 256)})``.

    Args:
        conditions: kinds of methods that are present; fields with the value, or a tuple of
            values, of which they hold one (of values layer by layer, in one of the layers). An
            architecture is ruled out where all of them hold.
    Raises:
        ValueError: if there is none.
    """
    present = tuple(one for one in conditions if isinstance(one, str))
    values = {
        path: value if isinstance(value, tuple) else (value,)
        for one in conditions
        if isinstance(one, Mapping)
        for path, value in one.items()
    }
    return Forbid(present, tuple(sorted(values.items())))


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


def is_field(side: Any) -> bool:
    """Whether a side of a relation names a field, METHOD.FIELD."""
    return isinstance(side, str) and re.fullmatch(_FIELD, side) is not None


def _check_field(where: str, path: str, methods: Iterable[Configurable]) -> None:
    """Raise ValueError unless METHOD.FIELD is one of some methods."""
    kind, _, name = path.partition(".")
    fields = {method.kind: settings(type(method)) for method in methods}
    if kind not in fields:
        raise ValueError(
            f"{where} must name methods of the space ({', '.join(sorted(fields))}), got {kind!r}; "
            f"{did_you_mean(kind, fields)}"
        )
    if name in fields[kind] and fields[kind][name].training:
        raise ValueError(
            f"{where} must name what belongs to the architecture, got {path}, a setting of the "
            "training; narrow the domain of that field instead"
        )
    if name not in fields[kind]:
        raise ValueError(
            f"{where} must name fields of {kind} ({', '.join(fields[kind])}), got {name!r}; "
            f"{did_you_mean(name, fields[kind])}"
        )


def _value(text: str) -> Any:
    """A number, True, False, None or a quoted text as Python reads it; else the bare word."""
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return text
