"""One metric: what it is called, which way it is better, and its worst value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.generic]
# what a metric compares; see Metric.of
Kind = Literal["classes", "numbers", "tags", "likelihoods", "texts", "sets", "answers"]


@dataclass(frozen=True)
class Metric:
    """One number that compares predictions with labels.

    Attributes:
        name: the objective's name.
        direction: which way it is better.
        worst: the value of a useless prediction, told for predictions that are not finite.
        of: what it compares: ``classes`` are class ids (n,), ``numbers`` real numbers (n,),
            ``tags`` a list of names for each text, ``likelihoods`` negative log-likelihoods (n,)
            with the number of tokens of each (n,), ``texts`` one a row, ``sets`` 1 at the classes
            of each row (n, classes), ``answers`` one text with a list of texts that are right.
        compute: (predictions, labels) -> value.
    """

    name: str
    direction: Literal["maximize", "minimize"]
    worst: float
    of: Kind
    compute: Callable[[Any, Any], float]

    def __call__(self, predictions: Any, labels: Any) -> float:
        return float(self.compute(predictions, labels))
