"""How much longer a backbone takes to answer with an architecture on it: against the bare one.

Both answer in turn, so that what else the machine does hits both alike, and on a CPU with one
thread only the time counts in which that thread ran. What can be merged is merged; an architecture
of which nothing remains has an overhead of exactly 0 and is not timed.
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from peftnas.methods import Anatomy, Architecture, attach
from peftnas.methods.gates import Gate
from peftnas.methods.reads import Reads, arguments_of, inputs_for
from peftnas.search.trial.reading import room_beside

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PREFILL, DECODE = "inference_overhead", "decode_overhead"
OVERHEADS = (PREFILL, DECODE)

PAIRS = 50
"""Answers of each of the two."""

WARM_UP = 5
_FEWEST = 10  # pairs, however slow the backbone is
_SECONDS = 30.0  # for all pairs, about


def measure_overheads(
    base: PreTrainedModel,
    architecture: Architecture,
    anatomy: Anatomy,
    names: Sequence[str],
    *,
    reads: Reads,
    longest: int,
) -> dict[str, float]:
    """Some of :data:`OVERHEADS`: t(with what remains after merging) / t(bare backbone) - 1.

    ``inference_overhead``: one pass over ``reads``. ``decode_overhead``: one more token behind
    them in a cache. Never below 0: what is less is noise. Values of parameters do not matter, so
    the architecture is freshly attached; the backbone is afterwards as it was.

    Args:
        base: a frozen backbone in eval mode with nothing attached.
        architecture: to measure.
        anatomy: of the backbone.
        names: which of them; others are ignored.
        reads: what one example is to the backbone; shorter where a prompt would not fit.
        longest: tokens that the backbone takes.
    Raises:
        ValueError: if words cannot come one by one, asked for ``decode_overhead``, or if a prompt
            leaves no room for a text.
    """
    asked = [name for name in OVERHEADS if name in names]
    bare = _twin(base)
    attached = attach(base, architecture, anatomy=anatomy)
    try:
        attached.eval()
        gates = [part for part in attached.modules() if isinstance(part, Gate)]
        if DECODE in asked and any(gate.spec.tokens != "causal" for gate in gates):
            raise ValueError(
                "decode_overhead needs modules that go on word by word, got a gate over a whole "
                "text; take gate_tokens='causal'"
            )
        if not attached.merge().remaining:
            return dict.fromkeys(asked, 0.0)
        room = room_beside(attached.prompt_length, longest)
        reads = replace(reads, tokens=min(reads.tokens, room))
        found: dict[str, float] = {}
        with torch.no_grad():
            if PREFILL in asked:
                one, other = (_prefill(model, anatomy, reads) for model in (base, bare))
                found[PREFILL] = overhead(one, other, PAIRS, base.device.type)
            if DECODE in asked:
                pairs = max(1, min(PAIRS, room // 2 - WARM_UP))
                begun = _begun(reads, room - pairs - WARM_UP)
                one, other = (_decode(model, anatomy, begun) for model in (base, bare))
                found[DECODE] = overhead(one, other, pairs, base.device.type)
        return found
    finally:
        attached.detach()


def overhead(
    one: Callable[[], object], other: Callable[[], object], pairs: int, device: str = "cpu"
) -> float:
    """How much longer ``one`` takes than ``other``, as a part of it; at least 0.

    The median over pairs of calls: two neighbours meet the same load of the machine, where medians
    of each alone were several times off on a busy one.

    Args:
        one: to be compared.
        other: with this.
        pairs: so many calls of each, in turn, after :data:`WARM_UP`; fewer where they take long.
        device: waited for after each call.
    """
    for _ in range(WARM_UP):
        one()
        other()
    ratios = []
    began = time.perf_counter()
    for pair in range(pairs):
        # neither is always the first after the other
        calls = (one, other) if pair % 2 else (other, one)
        seconds = {call: _seconds(call, device) for call in calls}
        ratios.append(seconds[one] / seconds[other])
        if len(ratios) >= _FEWEST and time.perf_counter() - began > _SECONDS:
            break
    return max(0.0, statistics.median(ratios) - 1)


def _seconds(call: Callable[[], object], device: str) -> float:
    # other processes that share the core may hold up a call for many times its length
    alone = device == "cpu" and torch.get_num_threads() == 1
    clock = time.thread_time if alone else time.perf_counter
    _wait(device)
    start = clock()
    call()
    _wait(device)
    return clock() - start


def _wait(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


def _begun(reads: Reads, room: int) -> Reads:
    """The same with so much room left for what is written; without padding, which stays behind."""
    written = None if reads.decoder_tokens is None else max(1, min(reads.decoder_tokens, room))
    tokens = max(1, min(reads.tokens, room)) if written is None else reads.tokens
    return replace(reads, tokens=tokens, decoder_tokens=written, padded=False)


def _prefill(model: PreTrainedModel, anatomy: Anatomy, reads: Reads) -> Callable[[], object]:
    """Answers one example."""
    inputs = _on(model, inputs_for(model, anatomy, reads))
    return lambda: model(**inputs)


def _decode(model: PreTrainedModel, anatomy: Anatomy, reads: Reads) -> Callable[[], object]:
    """Adds one token to a text each time, from its cache."""
    inputs = _on(model, inputs_for(model, anatomy, reads)) | {"use_cache": True}
    found = model(**inputs)
    cache, one = found.past_key_values, inputs["input_ids"][:, :1]
    step: dict[str, Any] = {"use_cache": True}
    if "encoder_outputs" in arguments_of(model):
        encoded = (found.encoder_last_hidden_state,)
        step |= {"encoder_outputs": encoded, "decoder_input_ids": one}
    else:
        step["input_ids"] = one

    def decode() -> object:
        nonlocal cache
        found = model(**step, past_key_values=cache)
        cache = found.past_key_values
        return found

    return decode


def _on(model: PreTrainedModel, inputs: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value.to(model.device) if isinstance(value, Tensor) else value
        for name, value in inputs.items()
    }


def _twin(base: PreTrainedModel) -> PreTrainedModel:
    """Another model with the same tensors: its weights take no memory, hooks stay apart."""
    shared = {id(part): part for part in (*base.parameters(), *base.buffers())}
    return copy.deepcopy(base, dict(shared))
