"""Bench: what stays in a worker between trials, the frozen backbone and the tokenised data."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from peftnas.search.backbone import Backbone
from peftnas.search.task_protocol import Task, TaskData
from peftnas.search.trial.forms.form import Reader, Rows, form_of, form_to_dict

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Examples:
    """Both splits that a trial sees, as numbers."""

    train: Rows
    validation: Rows


@dataclass(frozen=True)
class BenchSpec:
    """What a bench is made of; goes to workers, so that none has to tokenise again.

    Attributes:
        backbone: its folder has to exist where the worker runs.
        task: scores predictions.
        data: train and validation examples.
        examples: their tokens by largest length; lengths that are missing are made on the bench.
        dtypes: number types of the backbone to load when a worker starts.
    """

    backbone: Backbone
    task: Task
    data: TaskData
    examples: Mapping[int, Examples] = field(default_factory=dict)
    dtypes: tuple[str, ...] = ("float32",)

    def with_tokens(self, lengths: Iterable[int]) -> BenchSpec:
        """The same, tokenised for each of these values of ``recipe.max_length``."""
        bench = self.build()
        for length in lengths:
            bench.examples(length)
        return dataclasses.replace(self, examples=bench.tokenised)

    def build(self, device: str = "cpu") -> Bench:
        """The bench, on this machine."""
        return Bench(self.backbone, self.data, self.task, device=device, examples=self.examples)


class Bench:
    """A backbone and data that many trials use one after the other.

    Args:
        backbone: loaded when a trial first needs it, once for each number type.
        data: train and validation examples, of the form of the task.
        task: scores predictions.
        device: such as "cpu" or "cuda".
        examples: tokens that are there already, by largest length.
    """

    def __init__(
        self,
        backbone: Backbone,
        data: TaskData,
        task: Task,
        *,
        device: str = "cpu",
        examples: Mapping[int, Examples] | None = None,
    ) -> None:
        self.backbone = backbone
        self.data = data
        self.task = task
        self.form = form_of(task)
        self.device = device
        self.anatomy = backbone.anatomy()
        self.longest = backbone.longest()
        self.tokenised = dict(examples or {})
        self._models: dict[str, PreTrainedModel] = {}

    @property
    def device_name(self) -> str:
        """Such as "cpu", or what the maker of a GPU calls it."""
        import torch

        return "cpu" if self.device == "cpu" else torch.cuda.get_device_name(self.device)

    @property
    def device_bytes(self) -> int:
        """All the memory of the device, whoever else uses it."""
        import psutil
        import torch

        if self.device == "cpu":
            return int(psutil.virtual_memory().total)
        return int(torch.cuda.get_device_properties(self.device).total_memory)

    def model(self, dtype: str = "float32") -> PreTrainedModel:
        """The resident backbone; trials leave it as they found it."""
        if dtype not in self._models:
            self._models[dtype] = self.form.load(self.backbone, dtype, self.device)
        return self._models[dtype]

    def examples(self, max_length: int) -> Examples:
        """The tokenised data, no example longer than ``max_length`` or than the backbone takes."""
        length = self.form.length(min(max_length, self.longest))
        if length not in self.tokenised:
            reader, names = Reader.of(self.backbone), self.data.label_names
            train, validation = (
                self.form.rows(split, reader, length, names)
                for split in (self.data.train, self.data.validation)
            )
            self.tokenised[length] = Examples(train, validation)
        return self.tokenised[length]

    def warm_up(self, dtypes: Iterable[str] = ()) -> None:
        """Load what trials would else wait for: backbones, and what the metrics import.

        Args:
            dtypes: number types of the backbone to load.
        """
        for dtype in dtypes:
            self.model(dtype)
        for examples in list(self.tokenised.values())[:1]:
            labels = examples.validation.labels
            self.task.score(self.form.perfect(labels, self.data.n_outputs), labels)

    def facts(self) -> dict[str, Any]:
        """What one has to know to use a checkpoint elsewhere; JSON values."""
        return {
            "backbone": {"name": self.backbone.name, "sha256": self.backbone.sha256},
            "task": self.task.name,
            "form": form_to_dict(self.form),
            "n_outputs": self.data.n_outputs,
            "label_names": list(self.data.label_names),
        }
