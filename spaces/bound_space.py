"""BoundSpace: a search space on one backbone, where it is drawn, counted, checked and encoded."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from peftnas.spaces import encoding, keys, words
from peftnas.spaces.architecture import Anatomy, Architecture, Placement, as_architecture
from peftnas.spaces.binding import build
from peftnas.spaces.budget import resolve_budget
from peftnas.spaces.choosers import at_random, cover
from peftnas.spaces.dimensions import Dimension, dimensions
from peftnas.spaces.feasible import OVER_BUDGET, feasible_point
from peftnas.spaces.membership import Inversion
from peftnas.spaces.moves import Moves
from peftnas.spaces.tree import Ask, Choose, Point, Primitive, draw
from peftnas.spaces.whole_space import WholeSpace

if TYPE_CHECKING:
    from peftnas.spaces.space import SearchSpace

_REJECTIONS = 1000
_REMEMBERED = 4096


@dataclass(frozen=True)
class Placed:
    """The canonical form of an architecture and what it puts on the backbone."""

    architecture: Architecture
    placements: tuple[Placement, ...]
    count: int


class BoundSpace(WholeSpace, Moves):
    """What ``SearchSpace.bind`` returns.

    Attributes:
        space: the space as it was defined.
        anatomy: the backbone it is bound to.
        max_parameters: the budget in trainable parameters; ``None``: no limit.
    """

    def __init__(
        self,
        space: SearchSpace,
        anatomy: Anatomy,
        train_memory_bytes: Callable[[Architecture], float] | None = None,
    ) -> None:
        self._train_memory_bytes = train_memory_bytes
        self.space = space
        self.anatomy = anatomy
        self.max_parameters = resolve_budget(space.max_parameters, anatomy.backbone_parameters)
        self.nodes = build(space.items, tuple(anatomy.stack_sizes))
        for constraint in space.constraints:
            constraint.check_depth(anatomy.n_layers)
        self._placed: dict[Architecture, Placed] = {}
        for architecture in cover(self.nodes, anatomy.n_layers, space.gate):
            self.placed(architecture)

    # drawing

    def draw(self, choose: Choose) -> Point:
        """One walk through the space, see :mod:`peftnas.spaces.tree`; it may be over budget.

        Args:
            choose: called with (path, domain) once for each active dimension, in a fixed order.
        """
        return draw(self.nodes, self.anatomy.n_layers, self.space.gate, choose)

    def replay(self, values: Mapping[str, Primitive]) -> Point:
        """The point with these raw values.

        Raises:
            ValueError: if an active dimension has no value, or a value belongs to none.
        """

        def choose(path: str, domain: Ask) -> Any:
            if path not in values:
                raise ValueError(f"{path} is active and needs a value, got none; add it")
            return values[path]

        point = self.draw(choose)
        unused = [path for path in values if path not in point.values]
        if unused:
            raise ValueError(
                f"only active dimensions have a value, got one for {unused[0]}, which is not; "
                "drop it"
            )
        return point

    def sample(self, seed: int) -> Architecture:
        """A random canonical architecture that meets every constraint.

        Each dimension is drawn uniformly over its domain (in the logarithm with ``log``), each
        valid subset equally often; draws that break a constraint are drawn again. Where none of
        1000 meets them, the smallest point that does.

        Args:
            seed: the same seed gives the same architecture.
        Raises:
            ValueError: if no architecture meets the constraints.
        """
        point = self.draw_valid(random.Random(seed), _REJECTIONS) or feasible_point(self)
        return self.canonical(point.architecture)

    def draw_valid(self, rng: random.Random, tries: int = 20) -> Point | None:
        """A random point that meets every constraint; ``None`` where none of a few did."""
        choose = at_random(rng)
        for _ in range(tries):
            point = self.draw(choose)
            if self.broken_constraint(point.architecture) is None:
                return point
        return None

    def check_feasible(self) -> None:
        """Raise ValueError, saying the budget and what it would take, if nothing meets it."""
        if self.draw_valid(random.Random(0), _REJECTIONS) is None:
            feasible_point(self)

    # one architecture

    def placed(self, architecture: Architecture) -> Placed:
        """Canonical form, placements and count of an architecture; the last few are kept."""
        known = self._placed.get(architecture)
        if known is None:
            known = self.placed_once(architecture)
            if len(self._placed) >= _REMEMBERED:
                self._placed.clear()
            self._placed[architecture] = known
        return known

    def placed_once(self, architecture: Architecture) -> Placed:
        """:meth:`placed` without keeping it, for what will not be asked again."""
        canonical = self.anatomy.canonical(as_architecture(architecture))
        placements = tuple(self.anatomy.place(canonical))
        return Placed(canonical, placements, sum(part.count() for part in placements))

    def canonical(self, architecture: Architecture) -> Architecture:
        """The architecture without what has no effect on this backbone."""
        return self.placed(architecture).architecture

    def count(self, architecture: Architecture) -> int:
        """Exact number of trainable parameters, without head."""
        return self.placed(architecture).count

    def train_key(self, architecture: Architecture) -> str:
        """Equal exactly for architectures that train the same, see :mod:`peftnas.spaces.keys`."""
        return keys.train_key(self.placed(architecture).placements)

    def function_key(self, architecture: Architecture) -> str:
        """Equal for architectures that reach the same functions."""
        return keys.function_key(self.placed(architecture).placements, self.anatomy)

    def broken_constraint(self, architecture: Architecture) -> str | None:
        """The constraint that an architecture breaks, in one sentence; ``None`` if it breaks none.

        The space's ``constraints``, after ``max_parameters`` and ``at_least_one_method``.
        """
        placed = self.placed(architecture)
        if self.max_parameters is not None and placed.count > self.max_parameters:
            return (
                f"{OVER_BUDGET} must be <= {self.max_parameters:,} (max_parameters="
                f"{self.space.max_parameters!r}), got {placed.count:,}"
            )
        if self.space.at_least_one_method and not placed.placements:
            return "at least one method must be present, got the bare head"
        found = (constraint.broken(placed, self) for constraint in self.space.constraints)
        return next((sentence for sentence in found if sentence is not None), None)

    def train_memory_bytes(self, architecture: Architecture) -> float:
        """Predicted memory of a training step.

        Raises:
            ValueError: if the space was bound without a prediction.
        """
        if self._train_memory_bytes is None:
            raise ValueError(
                "max_train_memory_bytes needs a batch and a length of texts, got a space bound to "
                "a backbone alone; let a study bind it, or pass bind(..., train_memory_bytes=...)"
            )
        return self._train_memory_bytes(architecture)

    def contains(self, architecture: Architecture) -> bool:
        """Whether some point gives this architecture (up to its spelling) and meets the limits."""
        return self.why_not(architecture) is None

    def why_not(self, architecture: Architecture) -> str | None:
        """The rule by which an architecture is outside, in one sentence; ``None`` when inside."""
        try:
            broken = self.broken_constraint(architecture)
        except ValueError as error:  # a site or layer that the backbone does not have
            return str(error)
        if broken is not None:
            return broken
        found = self._inversion.find(as_architecture(architecture))
        return found if isinstance(found, str) else None

    def find(self, architecture: Architecture) -> Point | None:
        """A point that gives this architecture (up to its spelling); ``None`` if there is none.

        Raises:
            ValueError: if the architecture names a site or layer that the backbone does not have.
        """
        found = self._inversion.find(as_architecture(architecture))
        return None if isinstance(found, str) else found

    # the whole space

    def dimensions(self) -> tuple[Dimension, ...]:
        """Every dimension that some walk asks, in the order of the walk and of the encoding."""
        return self._dimensions

    def encode(self, point: Point | Architecture) -> NDArray[np.float64]:
        """A point as a vector, see :mod:`peftnas.spaces.encoding`.

        Args:
            point: a point, or an architecture of the space (then of a point that gives it).
        Returns:
            Shape (len(dimensions()),), in [0, 1], NaN where a dimension is inactive.
        Raises:
            ValueError: if the architecture is no point of the space.
        """
        if not isinstance(point, Point):
            found = self._inversion.find(as_architecture(point))
            if isinstance(found, str):
                raise ValueError(f"only an architecture of the space has a vector: {found}")
            point = found
        return encoding.encode(self._dimensions, point.values)

    def decode(self, vector: Sequence[float] | NDArray[Any]) -> Point:
        """The point at a vector; columns of inactive dimensions are ignored.

        Raises:
            ValueError: if the length is wrong, or an active column is not in [0, 1].
        """
        return self.draw(encoding.decoder(self._dimensions, vector))

    def tree(self) -> str:
        """The space in words, one line for each method and field."""
        return words.tree(self.space, self.max_parameters, tuple(self.anatomy.stack_sizes))

    @cached_property
    def _dimensions(self) -> tuple[Dimension, ...]:
        return dimensions(self.nodes, self.anatomy.n_layers, self.space.gate)

    @cached_property
    def _inversion(self) -> Inversion:
        return Inversion(self)
