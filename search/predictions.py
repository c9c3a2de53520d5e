"""What a trial will take, predicted before it starts, for the backbone and the data of a study."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from peftnas.search.recipe import Recipe
from peftnas.spaces.architecture import Architecture
from peftnas.spaces.fields import held

if TYPE_CHECKING:
    from peftnas.search.backbone import Backbone

_KEPT = 10_000  # predictions that are remembered


class Predicts(Protocol):
    """What limits and baselines ask."""

    def train_memory_bytes(self, architecture: Architecture, recipe: Recipe) -> int:
        """Peak memory of a training step."""

    def remaining(self, architecture: Architecture) -> tuple[str, ...]:
        """Modules that cannot be merged, as ``site: kind``; without any, there is no overhead."""


@dataclass(frozen=True)
class Reading:
    """What a backbone reads in the heaviest step of a study, and what is asked of it.

    Attributes:
        tokens: of the longest training example; what a recipe cuts is shorter.
        outputs: width of the head.
        sequences: that one example is read as (a choice of several answers: several).
        words: whether the answer is a word of the vocabulary at each position, by the head that
            the model was pretrained with.
    """

    tokens: int
    outputs: int
    sequences: int = 1
    words: bool = False


class Predictions:
    """Traces architectures on fake tensors; nothing is loaded or computed.

    Args:
        backbone: of the study.
        reading: gives what is read; asked when a prediction needs it.
    """

    def __init__(self, backbone: Backbone, reading: Callable[[], Reading]) -> None:
        self._backbone = backbone
        self._reading = reading
        self._memory: dict[tuple[Any, ...], int] = {}
        self._remaining: dict[str, tuple[str, ...]] = {}

    def train_memory_bytes(self, architecture: Architecture, recipe: Recipe) -> int:
        """Peak memory of a training step with AdamW, head included, on the longest batch."""
        from peftnas.methods.predicted_costs import predicted_train_memory

        reading = self._reading()
        tokens = min(held(recipe.max_length), reading.tokens)
        dtype, batch = held(recipe.dtype), reading.sequences * held(recipe.batch_size)
        dropout = float(held(recipe.dropout))
        key = (architecture.to_json(), batch, tokens, dtype, dropout > 0)
        if key not in self._memory:
            config, types = self._config_and_types(dtype)
            found = predicted_train_memory(
                architecture,
                config,
                batch=batch,
                tokens=tokens,
                dtype=types,
                outputs=0 if reading.words else reading.outputs,
                words=reading.words,
                padded=batch > 1,
                dropout=dropout,
                family=self._backbone.family,
            )
            if len(self._memory) >= _KEPT:
                self._memory.clear()
            self._memory[key] = found.total
        return self._memory[key]

    def remaining(self, architecture: Architecture) -> tuple[str, ...]:
        """Modules that still run after merging, as ``site: kind``."""
        from peftnas.methods.predicted_costs import remaining_modules

        key = architecture.to_json()
        if key not in self._remaining:
            if len(self._remaining) >= _KEPT:
                self._remaining.clear()
            config, dtype = self._config_and_types("float32")
            self._remaining[key] = remaining_modules(
                architecture, config, dtype=dtype, family=self._backbone.family
            )
        return self._remaining[key]

    @cached_property
    def decodes(self) -> bool:
        """Whether the backbone gives word after word from a cache."""
        from peftnas.methods.fake_backbone import fake_backbone

        config, dtype = self._config_and_types("float32")
        return fake_backbone(config, dtype, self._backbone.family).decodes

    def _config_and_types(self, dtype: str) -> tuple[Any, Any]:
        """The config with the attention that a trial runs with, and the number type."""
        import torch

        from peftnas.search.backbone import attention_of

        config = self._backbone.config()
        attention = attention_of(dtype, "cuda" if torch.cuda.is_available() else "cpu")
        if attention is not None:
            config._attn_implementation = attention
        return config, getattr(torch, dtype)
