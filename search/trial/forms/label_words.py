"""Texts with a class each, answered by a decoder's own head: which word comes next?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from peftnas.search.errors import UsageError
from peftnas.search.task_protocol import AnySplit, Split, TaskData
from peftnas.search.trial.batches import Batch, Tokens, tokens_from
from peftnas.search.trial.forms.form import Reader, Rows
from peftnas.search.trial.forms.language import Language, bare_tokens, begun, last_logits
from peftnas.search.trial.forms.texts import Texts
from peftnas.search.trial.head import Attached, Head
from peftnas.search.trial.reading import Reading

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from peftnas.methods.anatomy import Anatomy
    from peftnas.search.backbone import Backbone


@dataclass(frozen=True)
class WordBatch(Batch):
    """Texts behind which the word of a class is to come.

    Attributes:
        words: (classes,) the first token of each word.
    """

    words: Tensor


@dataclass(frozen=True)
class WordRows(Tokens):
    """Tokens of texts, and of the words of the classes."""

    words: npt.NDArray[np.int64]

    def batch(self, rows: npt.NDArray[np.int64], device: str = "cpu") -> WordBatch:
        plain = super().batch(rows, device)
        words = torch.from_numpy(self.words).to(device)
        return WordBatch(plain.input_ids, plain.attention_mask, None, plain.labels, words)


class WordHead(Head):
    """The model's own logits of the words behind a text; nothing is trained here."""

    def answer(self, base: PreTrainedModel, attached: Attached, batch: Any) -> Tensor:
        """(B, classes)."""
        ends = batch.attention_mask.sum(dim=1)
        longest = batch.input_ids.shape[1]
        logits = last_logits(base, batch, longest - int(ends.min()) + 1)
        places = ends - 1 - (longest - logits.shape[1])
        chosen = logits[torch.arange(len(places), device=places.device), places]
        return chosen[:, batch.words].float()


@dataclass(frozen=True)
class LabelWords(Texts):
    """Splits are ``Split``; predictions (n, n_outputs), the logit of each class's word.

    Attributes:
        words: pairs of a class and its word.
        template: what the model reads, with ``{text}`` and, for pairs, ``{pair}``.
    """

    kind: ClassVar[str] = "label_words"
    pools: ClassVar[bool] = False
    usage: ClassVar[str] = 'logits = classify(["a text"])'

    words: tuple[tuple[str, str], ...] = ()
    template: str = "{text}\nAnswer:"

    def check_backbone(self, name: str, anatomy: Anatomy) -> None:
        super().check_backbone(name, anatomy)
        if not anatomy.causal:
            raise UsageError(
                f"label_words need a decoder, whose own head says which word comes next, got "
                f"{name!r} of type {anatomy.model_type!r}; take a causal one (llama, gpt2), or "
                "leave label_words out"
            )

    def check_data(self, data: TaskData) -> None:
        super().check_data(data)
        told, classes = dict(self.words), data.label_names
        if others := [name for name in told if name not in classes]:
            raise UsageError(
                f"label_words must have the classes of the data, got {others[0]!r}; "
                f"the classes: {', '.join(classes)}"
            )
        if missing := [name for name in classes if name not in told]:
            raise UsageError(
                f"label_words must have a word for each class, got none for {missing[0]!r}; "
                f"the classes: {', '.join(classes)}"
            )

    def load(self, backbone: Backbone, dtype: str, device: str) -> PreTrainedModel:
        return Language().load(backbone, dtype, device)

    def check_weights(self, backbone: Backbone) -> None:
        Language().check_weights(backbone)

    def rows(self, split: AnySplit, reader: Reader, length: int, names: Sequence[str]) -> Rows:
        assert isinstance(split, Split)
        pairs = split.pairs or [""] * len(split)
        texts = [
            self.template.format(text=text, pair=pair)
            for text, pair in zip(split.texts, pairs, strict=True)
        ]
        ids = []
        for tokens in bare_tokens(reader, texts):
            row = begun(reader, tokens)
            # the end is kept: it asks for the word
            ids.append(row if len(row) <= length else [*row[:1], *row[1 - length :]])
        plain = tokens_from(ids, None, split.labels, reader.pad)
        first = self._first_tokens(reader, names)
        return WordRows(plain.ids, None, plain.starts, plain.labels, plain.pad, first)

    def _first_tokens(self, reader: Reader, names: Sequence[str]) -> npt.NDArray[np.int64]:
        """The first token of the word of each class, as it stands behind the template."""
        told = dict(self.words)
        (before,) = bare_tokens(reader, [self.template])
        found: dict[int, str] = {}
        for name in names:
            (behind,) = bare_tokens(reader, [f"{self.template} {told[name]}"])
            same = 0
            while same < min(len(before), len(behind) - 1) and before[same] == behind[same]:
                same += 1
            if (first := behind[same]) in found:
                raise UsageError(
                    f"label_words must begin with different tokens, got {told[name]!r} and "
                    f"{found[first]!r}, which both begin with "
                    f"{reader.tokenizer.decode([first])!r}; take other words"
                )
            found[first] = told[name]
        return np.array(list(found), dtype=np.int64)

    def reading(self, rows: Rows | None, length: int, size: int, outputs: int) -> Reading:
        reads = super().reading(rows, length, size, outputs).reads
        return Reading(reads, words=reads.batch)

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
        return WordHead()
