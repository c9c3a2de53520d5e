"""What every form of examples has; a new one is a subclass in a file of its own."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from peftnas.search.errors import UsageError
from peftnas.search.task_protocol import AnySplit, Task, TaskData
from peftnas.search.trial.batches import EVALUATION_TOKENS, evaluation_order
from peftnas.search.trial.losses import disagreement
from peftnas.search.trial.reading import Reading, read_by_step
from peftnas.spaces.domains import Domain

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

    from peftnas.methods.anatomy import Anatomy
    from peftnas.search.backbone import Backbone
    from peftnas.search.recipe import Recipe
    from peftnas.search.trial.classifier import Classifier
    from peftnas.search.trial.head import Head

# where the forms that come with the package are; their classes load when they are asked for
HOMES = {
    "text": "texts.Texts",
    "tagging": "tagging.Tagging",
    "language": "language.Language",
    "generation": "generation.Generation",
    "choices": "choices.Choices",
    "spans": "spans.Spans",
    "label_sets": "label_sets.LabelSets",
    "label_words": "label_words.LabelWords",
    "images": "images.Images",
    "image_names": "image_names.ImageNames",
}


class AnyBatch(Protocol):
    """Examples of one step."""

    @property
    def labels(self) -> Tensor:
        """What the loss compares the answer with."""

    def inputs(self) -> dict[str, Tensor]:
        """What the backbone is called with."""


class Rows(Protocol):
    """The examples of a split as numbers.

    Attributes:
        labels: what the task's ``score`` compares predictions with, one an example.
        lengths: (n,) tokens of each example; batches hold examples of similar length.
    """

    @property
    def labels(self) -> Any: ...

    @property
    def lengths(self) -> npt.NDArray[np.int64]: ...

    def __len__(self) -> int: ...

    def batch(self, rows: npt.NDArray[np.int64], device: str = "cpu") -> AnyBatch:
        """The examples with these numbers, in this order."""


@dataclass(frozen=True)
class Reader:
    """What turns examples into numbers, as a backbone wants them.

    Attributes:
        folder: of the backbone.
        config: of the backbone.
        words: its tokenizer; ``None`` where it reads no words.
        pad: token that fills short rows.
    """

    folder: Path
    config: PretrainedConfig
    words: PreTrainedTokenizerBase | None
    pad: int

    @classmethod
    def of(cls, backbone: Backbone, tokenizer: PreTrainedTokenizerBase | None = None) -> Reader:
        """That of a backbone; ``tokenizer``: one that is loaded already."""
        if not backbone.reads_words:
            return cls(backbone.folder, backbone.config(), None, 0)
        words = tokenizer or backbone.tokenizer()
        return cls(backbone.folder, backbone.config(), words, backbone.pad_id())

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer of a backbone that reads words."""
        assert self.words is not None, "a form checks that its backbone reads words"
        return self.words

    def fast(self, purpose: str) -> PreTrainedTokenizerBase:
        """A tokenizer that says where its tokens stand in a text.

        Args:
            purpose: what needs one, in the plural, for the message.
        Raises:
            UsageError: if the backbone has none.
        """
        if not self.tokenizer.is_fast:
            raise UsageError(
                f"{purpose} need a fast tokenizer, which says where its tokens stand in a text, "
                f"got {type(self.tokenizer).__name__}; save the backbone with a tokenizer.json"
            )
        return self.tokenizer

    @property
    def types(self) -> bool:
        """Whether the backbone wants to know the second text from the first."""
        return getattr(self.config, "type_vocab_size", 1) > 1


@dataclass(frozen=True)
class Outcome:
    """What a trained model makes of a split.

    Attributes:
        predictions: what the task's ``score`` takes.
        loss: mean loss.
    """

    predictions: Any
    loss: float


@dataclass(frozen=True)
class Form(ABC):
    """How examples of one form are read, answered and judged.

    Fields of a subclass are its settings: JSON values, which are kept beside trained tensors.
    """

    kind: ClassVar[str]
    pools: ClassVar[bool] = False  # its head reads ``Recipe.pooling``
    writes: ClassVar[bool] = False  # its answers are written word by word

    @property
    @abstractmethod
    def usage(self) -> str:
        """A line of Python that asks a loaded export, called ``model``."""

    def check_backbone(self, name: str, anatomy: Anatomy) -> None:
        """Refuse a backbone that cannot answer; here: any but one stack of layers over words.

        Raises:
            UsageError: with what to take instead.
        """
        if len(anatomy.stacks) > 1 or anatomy.stacks[0].word_embeddings is None:
            raise UsageError(
                f"a trial needs a backbone that is one stack of layers over words, got {name!r} "
                f"of type {anatomy.model_type!r}; take an encoder (bert) or a decoder (llama)"
            )

    def check_recipe(self, recipe: Recipe) -> None:
        """Refuse a search over what this form does not read.

        Raises:
            UsageError: with what to take out.
        """
        if not self.pools and isinstance(recipe.pooling, Domain):
            raise UsageError(
                f"recipe.pooling must not be searched for a task of the form {self.kind!r}, whose "
                f"head does not pool, got {recipe.pooling!r}; leave it out"
            )

    def check_data(self, data: TaskData) -> None:
        """Refuse data that cannot be learned from.

        Raises:
            UsageError: with what is wrong.
        """
        return None

    def check_weights(self, backbone: Backbone) -> None:
        """Refuse weights that lack what :meth:`load` reads; here: a backbone needs no head.

        Raises:
            UsageError: with what is missing.
        """
        return None

    def load(self, backbone: Backbone, dtype: str, device: str) -> PreTrainedModel:
        """The frozen network that answers; here: the backbone without a task head."""
        return backbone.load(dtype, device)

    def length(self, most: int) -> int:
        """Largest number of tokens of an example; forms without words say 0."""
        return most

    @abstractmethod
    def rows(self, split: AnySplit, reader: Reader, length: int, names: Sequence[str]) -> Rows:
        """The examples of a split as numbers.

        Args:
            split: of the kind that this form reads.
            reader: of the backbone.
            length: tokens of one example; longer ones are cut.
            names: of the classes; see ``TaskData.label_names``.
        """

    def reading(self, rows: Rows | None, length: int, size: int, outputs: int) -> Reading:
        """What the heaviest training step, or inference pass, on some examples reads.

        Here: each example is one sequence, for a linear head.

        Args:
            rows: of a split, n >= 1; ``None``: examples as large as can be, before data are read.
            length: tokens of one example, no more than ``rows`` were made for; what is longer is
                cut as :meth:`rows` does.
            size: examples of the step; all there are where there are fewer.
            outputs: see ``TaskData.n_outputs``.
        """
        lengths = None if rows is None else rows.lengths
        return Reading(read_by_step(lengths, length, size), outputs)

    @abstractmethod
    def head(
        self,
        base: PreTrainedModel,
        n_outputs: int,
        pooling: str,
        *,
        causal: bool,
        dropout: float,
        seed: int,
    ) -> Head:
        """What answers on the backbone's output; see ``search/trial/head.py``."""

    @abstractmethod
    def loss(self, answer: Tensor, labels: Tensor) -> Tensor:
        """Mean loss of the answer to a batch, whose labels these are."""

    def disagreement(self, one: Tensor, other: Tensor) -> Tensor:
        """How far two answers to one batch are apart; here: as distributions over classes."""
        return disagreement(one, other, classes=one.shape[1] > 1)

    @abstractmethod
    def evaluate(self, model: Classifier, rows: Rows) -> Outcome:
        """Predictions for a split, in its order, and the loss, without dropout or gradients."""

    def perfect(self, labels: Any, n_outputs: int) -> Any:
        """Predictions that are right."""
        return labels

    @abstractmethod
    def unlabelled(self, *examples: Any) -> AnySplit:
        """A split of examples that somebody asks about; their labels mean nothing."""


def passes(model: Classifier, rows: Rows) -> Iterator[tuple[npt.NDArray[np.int64], Any, Tensor]]:
    """Row numbers, batch and answer of every batch of a split, short examples first.

    Without dropout and gradients.
    """
    model.train(False)
    device = model.base.device.type
    for numbers in evaluation_order(rows.lengths, EVALUATION_TOKENS[device]):
        batch = rows.batch(numbers, device)
        with torch.no_grad():
            answer = model.logits(batch)
        yield numbers, batch, answer


def pooled_outcome(form: Form, model: Classifier, rows: Rows) -> Outcome:
    """What a head with one answer an example, (n, n_outputs), makes of a whole split."""
    predictions = _logits_of(model, rows)
    labels = torch.from_numpy(rows.labels.copy())
    return Outcome(predictions, float(form.loss(torch.from_numpy(predictions), labels)))


def _logits_of(model: Classifier, rows: Rows) -> npt.NDArray[np.float32]:
    """The answers to a whole split in its order, (n, n_outputs)."""
    answers: npt.NDArray[np.float32] | None = None
    for numbers, _, answer in passes(model, rows):
        logits = answer.cpu().numpy()
        if answers is None:
            answers = np.empty((len(rows), logits.shape[1]), dtype=np.float32)
        answers[numbers] = logits
    assert answers is not None, "a split has at least one example"
    return answers


def form_of(task: Task) -> Form:
    """The form of a task's examples; that of texts unless it says otherwise."""
    form = getattr(task, "form", None)
    if form is None:
        return made_form({"kind": "text"})
    if not isinstance(form, Form):
        raise UsageError(
            f"the form of a task must be a Form of peftnas.search.trial.forms, got {form!r}; give "
            "one such as Tagging(), or leave it out for texts with a class each"
        )
    return form


def form_to_dict(form: Form) -> dict[str, Any]:
    """Kind and settings, as JSON values."""
    return {"kind": form.kind, **dataclasses.asdict(form)}


def made_form(content: Mapping[str, Any]) -> Form:
    """The form that :func:`form_to_dict` describes.

    Raises:
        UsageError: if there is no such form; one defined in a FILE is found once that was run.
    """
    kind = content["kind"]
    settings = {name: _hashable(value) for name, value in content.items() if name != "kind"}
    if kind in HOMES:
        module, _, name = HOMES[kind].partition(".")
        found = getattr(import_module(f"peftnas.search.trial.forms.{module}"), name)
        return cast(Form, found(**settings))
    for known in _subclasses(Form):
        if getattr(known, "kind", None) == kind:
            return cast(Form, known(**settings))
    raise UsageError(
        f"the form {kind!r} does not come with peftnas; name the study's FILE that defines it: "
        "load_exported(..., methods=FILE)"
    )


def _subclasses(of: Any) -> list[Any]:
    own = list(of.__subclasses__())
    return own + [deeper for one in own for deeper in _subclasses(one)]


def _hashable(value: Any) -> Any:
    return tuple(map(_hashable, value)) if isinstance(value, list) else value
