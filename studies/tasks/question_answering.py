"""Questions whose answer is a part of a text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Unpack

import numpy as np

from peftnas.search.splits import SpanSplit
from peftnas.search.task_protocol import AnySplit
from peftnas.studies.tasks.errors import DataError
from peftnas.studies.tasks.metric import Kind
from peftnas.studies.tasks.source_task import Options, SourceTask
from peftnas.studies.tasks.tables import Table
from peftnas.studies.tasks.templates import texts_in

if TYPE_CHECKING:
    from peftnas.search.trial.forms.spans import Spans


class QuestionAnswering(SourceTask):
    """The part of a text that answers a question, as in SQuAD.

    Args:
        source: see :class:`~peftnas.studies.tasks.classification.TextClassification`.
        question: column of the questions.
        context: column of the texts.
        answers: column of the answers: a dict of ``text`` and ``answer_start`` (a list each) as
            SQuAD has them, or one text, whose first place in the context counts.
        may_lack: some questions have no answer in their text (SQuAD 2.0), which is then learned.
        longest_answer: tokens of an answer.
        options: see :class:`~peftnas.studies.tasks.source_task.Options`; metrics answer_f1 and
            answer_match, both after SQuAD's normalisation.
    Raises:
        ValueError: if a metric is unknown; on opening, if the data are missing or not usable.
    """

    kind: ClassVar[str] = "question_answering"
    compares: ClassVar[Kind] = "answers"
    usual_metrics: ClassVar[tuple[str, ...]] = ("answer_f1", "answer_match")

    def __init__(
        self,
        source: Any,
        question: str = "question",
        context: str = "context",
        answers: str = "answers",
        *,
        may_lack: bool = False,
        longest_answer: int = 30,
        **options: Unpack[Options],
    ) -> None:
        columns = {"question": question, "context": context, "answers": answers}
        super().__init__(source, columns, **options)
        self.question, self.context, self.answers = question, context, answers
        self.may_lack, self.longest_answer = may_lack, longest_answer

    @property
    def form(self) -> Spans:
        """Questions with texts that hold the answer."""
        from peftnas.search.trial.forms.spans import Spans

        return Spans(may_lack=self.may_lack, longest_answer=self.longest_answer)

    def to_dict(self) -> dict[str, Any]:
        """What makes it this task."""
        return super().to_dict() | {
            "may_lack": self.may_lack,
            "longest_answer": self.longest_answer,
        }

    def _split(self, table: Table, names: tuple[str, ...]) -> SpanSplit:
        contexts = texts_in(table, self.context)
        answers, starts = [], []
        for row, value in enumerate(table.columns[self.answers]):
            some, start = _answers_of(value, contexts[row])
            right = some and contexts[row][start : start + len(some[0])] == some[0]
            if not right and (some or not self.may_lack):
                raise DataError(
                    f"column {self.answers!r} of {table.where} must hold parts of the text, got "
                    f"{some[0] if some else 'none'!r} in row {row + 1}; correct it, or pass "
                    "may_lack=True where there are questions without an answer"
                )
            answers.append(some)
            starts.append(start if some else -1)
        return SpanSplit(
            texts_in(table, self.question), contexts, answers, np.array(starts, dtype=np.int64)
        )

    def _keys(self, split: AnySplit) -> Sequence[str]:
        # questions on one text stay together: it would be known from training
        assert isinstance(split, SpanSplit)
        return split.contexts


def _answers_of(value: Any, context: str) -> tuple[list[str], int]:
    """All right answers, and where the first of them begins; -1: nowhere."""
    if isinstance(value, dict):
        texts, starts = list(value["text"]), list(value["answer_start"])
        return texts, int(starts[0]) if starts else -1
    if value is None or value == "":
        return [], -1
    texts = [value] if isinstance(value, str) else list(value)
    return texts, context.find(texts[0]) if texts else -1
