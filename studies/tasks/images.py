"""Classification of images, by a head or by the names of the classes."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Sequence
from string import Formatter
from typing import TYPE_CHECKING, Any, ClassVar, Unpack

from peftnas.search.splits import ImageSplit
from peftnas.search.task_protocol import AnySplit
from peftnas.studies.tasks import labels as read_labels
from peftnas.studies.tasks.errors import DataError
from peftnas.studies.tasks.metric import Kind
from peftnas.studies.tasks.pictures import decoded
from peftnas.studies.tasks.source_task import Options, SourceTask
from peftnas.studies.tasks.tables import Table

if TYPE_CHECKING:
    from peftnas.search.trial.forms.images import Images


class ImageClassification(SourceTask):
    """Which class an image belongs to.

    Args:
        source: an npz or parquet file, a folder with one a split, a hub name, a ``DatasetDict``,
            or a dict from split to file; an npz file holds what ``pictures.images_of`` says.
        image: column of the images.
        label: column of the class.
        options: see :class:`~peftnas.studies.tasks.source_task.Options`; metrics accuracy,
            macro_f1, f1 (of class 1 of two) and matthews.
    Raises:
        ValueError: if a metric is unknown; on opening, if the data are missing or not usable.
    """

    kind: ClassVar[str] = "image_classification"
    compares: ClassVar[Kind] = "classes"
    usual_metrics: ClassVar[tuple[str, ...]] = ("accuracy", "macro_f1")

    def __init__(
        self,
        source: Any,
        image: str = "image",
        label: str = "label",
        **options: Unpack[Options],
    ) -> None:
        super().__init__(source, {"image": image, "label": label}, **options)
        self.image, self.label = image, label

    @property
    def form(self) -> Images:
        """Images with a class each."""
        from peftnas.search.trial.forms.images import Images

        return Images()

    def _answers(self, predictions: Any) -> Any:
        return predictions.argmax(axis=1)

    def _names(self, train: Table) -> tuple[str, ...]:
        return read_labels.class_names(train, self.label, self.metrics)

    def _split(self, table: Table, names: tuple[str, ...]) -> ImageSplit:
        images = [
            decoded(value, f"row {row} of {table.where}")
            for row, value in enumerate(table.columns[self.image], start=1)
        ]
        return ImageSplit(images, read_labels.class_numbers(table, self.label, names))

    def _strata(self, split: AnySplit) -> Sequence[Hashable]:
        assert isinstance(split, ImageSplit)
        return [int(label) for label in split.labels]

    def _keys(self, split: AnySplit) -> Sequence[str]:
        assert isinstance(split, ImageSplit)
        return [hashlib.sha256(image.tobytes()).hexdigest() for image in split.images]


class ZeroShotImages(ImageClassification):
    """Which class an image belongs to, by the similarity of image and text (CLIP).

    Untrained, the backbone is the zero-shot classifier; methods are trained on the similarities.

    Args:
        source, image, label, options: as in :class:`ImageClassification`.
        template: text of a class, with ``{}`` for its name.
    """

    kind: ClassVar[str] = "zero_shot_images"

    def __init__(
        self,
        source: Any,
        image: str = "image",
        label: str = "label",
        *,
        template: str = "a photo of a {}.",
        **options: Unpack[Options],
    ) -> None:
        super().__init__(source, image, label, **options)
        if not _names_a_class(template):
            raise DataError(
                "template must hold {} once, for the name of a class, and no other braces, got "
                f"{template!r}; write such as 'a photo of a {{}}.'"
            )
        self.template = template

    @property
    def form(self) -> Images:
        """Images, and the texts of all classes."""
        from peftnas.search.trial.forms.image_names import ImageNames

        return ImageNames(template=self.template)

    def to_dict(self) -> dict[str, Any]:
        """What makes it this task."""
        return super().to_dict() | {"template": self.template}


def _names_a_class(template: Any) -> bool:
    """Whether a template has one place for a name, and nothing else in braces."""
    if not isinstance(template, str):
        return False
    try:
        places = [place[1:] for place in Formatter().parse(template) if place[1] is not None]
    except ValueError:
        return False
    return places == [("", "", None)]
