"""Tasks that a study can be about. A new kind of task is a class that fulfils ``search.Task``."""

from peftnas.studies.tasks.classification import TextClassification
from peftnas.studies.tasks.errors import DataError
from peftnas.studies.tasks.generation import Instructions, TextGeneration
from peftnas.studies.tasks.glue import glue
from peftnas.studies.tasks.language import LanguageModelling
from peftnas.studies.tasks.metrics import METRICS, Metric
from peftnas.studies.tasks.regression import TextRegression
from peftnas.studies.tasks.tagging import TokenTagging

__all__ = [
    "METRICS",
    "DataError",
    "Instructions",
    "LanguageModelling",
    "Metric",
    "TextClassification",
    "TextGeneration",
    "TextRegression",
    "TokenTagging",
    "glue",
]
