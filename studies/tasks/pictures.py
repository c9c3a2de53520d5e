"""Images in files and data sets, decoded to arrays."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from peftnas.studies.tasks.errors import DataError


def images_of(path: Path) -> tuple[list[Any], list[Any], tuple[str, ...] | None]:
    """The images and labels of an npz file; where labels are numbers, the names of the classes.

    It holds either ``data`` (encoded images, one behind the other, uint8) and ``offsets`` (n + 1),
    or ``x`` (n, height, width) or (n, height, width, 3) of uint8; ``labels`` or ``y`` (n,), whole
    numbers or names; with numbers it may hold ``classes``, their names.

    Raises:
        DataError: if it does not.
    """
    held = _arrays_of(path)
    labels = held.get("labels", held.get("y"))
    if labels is None or not ({"data", "offsets"} <= set(held) or "x" in held):
        raise DataError(
            f"{path} must hold data and offsets, or x, and labels or y, got "
            f"{', '.join(held) or 'nothing'}; save the images under these names"
        )
    if "x" in held:
        images: list[Any] = list(held["x"])
    else:
        content, cuts = held["data"].tobytes(), held["offsets"].tolist()
        images = [content[a:b] for a, b in zip(cuts[:-1], cuts[1:], strict=True)]
    _check_labels(path, labels, len(images))
    if labels.dtype.kind == "U":
        return images, labels.tolist(), None
    number = int(labels.max()) + 1 if len(labels) else 0
    names = held.get("classes", np.arange(number))
    return images, labels.tolist(), tuple(str(name) for name in names.tolist())


def _arrays_of(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of an npz file by name."""
    try:
        with zipfile.ZipFile(path):  # np.load takes what is no zip for a pickle
            pass
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{path} must be an npz file, got one that cannot be read ({error}); "
            "write it with numpy.savez"
        ) from error
    with np.load(path, allow_pickle=False) as file:
        try:
            return {name: file[name] for name in file.files}
        except ValueError as error:
            raise DataError(
                f"{path} must hold arrays without Python objects, got one with them; save uint8 "
                "images of one size, or encoded ones as data and offsets"
            ) from error


def _check_labels(path: Path, labels: NDArray[Any], images: int) -> None:
    if labels.ndim != 1:
        raise DataError(
            f"labels of {path} must have one axis, got shape {labels.shape}; flatten them"
        )
    if labels.dtype.kind not in "iuU":
        raise DataError(
            f"labels of {path} must be whole numbers or names, got {labels.dtype}; convert them"
        )
    if len(labels) != images:
        raise DataError(
            f"{path} must hold a label for each image, got {images} images and {len(labels)} "
            "labels (n images in data have n + 1 offsets); save both together"
        )


def decoded(value: Any, where: str) -> NDArray[np.uint8]:
    """An image as (height, width, 3) uint8.

    Args:
        value: an array, an image of Pillow, encoded bytes, or a dict with ``bytes`` as data sets
            hold them.
        where: row and file, for the message.
    Raises:
        DataError: if it is none of these.
    """
    from PIL import Image, UnidentifiedImageError

    if isinstance(value, dict) and value.get("bytes"):
        value = value["bytes"]
    try:
        if isinstance(value, bytes):
            value = Image.open(io.BytesIO(value))
        elif isinstance(value, np.ndarray):
            value = Image.fromarray(_checked(value, where))
        if isinstance(value, Image.Image):
            return np.asarray(value.convert("RGB"))
    except (OSError, UnidentifiedImageError, TypeError) as error:
        raise DataError(f"{where} must hold an image, got {error}; drop that row") from error
    raise DataError(
        f"{where} must hold an image, got {value!r:.60}; name the column of the images, or put "
        "the encoded files themselves into an npz or parquet file"
    )


def _checked(value: NDArray[Any], where: str) -> NDArray[np.uint8]:
    if value.dtype != np.uint8:
        raise DataError(
            f"{where} must hold an image of uint8, got {value.dtype}; scale it to 0 .. 255"
        )
    if value.ndim != 2 and not (value.ndim == 3 and value.shape[2] in (3, 4)):
        raise DataError(
            f"{where} must hold an image of (height, width) or (height, width, 3), got "
            f"{value.shape}; transpose it"
        )
    return value
