"""Images in files and data sets, decoded to arrays."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from peftnas.studies.tasks.errors import DataError


def images_of(path: Path) -> tuple[list[Any], list[int], tuple[str, ...]]:
    """The images, class numbers and class names of an npz file.

    It holds either ``data`` (encoded images, one behind the other, uint8) and ``offsets`` (n + 1),
    or ``x`` (n, height, width) or (n, height, width, 3) of uint8; ``labels`` or ``y`` (n,); and it
    may hold ``classes``, their names.

    Raises:
        DataError: if it does not.
    """
    with np.load(path, allow_pickle=False) as file:
        held = {name: file[name] for name in file.files}
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
    number = int(labels.max()) + 1 if len(labels) else 0
    names = held.get("classes", np.arange(number))
    return images, [int(label) for label in labels], tuple(str(name) for name in names.tolist())


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
        elif isinstance(value, np.ndarray) and value.dtype == np.uint8:
            value = Image.fromarray(value)
        if isinstance(value, Image.Image):
            return np.asarray(value.convert("RGB"))
    except (OSError, UnidentifiedImageError, TypeError) as error:
        raise DataError(f"{where} must hold an image, but {error}; drop that row") from error
    raise DataError(
        f"{where} must hold an image, got {type(value).__name__}; name the column of the images"
    )
