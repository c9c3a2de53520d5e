"""Texts in, texts out: sequence-to-sequence tasks and instructions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Unpack

from peftnas.search.splits import TargetSplit
from peftnas.search.task_protocol import AnySplit
from peftnas.studies.tasks.arguments import check_column, check_texts, check_whole
from peftnas.studies.tasks.errors import DataError
from peftnas.studies.tasks.metric import Kind
from peftnas.studies.tasks.source_task import Options, SourceTask
from peftnas.studies.tasks.tables import Table
from peftnas.studies.tasks.templates import texts_in

if TYPE_CHECKING:
    from peftnas.search.trial.forms.generation import Generation

INSTRUCTION = "Instruction: {instruction}\n{input}\nResponse: "


class TextGeneration(SourceTask):
    """A text to be written for each row, such as a translation, a summary or a response.

    The loss is on the target alone; answers are generated greedily. A decoder reads the input
    and writes behind it; with an encoder-decoder the encoder reads it.

    Args:
        source: see :class:`~peftnas.studies.tasks.classification.TextClassification`.
        template: what the model reads, with the names of columns in braces. Decoders need a sign
            where the input ends, as the line break of the default is.
        target: column of the text to write.
        max_new_tokens: tokens of a target at most; longer ones are cut.
        replace: texts and what stands for them in targets before they are learned, such as
            ``{"I_JUMP": "jump"}``, where a tokenizer would cut them into many tokens.
        options: see :class:`~peftnas.studies.tasks.source_task.Options`; metrics exact_match
            (words and their order), rouge1, rouge2 and rouge_l (F-measures, over words of any
            script: see ``rouge.py``).
    Raises:
        ValueError: if a metric is unknown, or the template names no column; on opening, if the
            data are missing or not usable.
    """

    kind: ClassVar[str] = "text_generation"
    compares: ClassVar[Kind] = "texts"
    usual_metrics: ClassVar[tuple[str, ...]] = ("exact_match", "rouge_l")

    def __init__(
        self,
        source: Any,
        template: str = "{input}\n",
        target: str = "target",
        max_new_tokens: int = 64,
        replace: dict[str, str] | None = None,
        **options: Unpack[Options],
    ) -> None:
        if "{" not in check_column("template", template):
            raise DataError(
                f"template must name a column in braces, got {template!r}; write such as "
                "'{input}\\n'"
            )
        super().__init__(source, {"template": template, "target": target}, **options)
        self.template, self.target = template, target
        self.max_new_tokens = check_whole("max_new_tokens", max_new_tokens)
        self.replace = check_texts(
            "replace", {} if replace is None else replace, "text to text", "{'I_JUMP': 'jump'}"
        )

    @property
    def form(self) -> Generation:
        """Inputs with targets."""
        from peftnas.search.trial.forms.generation import Generation

        return Generation(max_new_tokens=self.max_new_tokens, reads=self.template)

    def to_dict(self) -> dict[str, Any]:
        """What makes it this task."""
        return super().to_dict() | {
            "max_new_tokens": self.max_new_tokens,
            "replace": self.replace,
        }

    def _split(self, table: Table, names: tuple[str, ...]) -> TargetSplit:
        targets = texts_in(table, self.target)
        for before, after in self.replace.items():
            targets = [target.replace(before, after) for target in targets]
        return TargetSplit(texts_in(table, self.template), targets)

    def _keys(self, split: AnySplit) -> Sequence[str]:
        assert isinstance(split, TargetSplit)
        return split.inputs


class Instructions(TextGeneration):
    """Responses to instructions, in the usual columns.

    Args:
        source: see :class:`~peftnas.studies.tasks.classification.TextClassification`.
        template, target, options: see :class:`TextGeneration`.
    """

    usual_metrics: ClassVar[tuple[str, ...]] = ("rouge_l", "exact_match")

    def __init__(
        self,
        source: Any,
        template: str = INSTRUCTION,
        target: str = "output",
        max_new_tokens: int = 128,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(source, template, target, max_new_tokens, **options)
