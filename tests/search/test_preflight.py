"""What a study is checked for before it runs, beyond what its parts check themselves."""

from dataclasses import replace

import numpy as np
import pytest

from peftnas.search.preflight import data_identity
from peftnas.search.task_protocol import Split, TaskData

TRAIN = Split(["a", "b"], None, np.array([0, 1]))
DATA = TaskData(TRAIN, Split(["c"], None, np.array([1])), ("no", "yes"), 2)


def test_equal_data_is_one_data() -> None:
    again = TaskData(
        Split(["a", "b"], None, np.array([0, 1])), DATA.validation, ("no", "yes"), 2, {"rows": 3}
    )
    assert data_identity(again) == data_identity(DATA)
    assert data_identity(DATA)["train_rows"] == 2


@pytest.mark.parametrize(
    "train",
    [
        Split(["a", "B"], None, np.array([0, 1])),
        Split(["a", "b"], None, np.array([1, 0])),
        Split(["a"], None, np.array([0])),
        Split(["a", "b"], ["x", "y"], np.array([0, 1])),
        Split(["ab", ""], None, np.array([0, 1])),
    ],
)
def test_any_change_of_rows_is_other_data(train: Split) -> None:
    assert data_identity(replace(DATA, train=train)) != data_identity(DATA)
