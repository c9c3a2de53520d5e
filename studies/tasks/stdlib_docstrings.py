"""A task that every Python brings along: which standard-library package is a docstring from?"""

from __future__ import annotations

import ast
import hashlib
import platform
import sysconfig
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from peftnas.search.task_protocol import Labels, Split, TaskData
from peftnas.studies.tasks import metrics as known_metrics
from peftnas.studies.tasks.errors import DataError

# Class -> file or folder of the standard library. All of them exist in Python 3.11 to 3.14, with
# many docstrings, and in distributions that ship tkinter and idlelib apart.
PACKAGES = {
    "asyncio": "asyncio",
    "decimal": "_pydecimal.py",
    "email": "email",
    "http": "http",
    "importlib": "importlib",
    "logging": "logging",
    "mailbox": "mailbox.py",
    "multiprocessing": "multiprocessing",
    "tarfile": "tarfile.py",
    "turtle": "turtle.py",
    "unittest": "unittest",
    "xml": "xml",
}
SHARES = {"test": 0.2, "validation": 0.2}


class StdlibDocstrings:
    """First paragraphs of the docstrings of functions and classes; the class is the package.

    Read from the source of the running Python, which is parsed and never imported, so the task is
    the same wherever this version of Python runs. A text that two packages share is left out.
    Some texts name their package; they are kept, as in any real data.
    60 % of each class is for training, 20 % for validation, 20 % for the test, chosen by hash.

    Args:
        folder: where the standard library lies; by default that of the running Python.
    """

    name = "stdlib-docstrings"
    metrics = ("accuracy", "macro_f1")

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder

    def to_dict(self) -> dict[str, Any]:
        """The packages, and the version of Python that their source belongs to."""
        return {
            "kind": "stdlib_docstrings",
            "packages": list(PACKAGES),
            "python": platform.python_version(),
            "metrics": list(self.metrics),
        }

    def open(self, data: Path | None, base: Path, seed: int) -> TaskData:
        """Train and validation examples; neither folder nor seed matter."""
        splits = self._splits()
        facts = {
            "source": f"standard library of Python {platform.python_version()}",
            "train_rows": len(splits["train"]),
            "validation_rows": len(splits["validation"]),
        }
        names = tuple(PACKAGES)
        return TaskData(splits["train"], splits["validation"], names, len(names), facts)

    def test(self, data: Path | None, base: Path, seed: int) -> Split:
        """The test examples."""
        return self._splits()["test"]

    def score(self, predictions: NDArray[np.float32], labels: Labels) -> dict[str, float]:
        """Every metric by name; its worst value when a prediction is not finite."""
        if not np.isfinite(predictions).all():
            return {name: known_metrics.METRICS[name].worst for name in self.metrics}
        return known_metrics.score(self.metrics, predictions.argmax(axis=1), labels)

    def _splits(self) -> dict[str, Split]:
        folder = self.folder or Path(sysconfig.get_path("stdlib"))
        rows: dict[str, list[tuple[str, int]]] = {"test": [], "validation": [], "train": []}
        for label, texts in enumerate(_texts_by_package(folder)):
            ranked = sorted(texts, key=_hash)
            start = 0
            for split in rows:
                end = start + round(SHARES[split] * len(ranked)) if split in SHARES else None
                rows[split] += [(text, label) for text in ranked[start:end]]
                start = end or 0
        return {split: _as_split(sorted(found, key=_row_hash)) for split, found in rows.items()}


@lru_cache(maxsize=2)
def _texts_by_package(folder: Path) -> tuple[tuple[str, ...], ...]:
    """Texts of each package, in the order of ``PACKAGES``; each text belongs to one package."""
    owners: dict[str, dict[int, str]] = defaultdict(dict)
    for label, place in enumerate(PACKAGES.values()):
        before = len(owners)
        for path in _files(folder / place):
            for text in _first_paragraphs(path):
                owners[text.casefold()].setdefault(label, text)
        if len(owners) == before:
            raise DataError(
                f"the standard library must lie as source files in {folder}, but {place} has no "
                "docstring there; use a Python that ships its source"
            )
    texts: list[list[str]] = [[] for _ in PACKAGES]
    for found in owners.values():
        if len(found) == 1:
            [(label, text)] = found.items()
            texts[label].append(text)
    return tuple(map(tuple, texts))


def _files(place: Path) -> list[Path]:
    if place.is_file():
        return [place]
    inside = place.rglob("*.py")
    return sorted(p for p in inside if not {"test", "tests"} & set(p.relative_to(place).parts))


def _first_paragraphs(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            docstring = (ast.get_docstring(node) or "").strip()
            paragraph = " ".join(docstring.split("\n\n")[0].split())
            if paragraph:
                yield paragraph


def _as_split(rows: Sequence[tuple[str, int]]) -> Split:
    return Split(
        [text for text, _ in rows], None, np.array([label for _, label in rows], dtype=np.int64)
    )


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _row_hash(row: tuple[str, int]) -> str:
    return _hash(row[0])
