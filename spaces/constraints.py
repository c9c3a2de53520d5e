"""What an architecture of a space has to meet, as values that are compared and stored.

``SearchSpace(..., constraints=(at_least(2, "layers"), "lora.rank <= adapter.bottleneck"))``. All
look at the canonical form of an architecture, and at nothing else.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from peftnas.spaces.architecture import Placement
from peftnas.spaces.space_checks import most_methods
from peftnas.spaces.units import as_bytes, byte_words

if TYPE_CHECKING:
    from peftnas.spaces.bound_space import BoundSpace, Placed

_LAYER = re.compile(r"layers\[(\d+)\]")


_KNOWN: dict[str, type[Constraint]] = {}


class Constraint:
    """One condition. Subclasses are frozen dataclasses of JSON values.

    Attributes:
        name: stands in the JSON form.
    """

    name: ClassVar[str]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        _KNOWN[cls.name] = cls

    def broken(self, placed: Placed, bound: BoundSpace) -> str | None:
        """The sentence to show where an architecture breaks it; ``None`` where it does not."""
        raise NotImplementedError

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds of methods that all have to be there for it to be broken."""
        return frozenset()

    def check(self, items: Sequence[Any]) -> None:
        """Raise ValueError where no architecture of a space's items can be meant by it."""

    def check_depth(self, n_layers: int) -> None:
        """Raise ValueError where no backbone of so many layers can meet it."""

    def words(self) -> str:
        """How it reads in the tree of a space."""
        raise NotImplementedError

    def to_dict(self) -> dict[str, Any]:
        """JSON form: ``{"constraint": name, ...fields}``."""
        held: dict[str, Any] = _lists(asdict(self))  # type: ignore[call-overload]
        return {"constraint": self.name} | held


def constraint_from_dict(data: Mapping[str, Any]) -> Constraint:
    """What :meth:`Constraint.to_dict` wrote.

    Raises:
        ValueError: if there is no such constraint, or it is broken.
    """
    if not isinstance(data, Mapping):
        raise ValueError(f"a constraint is an object, got {data!r}; take what to_dict wrote")
    name = data.get("constraint")
    cls = _KNOWN.get(name) if isinstance(name, str) else None
    if cls is None:
        raise ValueError(
            f"a constraint must be one of {', '.join(_KNOWN)}, got {name!r}; read it with the "
            "version that wrote it"
        )
    held = {name: tuples(value) for name, value in data.items() if name != "constraint"}
    known = [field.name for field in fields(cls)]  # type: ignore[arg-type]
    if held.keys() != set(known):
        raise ValueError(
            f"a constraint {name!r} has the fields {', '.join(known)}, got "
            f"{', '.join(held) or 'none'}; take what to_dict wrote"
        )
    return cls(**held)


@dataclass(frozen=True)
class AtLeast(Constraint):
    """At least so many layers with a module in them, or methods. See :func:`at_least`."""

    name: ClassVar[str] = "at_least"
    number: int
    of: Literal["layers", "methods"]

    def __post_init__(self) -> None:
        if isinstance(self.number, bool) or not isinstance(self.number, int) or self.number < 1:
            raise ValueError(
                f"at_least needs a whole number >= 1, got {self.number!r}; raise it, or leave it "
                "out"
            )
        if self.of not in ("layers", "methods"):
            raise ValueError(
                f'at_least counts "layers" or "methods", got {self.of!r}; take one of these'
            )

    def broken(self, placed: Placed, bound: BoundSpace) -> str | None:
        if self.of == "methods":
            found = len(placed.architecture.methods)
        else:
            found = len(layers_used(placed.placements))
        if found >= self.number:
            return None
        what = "hold a module" if self.of == "layers" else "be present"
        return f"at least {self.number} {self.of} must {what}, got {found}"

    def check(self, items: Sequence[Any]) -> None:
        most = sum(map(most_methods, items))
        if self.of == "methods" and most < self.number:
            raise ValueError(
                f"constraints ask for at least {self.number} methods, got a space of {most} at "
                "most; lower the number, or add items"
            )

    def check_depth(self, n_layers: int) -> None:
        if self.of == "layers" and n_layers < self.number:
            raise ValueError(
                f"constraints ask for at least {self.number} layers, got a backbone of {n_layers}"
                "; lower the number"
            )

    def words(self) -> str:
        return f"at least {self.number} {self.of}"


@dataclass(frozen=True)
class MaxStoredBytes(Constraint):
    """At most so many bytes to keep. See :func:`max_stored_bytes`."""

    name: ClassVar[str] = "max_stored_bytes"
    limit: int | str

    def __post_init__(self) -> None:
        as_bytes("max_stored_bytes", self.limit)

    def broken(self, placed: Placed, bound: BoundSpace) -> str | None:
        found = sum(part.stored_bytes() for part in placed.placements)
        if found <= as_bytes(self.name, self.limit):
            return None
        return f"stored bytes must be <= {self.limit}, got {byte_words(found)}"

    def words(self) -> str:
        return f"at most {self.limit} to store"


@dataclass(frozen=True)
class MaxTrainMemoryBytes(Constraint):
    """At most so much memory to train. See :func:`max_train_memory_bytes`."""

    name: ClassVar[str] = "max_train_memory_bytes"
    limit: int | str

    def __post_init__(self) -> None:
        as_bytes("max_train_memory_bytes", self.limit)

    def broken(self, placed: Placed, bound: BoundSpace) -> str | None:
        found = bound.train_memory_bytes(placed.architecture)
        if found <= as_bytes(self.name, self.limit):
            return None
        if math.isinf(found):
            return "a prompt must leave room for a text, got one that leaves none; shorten it"
        return (
            f"predicted training memory must be <= {self.limit}, got {byte_words(found)}; "
            "a smaller batch or shorter texts need less"
        )

    def words(self) -> str:
        return f"at most {self.limit} of memory to train"


def at_least(number: int, of: Literal["layers", "methods"]) -> AtLeast:
    """At least ``number`` layers of the backbone hold a module, or so many methods are present.

    Raises:
        ValueError: if the number is below 1, or ``of`` is something else.
    """
    return AtLeast(number, of)


def max_stored_bytes(limit: int | str) -> MaxStoredBytes:
    """At most so many bytes to keep after training, in float32.

    Args:
        limit: bytes, or a text such as ``"1MB"`` (10**6) or ``"1MiB"`` (2**20).
    """
    return MaxStoredBytes(limit)


def max_train_memory_bytes(limit: int | str) -> MaxTrainMemoryBytes:
    """At most so much memory in a training step, as predicted for a study's batch and texts.

    Args:
        limit: bytes, or a text such as ``"8GB"``.
    """
    return MaxTrainMemoryBytes(limit)


def layers_used(placements: Iterable[Placement]) -> set[int]:
    """The layers that hold a module."""
    used: set[int] = set()
    for part in placements:
        address = _LAYER.match(part.site)
        used |= {int(address[1])} if address else set(getattr(part, "layers", ()))
    return used


def _lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _lists(inner) for name, inner in value.items()}
    return [_lists(inner) for inner in value] if isinstance(value, tuple) else value


def tuples(value: Any) -> Any:
    """A value with every list in it as a tuple."""
    return tuple(map(tuples, value)) if isinstance(value, list | tuple) else value
