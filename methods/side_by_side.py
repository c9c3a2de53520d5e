"""Several architectures on one backbone at once, chosen for each row of a batch.

Each architecture has its own modules and ports; their hooks see the rows that are theirs alone.
The products of the frozen weights are computed once for all rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from peftnas.methods.anatomy import Anatomy
from peftnas.methods.attach import AttachedModules, base_of, build_placed, check_free
from peftnas.methods.base import PromptVectors, TrainsBackbone
from peftnas.methods.call import Call, Mode
from peftnas.methods.describe import describe
from peftnas.methods.hooks import has_bare_keys
from peftnas.methods.lanes import Lanes
from peftnas.methods.stack_port import StackPort, keep_sums
from peftnas.spaces.architecture import Architecture


class SideBySide:
    """Architectures that share a backbone; made by :func:`attach_side_by_side`.

    Attributes:
        members: the modules of each architecture, in the given order.
    """

    def __init__(
        self,
        base: PreTrainedModel,
        anatomy: Anatomy,
        members: Sequence[AttachedModules],
        lanes: Lanes,
    ) -> None:
        self.members = tuple(members)
        self._lanes = lanes
        self._handles = []
        for number, port in enumerate(_stack_ports(base, anatomy, self.members)):
            hook, entry = StackHook(port, number, lanes, self.members), port.stack.entry
            stack = base.get_submodule(entry)
            self._handles.append(stack.register_forward_pre_hook(hook, with_kwargs=True))
            self._handles.append(stack.register_forward_hook(hook.finish))

    @contextmanager
    def rows(self, numbers: Sequence[int]) -> Iterator[None]:
        """Inside, row i of every batch belongs to the architecture ``numbers[i]``.

        Raises:
            ValueError: if a number is not that of a member, or inside another ``rows``.
        """
        wrong = [number for number in numbers if not 0 <= number < len(self.members)]
        if wrong or not numbers:
            raise ValueError(
                f"rows takes numbers of members, 0 to {len(self.members) - 1}, one for each row, "
                f"got {list(numbers)}; change them"
            )
        self._lanes.assign(numbers)
        try:
            yield
        finally:
            self._lanes.clear()

    def detach(self) -> None:
        """Take all of them off; the backbone is bit for bit what it was; again: no effect."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        for member in reversed(self.members):
            member.detach()


class StackHook:
    """Forward pre-hook at the entry of a stack, for all rows and members."""

    def __init__(
        self, port: StackPort, number: int, lanes: Lanes, members: Sequence[AttachedModules]
    ) -> None:
        self.port = port
        self.number = number
        self.lanes = lanes
        self.members = members

    def __call__(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        args, kwargs = self.port.change_arguments(module, args, kwargs)
        whole = self.port.call
        self.lanes.check(whole.batch)
        for lane, member in zip(self.lanes.all, self.members, strict=True):
            call = member.call(self.number)
            call.batch, call.past = len(lane.numbers), whole.past
            call.rows, call.whole, call.held, call.sums = lane.numbers, whole.batch, whole.held, {}
            call.tokens = None if whole.tokens is None else lane.take(whole.tokens)
        return args, kwargs

    def finish(self, module: nn.Module, args: Any, out: Any) -> None:
        """Forward hook there: the cache keeps what causal gates have read."""
        keep_sums(out, [member.call(self.number) for member in self.members])


def attach_side_by_side(
    model: PreTrainedModel,
    architectures: Sequence[Architecture],
    *,
    seeds: Sequence[int] | None = None,
    anatomy: Anatomy | None = None,
    dropout: float = 0.0,
) -> SideBySide:
    """Attach several architectures to a model, each for the rows that are assigned to it.

    ``with several.rows([0, 0, 1]): model(**batch)`` computes for each row what its architecture
    alone would. Gradients, optimisers and training steps of the members are independent.

    Args:
        model: a transformers model, with or without a task head.
        architectures: at least one; without prompts (which make rows of different lengths) and
            without full fine-tuning (which changes the weights that all share).
        seeds: of the initial values of each; by default 0.
        anatomy: of this model, if it has been described already.
        dropout: as in ``attach``.
    Raises:
        ValueError: if an architecture has a prompt or trains the backbone, names a site that the
            backbone lacks, or the model already carries an architecture.
    """
    base = base_of(model)
    check_free(base, dropout)
    if not architectures:
        raise ValueError("side by side needs at least one architecture, got none; name one")
    anatomy = anatomy or describe(model)
    lanes = Lanes(len(architectures))
    members: list[AttachedModules] = []
    seeds = [0] * len(architectures) if seeds is None else seeds
    try:
        for architecture, seed, lane in zip(architectures, seeds, lanes.all, strict=True):
            placed = build_placed(base, anatomy, architecture, seed)
            for placement, built in placed:
                if isinstance(built, PromptVectors | TrainsBackbone):
                    raise ValueError(
                        f"side by side an architecture has no {placement.kind}, got "
                        f"{architecture.words()}; attach that one alone"
                    )
            members.append(
                AttachedModules(base, anatomy, architecture, placed, dropout, lane=lane)
            )
    except ValueError:
        for member in reversed(members):
            member.detach()
        raise
    return SideBySide(base, anatomy, members, lanes)


def _stack_ports(
    base: PreTrainedModel, anatomy: Anatomy, members: Sequence[AttachedModules]
) -> list[StackPort]:
    """Ports without prompts, which count positions and read the mask of all rows."""
    prefixed = any(has_bare_keys(member.placed) for member in members)
    return [
        StackPort(
            base.get_submodule(stack.entry), base, anatomy, stack, [], prefixed, Call(Mode())
        )
        for stack in anatomy.stacks
    ]
