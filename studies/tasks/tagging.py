"""Tags of words: slots, names, parts of speech."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Unpack

from peftnas.search.splits import TaggedSplit
from peftnas.search.task_protocol import AnySplit
from peftnas.studies.tasks.errors import DataError
from peftnas.studies.tasks.labels import lists_in
from peftnas.studies.tasks.metric import Kind
from peftnas.studies.tasks.source_task import Options, SourceTask
from peftnas.studies.tasks.tables import Table

if TYPE_CHECKING:
    from peftnas.search.trial.forms.tagging import Tagging

_OF_SPANS = ("span_f1", "span_precision", "span_recall")
_PREFIXES = ("B-", "I-", "E-", "S-")  # what seqeval counts; of BILOU it misses two letters


class TokenTagging(SourceTask):
    """A tag for each word of a text, such as ``B-artist I-artist O``.

    Args:
        source: see :class:`~peftnas.studies.tasks.classification.TextClassification`.
        words: column of the words, a list or a text with spaces between them.
        tags: column of their tags, in the same way; numbers where the source names its classes. A
            tag that train does not have can come elsewhere: no prediction is right there.
        options: see :class:`~peftnas.studies.tasks.source_task.Options`; metrics span_f1 (of
            seqeval: a span counts where its borders and its name are right), span_precision,
            span_recall and tag_accuracy. Spans are written B-, I- and O, or with E- and S- too.
    Raises:
        ValueError: if a metric is unknown; on opening, if the data are missing or not usable.
    """

    kind: ClassVar[str] = "token_tagging"
    compares: ClassVar[Kind] = "tags"
    usual_metrics: ClassVar[tuple[str, ...]] = ("span_f1", "tag_accuracy")
    label_argument: ClassVar[str] = "tags"

    def __init__(
        self,
        source: Any,
        words: str = "words",
        tags: str = "tags",
        **options: Unpack[Options],
    ) -> None:
        super().__init__(source, {"words": words, "label": tags}, **options)
        self.words, self.tags = words, tags

    @property
    def form(self) -> Tagging:
        """Words with tags."""
        from peftnas.search.trial.forms.tagging import Tagging

        return Tagging()

    def _names(self, train: Table) -> tuple[str, ...]:
        names = train.class_names.get(self.tags) or tuple(
            sorted({tag for tags in self._split(train, ()).tags for tag in tags})
        )
        if len(names) < 2:
            raise DataError(
                f"column {self.tags!r} of {train.where} must have at least two tags, got "
                f"{', '.join(map(repr, names)) or 'none'}; add rows with others"
            )
        self._check_spans(train, set(names))
        return names

    def _split(self, table: Table, names: tuple[str, ...]) -> TaggedSplit:
        words = lists_in(table, self.words, "words")
        tags = lists_in(table, self.tags, "tags")
        for row, (some, others) in enumerate(zip(words, tags, strict=True), start=1):
            if not some or len(some) != len(others):
                raise DataError(
                    f"{table.where}: a text must have one tag for each of its words, got "
                    f"{len(some)} words and {len(others)} tags in row {row}; correct that row"
                )
        self._check_spans(table, {tag for row in tags for tag in row})
        return TaggedSplit(words, tags)

    def _check_spans(self, table: Table, tags: set[str]) -> None:
        """Refuse tags that a metric of spans would count wrong."""
        odd = sorted(tag for tag in tags if tag != "O" and not tag.startswith(_PREFIXES))
        if odd and set(self.metrics) & set(_OF_SPANS):
            raise DataError(
                f"a metric of spans needs tags such as B-name, I-name and O, got {odd[0]!r} in "
                f"column {self.tags!r} of {table.where}; write spans with B- and I- (and E-, S-), "
                "or take metrics='tag_accuracy'"
            )

    def _keys(self, split: AnySplit) -> Sequence[str]:
        assert isinstance(split, TaggedSplit)
        return [" ".join(words) for words in split.words]
