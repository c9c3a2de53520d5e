"""Questions whose answer is a part of a text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Unpack

import numpy as np

from peftnas.search.splits import SpanSplit
from peftnas.search.task_protocol import AnySplit
from peftnas.studies.tasks.arguments import check_whole
from peftnas.studies.tasks.errors import DataError
from peftnas.studies.tasks.metric import Kind
from peftnas.studies.tasks.source_task import Options, SourceTask
from peftnas.studies.tasks.tables import Table
from peftnas.studies.tasks.templates import texts_in

if TYPE_CHECKING:
    from peftnas.search.trial.forms.spans import Spans

NOWHERE = -1  # where an answer begins that there is not


class QuestionAnswering(SourceTask):
    """The part of a text that answers a question, as in SQuAD.

    Args:
        source: see :class:`~peftnas.studies.tasks.classification.TextClassification`.
        question: column of the questions.
        context: column of the texts.
        answers: column of the answers: a dict of ``text`` and ``answer_start`` (a list each) as
            SQuAD has them, or one text, which is looked for in the context: first as a whole
            word or words, else inside others.
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
        if not isinstance(may_lack, bool):
            raise DataError(f"may_lack must be True or False, got {may_lack!r}; write one of them")
        self.may_lack = may_lack
        self.longest_answer = check_whole("longest_answer", longest_answer)

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
            where = f"column {self.answers!r} of {table.where}", row + 1
            some, start = _answers_of(value, contexts[row], *where)
            right = some and some[0].strip() and start >= 0
            right = right and contexts[row].startswith(some[0], start)
            if not right and (some or not self.may_lack):
                raise DataError(
                    f"column {self.answers!r} of {table.where} must hold parts of the text, got "
                    f"{some[0] if some else 'none'!r} in row {row + 1}; correct it, or pass "
                    "may_lack=True where there are questions without an answer"
                )
            answers.append(some)
            starts.append(start)
        return SpanSplit(
            texts_in(table, self.question), contexts, answers, np.array(starts, dtype=np.int64)
        )

    def _keys(self, split: AnySplit) -> Sequence[str]:
        # questions on one text stay together: it would be known from training
        assert isinstance(split, SpanSplit)
        return split.contexts


def _answers_of(value: Any, context: str, column: str, row: int) -> tuple[list[str], int]:
    """All right answers, and where the first of them begins."""
    places: Any = None
    texts: Any = value
    if value is None or (isinstance(value, str) and not value.strip()):
        texts = []
    elif isinstance(value, str):
        texts = [value]
    elif isinstance(value, dict):
        texts, places = value.get("text"), value.get("answer_start")
    good = _is_list(texts, str) and (not isinstance(value, dict) or _is_list(places, int))
    if not good or (places is not None and len(places) != len(texts)):
        raise DataError(
            f"{column} must hold a text, a list of texts, or a dict of text and answer_start (a "
            f"list each), got {value!r} in row {row}; correct or drop that row"
        )
    if not texts:
        return [], NOWHERE
    return list(texts), _place(texts[0], context) if places is None else int(places[0])


def _is_list(value: Any, of: type) -> bool:
    plain = isinstance(value, Sequence | np.ndarray) and not isinstance(value, str)
    return plain and all(isinstance(one, of | np.integer) for one in value)


def _place(answer: str, context: str) -> int:
    """Where an answer is a word or some words of a text, else where it first stands at all."""
    found = re.search(rf"(?<!\w){re.escape(answer)}(?!\w)", context)
    return context.find(answer) if found is None else found.start()
