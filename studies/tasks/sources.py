"""Where the rows of a task come from: a file, a folder of splits, the hub, a DatasetDict."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from peftnas.studies.tasks.arguments import check_texts
from peftnas.studies.tasks.errors import DataError
from peftnas.studies.tasks.hub_datasets import open_hub
from peftnas.studies.tasks.tables import READERS, Table, from_dataset, read_table

# the names under which each split is found, in order of preference
SPLIT_NAMES = {
    "train": ("train", "training"),
    "validation": ("validation", "dev", "valid", "val"),
    "test": ("test",),
}


class Source:
    """Named splits, each read when it is asked for.

    Args:
        origin: a file, a folder with one file a split, a hub name, a ``DatasetDict``, or a dict
            from split name to file.
        config: configuration of a hub data set.
        splits: split names that replace the usual ones, such as
            ``{"validation": "validation_matched"}``.
    Raises:
        DataError: if there can be no such source, or ``splits`` names no split.
    """

    def __init__(
        self, origin: Any, config: str | None = None, splits: Mapping[str, str] | None = None
    ) -> None:
        if isinstance(origin, Path):
            origin = str(origin)
        if isinstance(origin, str) and not origin.strip():
            raise DataError(
                "source must name a file, a folder or a hub data set, got ''; name one"
            )
        if not isinstance(origin, str | Mapping):
            raise DataError(
                "source must be a file, a folder, a hub name, a DatasetDict or a dict of files, "
                f"got {type(origin).__name__}; a single Dataset goes into {{'train': dataset}}"
            )
        self.origin: Any = origin
        self.config = config
        given = _named(splits)
        self.names = {
            split: (given.get(split, ""), *usual) for split, usual in SPLIT_NAMES.items()
        }
        if isinstance(origin, Mapping) and self._name_among(origin, "train") is None:
            raise DataError(
                f"source must have a split 'train', got {', '.join(map(repr, origin))}; add it"
            )

    @property
    def name(self) -> str:
        """A short name for the task."""
        if isinstance(self.origin, Mapping):
            return "data"
        path = Path(self.origin)
        name = path.stem if _is_file_name(self.origin) else path.name
        return f"{name}-{self.config}" if self.config else name

    def to_dict(self) -> dict[str, Any]:
        """What identifies the source: its name without the folders of this machine."""
        if isinstance(self.origin, Mapping):
            return {"splits": self._identities}
        return {"name": _portable(self.origin), "config": self.config}

    @cached_property
    def _identities(self) -> dict[str, str]:
        return {str(key): _identity(value) for key, value in self.origin.items()}

    def find(self, data: Path | None, base: Path) -> dict[str, Any]:
        """What each split will be read from, by ``train``, ``validation``, ``test``.

        Args:
            data: folder given with ``--data``, looked into first.
            base: folder of the study's FILE, looked into next.
        Raises:
            DataError: if the source does not exist or has no training split.
        """
        if isinstance(self.origin, Mapping):
            found: Mapping[str, Any] = {
                key: _locate(value, data, base) if isinstance(value, str | Path) else value
                for key, value in self.origin.items()
            }
        elif _looks_local(self.origin) or _exists(self.origin, data, base):
            path = _locate(self.origin, data, base)
            found = _files_of(path) if path.is_dir() else {"train": path}
        else:
            found = open_hub(self.origin, self.config)
        for split, (wanted, *_) in self.names.items():
            if wanted and wanted not in found:
                raise DataError(
                    f"splits must name splits of {self.origin!r}, got {wanted!r} for {split}; "
                    f"there are {', '.join(map(repr, found))}"
                )
        named = {split: self._name_among(found, split) for split in SPLIT_NAMES}
        if named["train"] is None:
            raise DataError(
                f"{self.origin!r} must have a training split named train, got "
                f"{', '.join(map(repr, found)) or 'no data file'}; name one of them train, or "
                "say which is with splits={'train': NAME}"
            )
        return {split: found[name] for split, name in named.items() if name is not None}

    def _name_among(self, found: Mapping[str, Any], split: str) -> str | None:
        return next((name for name in self.names[split] if name in found), None)


def _named(splits: Any) -> dict[str, str]:
    """Names of splits as they were passed, checked."""
    found = check_texts(
        "splits",
        {} if splits is None else splits,
        "split to the name it has here",
        "{'validation': 'validation_matched'}",
    )
    for split in found:
        if split not in SPLIT_NAMES:
            raise DataError(
                f"splits must have the keys {', '.join(SPLIT_NAMES)}, got {split!r}; the name it "
                "has in the source is the value"
            )
    return found


def read(part: Any, split: str) -> Table:
    """The rows of one split as :meth:`Source.find` gave it: a file or a ``datasets.Dataset``."""
    if isinstance(part, Path):
        return read_table(part)
    if not hasattr(part, "num_rows"):
        raise DataError(
            f"the {split} split must be a datasets.Dataset or a file, got {type(part).__name__}; "
            "load it whole (no streaming)"
        )
    table = from_dataset(part, f"the {split} split")
    if len(table) == 0:
        raise DataError(f"the {split} split must have at least one row, got none")
    return table


def _is_file_name(origin: str) -> bool:
    return Path(origin).suffix.lower() in READERS


def _looks_local(origin: str) -> bool:
    """Whether a name can only be a path; others are looked for here, then on the hub."""
    return (
        _is_file_name(origin)
        or origin.startswith((".", "/", "~"))
        or Path(origin).is_absolute()
        or origin.count("/") > 1
    )


def _candidates(origin: str | Path, data: Path | None, base: Path) -> list[Path]:
    path = Path(origin).expanduser()
    folders = [base] if data is None else [data, base]
    return [path] if path.is_absolute() else [folder / path for folder in folders]


def _exists(origin: str, data: Path | None, base: Path) -> bool:
    return any(path.exists() for path in _candidates(origin, data, base))


def _locate(origin: str | Path, data: Path | None, base: Path) -> Path:
    candidates = _candidates(origin, data, base)
    for path in candidates:
        if path.exists():
            return path
    looked = " nor ".join(map(str, candidates))
    raise DataError(
        f"data {str(origin)!r} must exist, found neither {looked}; "
        "give the folder it lies in with --data"
        if len(candidates) > 1
        else f"data {str(origin)!r} must exist, but there is no {looked}; "
        "correct the path, or give the folder it lies in with --data"
    )


def _files_of(folder: Path) -> dict[str, Path]:
    """Data files of a folder by stem; two files for one split are refused."""
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.suffix.lower() in READERS:
            if path.stem in files:
                raise DataError(
                    f"{folder} must have one file a split, got {files[path.stem].name} and "
                    f"{path.name}; remove one or name the file itself as the source"
                )
            files[path.stem] = path
    return files


def _portable(origin: str) -> str:
    return Path(origin).name if Path(origin).expanduser().is_absolute() else origin


def _identity(value: Any) -> str:
    """A file's name, or the hash of a data set's content."""
    if isinstance(value, str | Path):
        return _portable(str(value))
    digest = hashlib.sha256()
    for row in value:
        digest.update(json.dumps(row, sort_keys=True, default=_plain).encode())
    return f"sha256:{digest.hexdigest()[:16]}"


def _plain(value: Any) -> str:
    """An image by its pixels; anything else as it is written."""
    if hasattr(value, "tobytes"):
        return hashlib.sha256(value.tobytes()).hexdigest()
    return str(value)
