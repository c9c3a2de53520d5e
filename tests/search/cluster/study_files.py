"""A study file with a task of its own, over any tiny backbone; trials take no time."""

STUDY = """
from dataclasses import dataclass

import numpy as np

from peftnas.methods import LoRA
from peftnas.search import Recipe, Study
from peftnas.search.task_protocol import Split, TaskData
from peftnas.spaces import Integer, SearchSpace


@dataclass(frozen=True)
class Parity:
    name: str = "parity"
    metrics: tuple[str, ...] = ("accuracy",)

    def to_dict(self):
        return {{"name": self.name}}

    def open(self, data, base, seed):
        rows = Split(["good", "bad bad"] * 20, None, np.arange(40, dtype=np.int64) % 2)
        return TaskData(rows, rows, ("no", "yes"), 2)

    def test(self, data, base, seed):
        return self.open(data, base, seed).validation

    def score(self, predictions, labels):
        return {{"accuracy": float((predictions.argmax(1) == labels).mean())}}


study = Study(
    "submitted",
    "{backbone}",
    Parity(),
    SearchSpace(LoRA(rank=Integer(1, 8))),
    recipe=Recipe(steps=10, batch_size=8, max_length=16),
)
"""
