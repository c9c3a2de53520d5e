"""Architecture: methods holding values, one assignment of a search space."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Never, Protocol, Self

from peftnas.spaces.fields import (
    Configurable,
    check_clashes,
    default_of,
    is_resolved,
    settings,
)
from peftnas.spaces.serial import from_json, to_json

FORMAT = 1


class Placement(Protocol):
    """One module at one site, as a method places it on a backbone. Hashable, equal by value."""

    @property
    def site(self) -> str:
        """Address of the place, such as ``layers[3].attention.query``."""

    def count(self) -> int:
        """Trainable parameters of the module."""

    def stored_bytes(self, bytes_each: int = 4) -> int:
        """Bytes that must be kept after training, at ``bytes_each`` a parameter."""

    def identity(self) -> dict[str, Any]:
        """What distinguishes its training; JSON values."""

    def __hash__(self) -> int: ...


class Anatomy(Protocol):
    """What a search space has to know of a backbone. ``peftnas.methods.Anatomy`` fulfils it."""

    @property
    def n_layers(self) -> int:
        """Number of layers of all stacks."""

    @property
    def stack_sizes(self) -> tuple[int, ...]:
        """How many layers each stack has, in the order in which layers are numbered.

        Most backbones have one stack, an encoder-decoder has two; together ``n_layers``.
        """

    @property
    def backbone_parameters(self) -> int:
        """Parameters of the backbone without any task head."""

    def canonical(self, architecture: Architecture) -> Architecture:
        """The architecture without what has no effect; the same for two spellings of one network.

        Raises:
            ValueError: if it names a site or layer that the backbone does not have.
        """

    def place(self, architecture: Architecture) -> tuple[Placement, ...]:
        """Every module that the architecture puts on this backbone, in a fixed order."""

    def functions(self, placements: Iterable[Any]) -> Iterable[dict[str, Any]]:
        """What the functions are that modules of its own reach together; JSON values.

        Equal, in any order, where they are the same functions.
        """


@dataclass(frozen=True, init=False)
class Architecture:
    """Methods that hold values: what is attached to a backbone. No method is the bare head.

    Raises:
        ValueError: if a method still holds a domain, or two of them cannot stand together.
    """

    methods: tuple[Configurable, ...]

    def __init__(self, *methods: Configurable, **fields: Never) -> None:
        for name in fields:
            raise TypeError(
                f"Architecture takes methods alone, got {name}=; give it to each method that has "
                f"such a field, as in LoRA({name}=...)"
            )
        for method in methods:
            if not isinstance(method, Configurable):
                raise ValueError(f"Architecture takes methods, got {_mistaken(method)}")
            if not is_resolved(method):
                raise ValueError(
                    f"Architecture takes methods that hold values, got {method!r}; "
                    "a method that holds domains belongs in a SearchSpace"
                )
        check_clashes(methods)
        object.__setattr__(self, "methods", methods)

    def __repr__(self) -> str:
        return f"Architecture({', '.join(map(repr, self.methods))})"

    def to_dict(self) -> dict[str, Any]:
        """JSON form, exact: ``{"format": 1, "methods": [{"kind": "lora", ...all fields}]}``."""
        return {"format": FORMAT, "methods": [to_json(method) for method in self.methods]}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The architecture that :meth:`to_dict` wrote.

        Raises:
            ValueError: if the format, a kind or a field is unknown, or a value is not allowed.
        """
        if not isinstance(data, Mapping):
            raise ValueError(
                f"an architecture is an object of format and methods, got {data!r}; "
                "take what to_dict or to_json wrote"
            )
        if data.get("format") != FORMAT or not isinstance(data.get("methods"), list):
            raise ValueError(
                f"an architecture has format {FORMAT} and a list of methods, got format "
                f"{data.get('format')!r}; read it with the version that wrote it"
            )
        return cls(*map(from_json, data["methods"]))

    def to_json(self) -> str:
        """:meth:`to_dict` as one line of JSON text."""
        return json.dumps(self.to_dict(), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The architecture that :meth:`to_json` wrote; errors as :meth:`from_dict`."""
        try:
            data = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(
                f"an architecture is written as one JSON object, got text that is none ({error}); "
                "take what to_json wrote"
            ) from error
        return cls.from_dict(data)

    def words(self) -> str:
        """One readable line; "head only" when there is no method."""
        return " + ".join(map(_words, self.methods)) or "head only"


def as_architecture(given: Architecture | Configurable) -> Architecture:
    """What stands for an architecture wherever one is taken: itself, or a method alone.

    Raises:
        TypeError: if it is neither, saying how to make one of it.
    """
    if isinstance(given, Architecture):
        return given
    if isinstance(given, Configurable):
        return Architecture(given)
    raise TypeError(f"an Architecture or one method is needed, got {_mistaken(given)}")


def _mistaken(given: Any) -> str:
    """What was given in place of a method or of an architecture, and what to write instead."""
    match given:
        case type():
            return f"the class {given.__name__}; make an object of it: {given.__name__}()"
        case list() | tuple() | set():
            return f"a {type(given).__name__}; write Architecture(*methods)"
        case Architecture():
            return "an Architecture; join the two as Architecture(*one.methods, *other.methods)"
        case str():
            return f"{given!r}; pass objects such as LoRA(rank=8)"
    if callable(given):
        name = getattr(given, "__name__", type(given).__name__)
        return f"the function {name}; call it: {name}(...)"
    return f"a {type(given).__name__}; pass objects such as LoRA(rank=8)"


def _words(method: Configurable) -> str:
    declared = settings(type(method))
    held = {name: getattr(method, name) for name in declared}
    trains = [
        f"{declared[name].training} {value:g}"
        for name, value in held.items()
        if declared[name].training and value is not None
    ]
    return _own_words(method, held) + (f" ({', '.join(trains)})" if trains else "")


def _own_words(method: Configurable, held: Mapping[str, Any]) -> str:
    own = getattr(method, "words", None)
    if callable(own):
        return str(own())
    declared = settings(type(method))
    changed = [
        f"{name}={value!r}"
        for name, value in held.items()
        if value != default_of(type(method), name) and not declared[name].training
    ]
    return f"{method.kind}({', '.join(changed)})" if changed else method.kind
