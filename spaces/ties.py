"""What ties fields of different methods: one draw for several, or one that decides on others."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from peftnas.spaces.domains import Choice, Domain, Integer, Real, Subset
from peftnas.spaces.structure import PerLayer

T = TypeVar("T", covariant=True)


@dataclass(frozen=True)
class Shared(Domain[T], Generic[T]):
    """One draw under a name: every field of the space that holds it takes the same value.

    ``LoRA(rank=Shared("size", Integer(1, 64)))`` beside ``Adapter(bottleneck=Shared("size",
    Integer(1, 64)))`` draws one size for both, in the space's only dimension ``size``.

    Args:
        name: lower-case letters, digits and underscores; stands in dimensions' names.
        domain: the same wherever the name is used. A ``PerLayer`` one is drawn once for each layer
            in which some method is active, and shared by those active there.
    """

    name: str
    domain: Domain[T]

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not re.fullmatch("[a-z][a-z0-9_]*", self.name):
            raise ValueError(
                f"Shared needs a name of lower-case letters, digits and _, got {self.name!r}; "
                "rename it"
            )
        if not isinstance(self.domain, Integer | Real | Choice | Subset | PerLayer):
            raise ValueError(
                "Shared needs an Integer, Real, Choice, Subset or PerLayer to draw from, got "
                f"{self.domain!r}; a fixed value needs no Shared"
            )
        options = self.domain.options if isinstance(self.domain, Choice) else ()
        for option in options:
            if isinstance(option, Domain) and not isinstance(option, Integer | Real | Subset):
                raise ValueError(
                    f"Shared takes a Choice of values, Integer, Real or Subset, got {option!r} "
                    "among its options; tie a plain Choice and use Switch for what depends on it"
                )


class Switch(Domain[T], Generic[T]):
    """What a field holds where it depends on a shared choice made elsewhere.

    ``Switch(Shared("wide", Choice(False, True)), {False: 8, True: Integer(16, 64)})``

    Args:
        on: a ``Shared`` ``Choice`` of plain values.
        cases: a value or a domain for each option.
    """

    def __init__(self, on: Shared[Any], cases: Mapping[Any, Any]) -> None:
        options = (
            on.domain.options if isinstance(on, Shared) and isinstance(on.domain, Choice) else None
        )
        if options is None or any(isinstance(option, Domain | tuple) for option in options):
            raise ValueError(
                f"Switch needs a Shared Choice of plain values to depend on, got {on!r}; write "
                'Switch(Shared("name", Choice(...)), {option: value, ...})'
            )
        if not isinstance(cases, Mapping):
            raise ValueError(
                f"Switch needs its cases by option of {on.name!r}, got {cases!r}; write "
                f"{{{', '.join(f'{option!r}: ...' for option in options)}}}"
            )
        for option in options:
            equal = [other for other in options if other == option]
            if len(equal) > 1:  # 1 == True: one key of a dict
                raise ValueError(
                    f"Switch needs options of {on.name!r} that are not equal, got {equal[0]!r} "
                    f"and {equal[1]!r}; name one of them otherwise"
                )
        missing = [option for option in options if option not in cases]
        unknown = [case for case in cases if case not in options]
        if missing or unknown:
            what = f"no case for {missing[0]!r}" if missing else f"a case for {unknown[0]!r}"
            raise ValueError(
                f"Switch needs one case for each option of {on.name!r}, which has "
                f"{', '.join(map(repr, options))}, got {what}; {'add' if missing else 'drop'} it"
            )
        self.on, self.cases = on, tuple((option, cases[option]) for option in options)

    def case(self, option: Any) -> Any:
        """What the field holds under an option."""
        return next(held for known, held in self.cases if known == option)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Switch) and (self.on, self.cases) == (other.on, other.cases)

    def __hash__(self) -> int:
        return hash((self.on, self.cases))

    def __repr__(self) -> str:
        return f"Switch({self.on!r}, {dict(self.cases)!r})"


def unshared(value: Any) -> Any:
    """The domain inside a ``Shared``; anything else as it is."""
    return value.domain if isinstance(value, Shared) else value
