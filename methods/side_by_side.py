"""Several architectures on one backbone at once, chosen for each row of a batch.

Each architecture has its own modules and ports; their hooks see the rows that are theirs alone.
The products of the frozen weights are computed once for all rows.
"""

from __future__ import annotations

import operator
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
from peftnas.methods.handles import forget, remember
from peftnas.methods.hooks import Placed, has_bare_keys, unbundled
from peftnas.methods.lanes import Lanes
from peftnas.methods.stack_port import StackPort, keep_sums
from peftnas.spaces.architecture import Architecture, as_architecture


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
        self._base = base
        self._handles = []
        for number, port in enumerate(_stack_ports(base, anatomy, self.members)):
            hook, entry = StackHook(port, number, lanes, self.members), port.stack.entry
            stack = base.get_submodule(entry)
            self._handles.append(stack.register_forward_pre_hook(hook, with_kwargs=True))
            self._handles.append(stack.register_forward_hook(hook.finish))
        remember(base, self)

    @contextmanager
    def rows(self, numbers: Sequence[int], *, repeats: int = 1) -> Iterator[None]:
        """Inside, row i of every batch belongs to the architecture ``numbers[i]``.

        ``backward`` may come after it, and after other passes.

        Args:
            numbers: of members, 0-based, one for each row.
            repeats: how many times ``generate`` repeats each row: its ``num_beams``, or its
                ``num_return_sequences`` where it samples.
        Raises:
            TypeError: if the numbers are no sequence of whole numbers.
            ValueError: if a number is not that of a member, or inside another ``rows``.
        """
        checked = _whole_numbers(numbers)
        wrong = [number for number in checked if not 0 <= number < len(self.members)]
        if wrong or not checked:
            raise ValueError(
                f"rows takes numbers of members, 0 to {len(self.members) - 1}, one for each row, "
                f"got {checked}; change them"
            )
        if not isinstance(repeats, int) or repeats < 1:
            raise ValueError(
                f"repeats must be a whole number from 1 on, got {repeats!r}; take num_beams"
            )
        self._lanes.assign(checked, repeats)
        try:
            yield
        finally:
            self._lanes.clear()

    def detach(self) -> None:
        """Take all of them off; the backbone is bit for bit what it was; again: no effect."""
        if self._handles:
            forget(self._base)
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
        self.lanes.enter(whole.batch)
        # a mask of what may be seen can be one for all rows
        tokens = None if whole.tokens is None else whole.tokens.expand(whole.batch or 1, -1)
        for lane, member in zip(self.lanes.all, self.members, strict=True):
            call = member.call(self.number)
            call.batch, call.past = len(lane.numbers), whole.past
            call.rows, call.whole, call.held, call.sums = lane.numbers, whole.batch, whole.held, {}
            call.tokens = None if tokens is None else lane.take(tokens)
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
        architectures: at least one; without prompts (which make rows of different lengths),
            without full fine-tuning (which changes the weights that all share) and without a
            change of what all rows share (deberta: what reads its table of distances).
        seeds: of the initial values of each; by default 0.
        anatomy: of this model, if it has been described already.
        dropout: as in ``attach``.
    Raises:
        TypeError: if ``architectures`` is no list of architectures.
        ValueError: if an architecture has something that rows cannot have of their own, or names a
            site that the backbone lacks; if there is not one seed for each; if the model already
            carries an architecture.
    """
    base = base_of(model)
    check_free(base, dropout)
    architectures = _as_architectures(architectures)
    seeds = [0] * len(architectures) if seeds is None else seeds
    if not isinstance(seeds, Sequence) or len(seeds) != len(architectures):
        raise ValueError(
            f"side by side takes a list of seeds, one for each of {len(architectures)} "
            f"architectures, got {seeds!r}; give as many, or none"
        )
    anatomy = anatomy or describe(model)
    lanes = Lanes(len(architectures), any(stack.flattens for stack in anatomy.stacks))
    members: list[AttachedModules] = []
    try:
        for architecture, seed, lane in zip(architectures, seeds, lanes.all, strict=True):
            placed = build_placed(base, anatomy, architecture, seed)
            _check_by_rows(anatomy, architecture, placed)
            members.append(
                AttachedModules(base, anatomy, architecture, placed, dropout, lane=lane)
            )
    except Exception:
        for member in reversed(members):
            member.detach()
        raise
    return SideBySide(base, anatomy, members, lanes)


def _whole_numbers(numbers: Any) -> list[int]:
    try:
        return [operator.index(number) for number in numbers]
    except TypeError as error:
        raise TypeError(
            "rows takes the number of an architecture for each row, such as [0, 0, 1], got "
            f"{numbers!r}; give a list of whole numbers"
        ) from error


def _as_architectures(architectures: Any) -> list[Architecture]:
    """The list of them; one method alone stands for its architecture."""
    if not isinstance(architectures, Sequence):
        raise TypeError(
            "side by side takes a list of architectures, got "
            f"a {type(architectures).__name__}; put it into a list"
        )
    if not architectures:
        raise ValueError("side by side needs at least one architecture, got none; name one")
    return [as_architecture(one) for one in architectures]


def _check_by_rows(anatomy: Anatomy, architecture: Architecture, placed: Sequence[Placed]) -> None:
    """Raise ``ValueError`` if something built cannot act on some rows of a batch alone."""
    for _, site, module in unbundled(placed):
        place = anatomy.linears.get(site) or anatomy.norms.get(site)
        if isinstance(module, PromptVectors):
            reason = "a prompt makes the rows of its architecture longer than those of the others"
        elif isinstance(module, TrainsBackbone):
            reason = "full fine-tuning changes the weights that all architectures share"
        elif place is not None and place.shared:
            reason = f"{site} computes something for all rows of a batch at once"
        else:
            continue
        raise ValueError(
            f"side by side each architecture has rows of its own, but {reason}, got "
            f"{architecture.words()}; leave that out, or attach that one alone"
        )


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
