"""The quickstart's task: the same for one Python, no text in two splits, nothing imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from peftnas.studies.tasks import DataError
from peftnas.studies.tasks.stdlib_docstrings import PACKAGES, StdlibDocstrings

NOWHERE = Path("/nowhere")


def test_splits_are_disjoint_and_in_proportion() -> None:
    task = StdlibDocstrings()
    data = task.open(None, NOWHERE, 0)
    test = task.test(None, NOWHERE, 0)
    splits = [data.train, data.validation, test]
    sizes = np.array([len(split) for split in splits])
    assert sizes.sum() > 2000
    np.testing.assert_allclose(sizes / sizes.sum(), [0.6, 0.2, 0.2], atol=0.01)
    texts = [text.casefold() for split in splits for text in split.texts]
    assert len(texts) == len(set(texts))
    for split in splits:
        assert set(split.labels.tolist()) == set(range(len(PACKAGES)))
    assert data.label_names == tuple(PACKAGES) and data.n_outputs == 12


def test_same_in_another_process_that_imports_none_of_the_packages() -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from peftnas.studies.tasks.stdlib_docstrings import StdlibDocstrings\n"
        "train = StdlibDocstrings().open(None, Path('/'), 3).train\n"
        "print('turtle' in sys.modules, 'mailbox' in sys.modules)\n"
        "print(*map(ascii, train.texts), train.labels.sum(), sep='\\n')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imported, *lines = done.stdout.splitlines()
    train = StdlibDocstrings().open(None, NOWHERE, 0).train
    assert imported == "False False"
    assert lines == [*map(ascii, train.texts), str(train.labels.sum())]


def test_a_python_without_its_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="must lie as source files.*asyncio has no docstring"):
        StdlibDocstrings(tmp_path).open(None, NOWHERE, 0)
