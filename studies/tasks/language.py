"""Causal language modelling: how surprising texts are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Unpack

from peftnas.search.splits import PlainSplit
from peftnas.search.task_protocol import AnySplit
from peftnas.studies.tasks.metric import Kind
from peftnas.studies.tasks.source_task import Options, SourceTask
from peftnas.studies.tasks.tables import Table
from peftnas.studies.tasks.templates import texts_in

if TYPE_CHECKING:
    from peftnas.search.trial.forms.language import Language


class LanguageModelling(SourceTask):
    """Each token of a text from those before it, by a decoder's own head.

    Args:
        source: see :class:`~peftnas.studies.tasks.classification.TextClassification`.
        text: column of the texts; each is cut at ``recipe.max_length`` tokens.
        options: see :class:`~peftnas.studies.tasks.source_task.Options`; the metric is perplexity:
            e to the mean negative log-likelihood of a token, smaller is better.
    Raises:
        ValueError: if a metric is unknown; on opening, if the data are missing or not usable.
    """

    kind: ClassVar[str] = "language_modelling"
    compares: ClassVar[Kind] = "likelihoods"
    usual_metrics: ClassVar[tuple[str, ...]] = ("perplexity",)

    def __init__(self, source: Any, text: str = "text", **options: Unpack[Options]) -> None:
        super().__init__(source, {"text": text}, **options)
        self.text = text

    @property
    def form(self) -> Language:
        """Texts alone."""
        from peftnas.search.trial.forms.language import Language

        return Language()

    def _split(self, table: Table, names: tuple[str, ...]) -> PlainSplit:
        return PlainSplit(texts_in(table, self.text))

    def _keys(self, split: AnySplit) -> Sequence[str]:
        assert isinstance(split, PlainSplit)
        return split.texts
