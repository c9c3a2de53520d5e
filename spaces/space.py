"""SearchSpace: methods holding domains, a tied gate, a budget. Bound to a backbone it is drawn."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from peftnas.spaces.architecture import Anatomy, Architecture
from peftnas.spaces.bound_space import BoundSpace
from peftnas.spaces.budget import check_budget
from peftnas.spaces.constraints import Constraint, constraint_from_dict
from peftnas.spaces.fields import check_clashes
from peftnas.spaces.freezing import frozen
from peftnas.spaces.relations import relation
from peftnas.spaces.serial import from_json, to_json
from peftnas.spaces.space_checks import check_gate, check_item, check_ties, methods_in
from peftnas.spaces.tree_nodes import item_names

FORMAT = 1
_FIELDS = ("items", "gate", "max_parameters", "at_least_one_method")


@dataclass(frozen=True, init=False)
class SearchSpace:
    """All architectures that can be drawn from its items.

    Each item is a method (it is always there), a ``Maybe`` of one, a ``Choice`` of whole methods
    and ``None``, or a ``Grouped``; methods hold values or domains.

    Args:
        items: at least one.
        gate: value or ``Choice`` for the field ``gate`` of all methods that have one, drawn once.
        max_parameters: limit of trainable parameters (without head): a whole number >= 1, or a
            percentage of the backbone such as ``"2%"``. Default: no limit.
        at_least_one_method: leave out the bare head.
        constraints: further conditions, such as ``at_least(2, "layers")``; a text such as
            ``"lora.rank <= adapter.bottleneck"`` is a :func:`~peftnas.spaces.relations.relation`.
            One of them may stand alone.
    Raises:
        ValueError: if an item is no method, or a rule of the arguments above is broken.
    """

    items: tuple[Any, ...]
    gate: Any
    max_parameters: int | str | None
    at_least_one_method: bool
    constraints: tuple[Constraint, ...]

    def __init__(
        self,
        *items: Any,
        gate: Any = None,
        max_parameters: int | str | None = None,
        at_least_one_method: bool = False,
        constraints: Iterable[Constraint | str] | Constraint | str = (),
    ) -> None:
        if not items:
            raise ValueError("SearchSpace needs at least one item, got none; add a method")
        for item in items:
            check_item(item, top=True)
        for first, second in itertools.combinations(items, 2):
            for pair in itertools.product(methods_in(first), methods_in(second)):
                check_clashes(pair)
        check_budget(max_parameters)
        if gate is not None:
            check_gate(gate, items)
        if not isinstance(at_least_one_method, bool):
            raise ValueError(
                f"at_least_one_method must be True or False, got {at_least_one_method!r}; take "
                "one of them"
            )
        check_ties(items, item_names(items))
        known = _constraints(constraints)
        for constraint in known:
            constraint.check(items)
        object.__setattr__(self, "constraints", known)
        object.__setattr__(self, "items", items)
        object.__setattr__(self, "gate", gate)
        object.__setattr__(self, "max_parameters", max_parameters)
        object.__setattr__(self, "at_least_one_method", at_least_one_method)

    def bind(
        self,
        anatomy: Anatomy,
        *,
        train_memory_bytes: Callable[[Architecture], float] | None = None,
    ) -> BoundSpace:
        """The space on one backbone, where it can be counted and drawn.

        Args:
            anatomy: of the backbone.
            train_memory_bytes: predicts the memory of a training step, for the constraint
                ``max_train_memory_bytes``, infinite where no text has room; a study gives it.
        Raises:
            ValueError: if a method names a layer or a site that the backbone does not have.
        """
        return BoundSpace(self, anatomy, train_memory_bytes)

    def freeze(self, values: Mapping[str, Any]) -> Self:
        """The space with some dimensions held at a value.

        ``space.freeze({"lora.rank": 8, "adapter": False, "gate": None})``

        Args:
            values: by the name of a field (``lora.rank``; then for all layers), of a method that
                may be absent (``adapter``: True or False), of a choice of methods (``method``: the
                name of an option), of a ``Shared`` draw, or ``gate``. With a method that is left
                out go the constraints that name it, and with the last gated one the gate.
        Raises:
            ValueError: if there is no such name, its domain does not hold the value, a field
                follows a ``Shared`` draw that is not held, or no method is left.
        """
        items, gate, constraints = frozen(self.items, self.gate, self.constraints, values)
        return type(self)(
            *items,
            gate=gate,
            max_parameters=self.max_parameters,
            at_least_one_method=self.at_least_one_method,
            constraints=constraints,
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON form, exact; equal for equal spaces (1 and 1.0 are equal, as in Python)."""
        constraints = [constraint.to_dict() for constraint in self.constraints]
        return {
            "format": FORMAT,
            "items": [to_json(item) for item in self.items],
            "gate": to_json(self.gate),
            "max_parameters": self.max_parameters,
            "at_least_one_method": self.at_least_one_method,
        } | ({"constraints": constraints} if constraints else {})

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The space that :meth:`to_dict` wrote.

        Raises:
            ValueError: if the format, a kind or a field is unknown, or a value is not allowed.
        """
        if not isinstance(data, Mapping):
            raise ValueError(
                f"a search space is an object of format, items and more, got {data!r}; take what "
                "to_dict wrote"
            )
        if data.get("format") != FORMAT:
            raise ValueError(
                f"a search space must have format {FORMAT}, got {data.get('format')!r}; read it "
                "with the version that wrote it"
            )
        missing = [name for name in _FIELDS if name not in data]
        if missing:
            raise ValueError(f"a stored search space has a field {missing[0]!r}, got none; add it")
        for name in ("items", "constraints"):
            if not isinstance(data.get(name, []), list | tuple):
                raise ValueError(
                    f"a stored search space has a list of {name}, got {data[name]!r}; take what "
                    "to_dict wrote"
                )
        return cls(
            *(from_json(item) for item in data["items"]),
            gate=from_json(data["gate"]),
            max_parameters=data["max_parameters"],
            at_least_one_method=data["at_least_one_method"],
            constraints=map(constraint_from_dict, data.get("constraints", ())),
        )


def _constraints(given: Any) -> tuple[Constraint, ...]:
    if isinstance(given, str | Constraint):
        given = (given,)
    if not isinstance(given, Iterable) or isinstance(given, Mapping):
        raise ValueError(
            'constraints must be a list of such as at_least(2, "layers") or "lora.rank <= '
            f'adapter.bottleneck", got {given!r}; put them into a list, or leave it out for none'
        )
    return tuple(map(_constraint, given))


def _constraint(given: Constraint | str) -> Constraint:
    if isinstance(given, str):
        return relation(given)
    if isinstance(given, Constraint):
        return given
    raise ValueError(
        'constraints must be such as at_least(2, "layers") or "lora.rank <= adapter.bottleneck", '
        f"got {given!r}; take one of peftnas.spaces.constraints"
    )
