"""Time of one training step against HF peft, on the weights of the quickstart, one thread.

Both train as many parameters on the same batch with the same loss and optimiser, and take turns
step by step, so that whatever else the machine does slows both. A pair more is one line of
``PAIRS``.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from peftnas.methods import METHODS, Architecture, attach
from peftnas.search.backbone import Backbone
from peftnas.studies import weights
from peftnas.studies.benchmarks import record

CLASSES = 4
RESAMPLES = 2000
WARM_UP = 3


@dataclass(frozen=True)
class Pair:
    """One method in both libraries.

    Attributes:
        name: of the pair.
        kind: our method, a key of ``METHODS``; a pair whose method is not there is left out.
        fields: of our method.
        config: name of the config class of peft.
        arguments: of that config.
        length: positions that peft puts in front of the output.
    """

    name: str
    kind: str
    fields: dict[str, Any]
    config: str
    arguments: dict[str, Any]
    length: int = field(default=0, kw_only=True)


_LORA = {"r": 8, "lora_alpha": 16, "target_modules": ["query", "value"]}
_TWO = {"target_modules": ["query", "value"]}
_OURS = {"rank": 8, "alpha": 16.0}
_DOWN = r".*layer\.\d+\.output\.dense"
_IA3 = {"target_modules": rf".*\.(key|value)|{_DOWN}", "feedforward_modules": _DOWN}

PAIRS = (
    Pair("lora", "lora", _OURS, "LoraConfig", _LORA),
    Pair("rslora", "lora", _OURS | {"rslora": True}, "LoraConfig", _LORA | {"use_rslora": True}),
    Pair("ia3", "ia3", {}, "IA3Config", _IA3),
    Pair(
        "prompt",
        "prompt",
        {"length": 10},
        "PromptTuningConfig",
        {"num_virtual_tokens": 10},
        length=10,
    ),
    Pair("prefix", "prefix", {"length": 10}, "PrefixTuningConfig", {"num_virtual_tokens": 10}),
    Pair(
        "p-tuning",
        "ptuning",
        {"length": 10, "hidden": 128},
        "PromptEncoderConfig",
        {"num_virtual_tokens": 10, "encoder_hidden_size": 128},
        length=10,
    ),
    Pair("dora", "dora", _OURS, "LoraConfig", _LORA | {"use_dora": True}),
    Pair("vera", "vera", {"rank": 64}, "VeraConfig", _TWO | {"r": 64}),
    Pair("loha", "loha", {"rank": 4}, "LoHaConfig", _TWO | {"r": 4, "alpha": 4}),
    Pair("lokr", "lokr", {"rank": 8}, "LoKrConfig", _TWO | {"r": 8, "alpha": 8}),
    Pair(
        "oft",
        "oft",
        {"block": 32},
        "OFTConfig",
        _TWO | {"oft_block_size": 32, "use_cayley_neumann": False},
    ),
    Pair("ln-tuning", "ln_tuning", {}, "LNTuningConfig", {"target_modules": ".*LayerNorm"}),
)


@dataclass(frozen=True)
class Batch:
    """What every step reads: tokens (B, T) with their mask, and labels (B,)."""

    ids: Tensor
    mask: Tensor
    labels: Tensor
    head: Tensor

    @classmethod
    def draw(cls, sequences: int, length: int, vocabulary: int, width: int) -> Batch:
        """Random tokens; the sequences fill a half to all of the length."""
        generator = torch.Generator().manual_seed(0)
        lengths = torch.randint(length // 2, length + 1, (sequences,), generator=generator)
        lengths[0] = length
        mask = (torch.arange(length) < lengths[:, None]).long()
        ids = torch.randint(min(1000, vocabulary - 1), vocabulary, mask.shape, generator=generator)
        labels = torch.randint(CLASSES, (sequences,), generator=generator)
        head = torch.randn(CLASSES, width, generator=generator)
        return cls(ids * mask, mask, labels, head)

    def loss(self, hidden: Tensor) -> Tensor:
        """Cross-entropy of a fixed head on the mean of the real tokens of (B, T, d)."""
        weight = self.mask.unsqueeze(-1) / self.mask.sum(1)[:, None, None]
        pooled = (hidden * weight).sum(1)
        return nn.functional.cross_entropy(pooled @ self.head.T, self.labels)


class Trainee:
    """One library's model while it is trained.

    Args:
        forward: gives the hidden states (B, T, d) of real positions.
        parameters: that are trained.
        batch: of every step.
    """

    def __init__(
        self, forward: Callable[[], Tensor], parameters: Sequence[nn.Parameter], batch: Batch
    ) -> None:
        self._forward = forward
        self._batch = batch
        self._optimizer = torch.optim.AdamW(parameters, lr=1e-3)
        self.trainable = sum(parameter.numel() for parameter in parameters)

    def step(self) -> float:
        """Seconds of one step: forward, backward, optimiser."""
        start = time.perf_counter()
        self._optimizer.zero_grad(set_to_none=True)
        loss = self._batch.loss(self._forward())
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        return time.perf_counter() - start


def ours(pair: Pair, model: PreTrainedModel, batch: Batch) -> Trainee:
    """The pair's method attached to a model."""
    attached = attach(model, Architecture(METHODS[pair.kind](**pair.fields)))

    def forward() -> Tensor:
        return attached.real(model(batch.ids, attention_mask=batch.mask).last_hidden_state)

    return Trainee(forward, list(attached.parameters()), batch)


def theirs(pair: Pair, model: PreTrainedModel, batch: Batch) -> Trainee:
    """The pair's method in a model wrapped by peft."""
    import peft

    config = getattr(peft, pair.config)(
        task_type=peft.TaskType.FEATURE_EXTRACTION, **pair.arguments
    )
    wrapped = peft.get_peft_model(model, config).eval()

    def forward() -> Tensor:
        hidden: Tensor = wrapped(batch.ids, attention_mask=batch.mask).last_hidden_state
        return hidden[:, pair.length :]

    parameters = [parameter for parameter in wrapped.parameters() if parameter.requires_grad]
    return Trainee(forward, parameters, batch)


def measure(
    pair: Pair, load: Callable[[], PreTrainedModel], batch: Batch, repeats: int, steps: int
) -> dict[str, Any]:
    """Times of one pair; JSON values.

    Raises:
        ValueError: if the two train different numbers of parameters.
    """
    both = [ours(pair, load(), batch), theirs(pair, load(), batch)]
    if both[0].trainable != both[1].trainable:
        raise ValueError(
            f"both of a pair must train as many parameters, {pair.name} trains "
            f"{both[0].trainable} and peft {both[1].trainable}; correct its line in PAIRS"
        )
    for trainee in both:
        for _ in range(WARM_UP):
            trainee.step()
    times = np.empty((2, repeats, steps))
    for repeat in range(repeats):
        for step in range(steps):
            for side in (0, 1) if step % 2 == 0 else (1, 0):
                times[side, repeat, step] = both[side].step()
    low, high = bootstrap(times)
    return {
        "name": pair.name,
        "ours": {"kind": pair.kind} | pair.fields,
        "peft": {"config": pair.config} | pair.arguments,
        "trainable": both[0].trainable,
        "ours_ms": 1e3 * float(np.median(times[0])),
        "peft_ms": 1e3 * float(np.median(times[1])),
        "ratio": ratio(times),
        "ratio_low": low,
        "ratio_high": high,
        "ratio_by_repeat": [ratio(times[:, i : i + 1]) for i in range(repeats)],
    }


def ratio(times: np.ndarray[Any, Any]) -> float:
    """Ours over peft's: the median over steps taken one after the other; times (2, ...)."""
    return float(np.median(times[0] / times[1]))


def bootstrap(times: np.ndarray[Any, Any]) -> tuple[float, float]:
    """The 95 % interval of :func:`ratio` over (2, repeats, steps).

    Repeats are drawn again, then steps in them, since steps of one repeat are alike.
    """
    generator = np.random.default_rng(0)
    _, repeats, steps = times.shape
    found = []
    for _ in range(RESAMPLES):
        blocks = generator.integers(repeats, size=repeats)[:, None]
        found.append(ratio(times[:, blocks, generator.integers(steps, size=(repeats, steps))]))
    low, high = np.percentile(found, [2.5, 97.5])
    return float(low), float(high)


def main(argv: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Measure, print, write; returns what was measured."""
    known = [pair for pair in PAIRS if pair.kind in METHODS]
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, metavar="FILE", help="JSON file to write")
    parser.add_argument("--repeats", type=record.at_least(1), default=5, metavar="N")
    parser.add_argument("--steps", type=record.at_least(1), default=20, metavar="N")
    parser.add_argument("--sequences", type=record.at_least(1), default=8, metavar="N")
    parser.add_argument("--length", type=record.at_least(2), default=32, metavar="TOKENS")
    parser.add_argument("--only", choices=[pair.name for pair in known], action="append")
    parser.add_argument("--backbone", metavar="FOLDER", help="instead of the quickstart's weights")
    given = parser.parse_args(argv)
    torch.set_num_threads(1)
    backbone = Backbone(Path(given.backbone)) if given.backbone else weights.backbone()
    config: Any = backbone.config()
    batch = Batch.draw(given.sequences, given.length, config.vocab_size, config.hidden_size)
    found = []
    print(f"{backbone.name}, {given.sequences} x {given.length} tokens, 1 thread")
    print(f"{'':<10}{'trainable':>10}{'ours':>10}{'peft':>10}{'ratio':>8}   95 % interval")
    for pair in known:
        if given.only and pair.name not in given.only:
            continue
        one = measure(pair, backbone.load, batch, given.repeats, given.steps)
        found.append(one)
        print(
            f"{one['name']:<10}{one['trainable']:>10,}{one['ours_ms']:>7.1f} ms"
            f"{one['peft_ms']:>7.1f} ms{one['ratio']:>8.3f}   "
            f"{one['ratio_low']:.3f} .. {one['ratio_high']:.3f}",
            flush=True,
        )
    setting = {
        "backbone": backbone.name,
        "sha256": backbone.sha256,
        "sequences": given.sequences,
        "length": given.length,
        "repeats": given.repeats,
        "steps": given.steps,
    }
    record.write(given.out, "peft_step_time", {"setting": setting, "pairs": found})
    return found


if __name__ == "__main__":
    main()
