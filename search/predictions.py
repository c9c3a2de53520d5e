"""What a trial will take, predicted before it starts, for the backbone and the data of a study."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from peftnas.search.errors import NoRoomError
from peftnas.search.recipe import Recipe
from peftnas.spaces.architecture import Architecture
from peftnas.spaces.fields import held

if TYPE_CHECKING:
    from peftnas.search.backbone import Backbone
    from peftnas.search.trial.forms.form import Form
    from peftnas.search.trial.reading import Reading

Key = TypeVar("Key")
Value = TypeVar("Value")

_KEPT = 10_000  # predictions that are remembered


class Predicts(Protocol):
    """What limits and baselines ask."""

    def train_memory_bytes(self, architecture: Architecture, recipe: Recipe) -> int:
        """Peak memory of a training step."""

    def remaining(self, architecture: Architecture) -> tuple[str, ...]:
        """Modules that cannot be merged, as ``site: kind``; without any, there is no overhead."""

    def refusal(self, architecture: Architecture, recipe: Recipe) -> str | None:
        """Why a trial would fail for certain, in one sentence; ``None`` when it need not."""
        return None


class Predictions:
    """Traces architectures on fake tensors; nothing is loaded or computed.

    Args:
        backbone: of the study.
        form: of the examples.
        reading: gives what the heaviest training step reads, of examples cut to a length, and of a
            batch size; asked when a prediction needs it.
        writes: whether words have to come one by one.
    """

    def __init__(
        self,
        backbone: Backbone,
        form: Form,
        reading: Callable[[int, int], Reading],
        writes: bool = False,
    ) -> None:
        self._backbone = backbone
        self._form = form
        self._reading = reading
        self._writes = writes or form.writes
        self._memory: dict[tuple[Any, ...], int] = {}
        self._facts: dict[tuple[Callable[..., Any], str], Any] = {}

    def train_memory_bytes(self, architecture: Architecture, recipe: Recipe) -> int:
        """Peak memory of a training step with AdamW, head included, on the heaviest batch.

        Raises:
            NoRoomError: if the architecture leaves no room for texts.
        """
        from peftnas.methods.predicted_costs import predicted_train_memory

        reading = self._read(architecture, recipe)
        dtype, dropout = held(recipe.dtype), float(held(recipe.dropout))
        key = (architecture.to_json(), reading, dtype, dropout > 0)
        if key not in self._memory:
            config, types = self._config_and_types(dtype)
            found = predicted_train_memory(
                architecture,
                config,
                reading.reads,
                dtype=types,
                outputs=reading.outputs,
                words=reading.words,
                dropout=dropout,
                family=self._backbone.family,
            )
            _keep(self._memory, key, found.total)
        return self._memory[key]

    def memory_in_space(self, architecture: Architecture, recipe: Recipe) -> float:
        """The same for a constraint of a space; infinite where no text has room."""
        try:
            return self.train_memory_bytes(architecture, recipe)
        except NoRoomError:
            return math.inf

    def refusal(self, architecture: Architecture, recipe: Recipe) -> str | None:
        """Why a trial would fail for certain, in one sentence; ``None`` when it need not."""
        if self._writes and self.decodes and not self._writes_with(architecture):
            return (
                "words cannot come one by one with a gate that takes its mean over a whole text; "
                "take gate_tokens='causal' where the method has it, or no gate"
            )
        try:
            self._read(architecture, recipe)
        except NoRoomError as error:
            return str(error)
        return None

    def _read(self, architecture: Architecture, recipe: Recipe) -> Reading:
        """What the heaviest step of a trial reads; its texts are cut as the trial cuts them."""
        from peftnas.search.trial.reading import room_beside

        room = room_beside(self._prompt_length(architecture), self._longest)
        length = self._form.length(min(held(recipe.max_length), room))
        return self._reading(length, held(recipe.batch_size))

    @cached_property
    def _longest(self) -> int:
        return self._backbone.longest()

    def _prompt_length(self, architecture: Architecture) -> int:
        from peftnas.methods.on_texts import prompt_length

        return self._fact(prompt_length, architecture)

    def _writes_with(self, architecture: Architecture) -> bool:
        from peftnas.methods.on_texts import writes_word_by_word

        return self._fact(writes_word_by_word, architecture)

    def remaining(self, architecture: Architecture) -> tuple[str, ...]:
        """Modules that still run after merging, as ``site: kind``."""
        from peftnas.methods.predicted_costs import remaining_modules

        return self._fact(remaining_modules, architecture)

    def _fact(self, ask: Callable[..., Value], architecture: Architecture) -> Value:
        """What a function says of an architecture on this backbone, asked once."""
        key = (ask, architecture.to_json())
        if key not in self._facts:
            config, dtype = self._config_and_types("float32")
            found = ask(architecture, config, dtype=dtype, family=self._backbone.family)
            _keep(self._facts, key, found)
        known: Value = self._facts[key]
        return known

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


def _keep(known: dict[Key, Value], key: Key, value: Value) -> None:
    """Remember a prediction, and never more than some thousands."""
    if len(known) >= _KEPT:
        known.clear()
    known[key] = value
