"""Tasks that a study can be about. A new kind of task is a class that fulfils ``search.Task``."""

from peftnas.studies.tasks.classification import TextClassification
from peftnas.studies.tasks.errors import DataError
from peftnas.studies.tasks.generation import Instructions, TextGeneration
from peftnas.studies.tasks.glue import glue
from peftnas.studies.tasks.images import ImageClassification, ZeroShotImages
from peftnas.studies.tasks.language import LanguageModelling
from peftnas.studies.tasks.metrics import METRICS, Metric
from peftnas.studies.tasks.multi_label import MultiLabelClassification
from peftnas.studies.tasks.multiple_choice import MultipleChoice
from peftnas.studies.tasks.question_answering import QuestionAnswering
from peftnas.studies.tasks.regression import TextRegression
from peftnas.studies.tasks.superglue import superglue
from peftnas.studies.tasks.tagging import TokenTagging
from peftnas.studies.tasks.vtab import vtab

__all__ = [
    "METRICS",
    "DataError",
    "ImageClassification",
    "Instructions",
    "LanguageModelling",
    "Metric",
    "MultiLabelClassification",
    "MultipleChoice",
    "QuestionAnswering",
    "TextClassification",
    "TextGeneration",
    "TextRegression",
    "TokenTagging",
    "ZeroShotImages",
    "glue",
    "superglue",
    "vtab",
]
