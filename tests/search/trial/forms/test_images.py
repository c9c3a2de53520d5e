"""Images as a backbone reads them, compared with the image processors of transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from transformers import CLIPImageProcessorPil, ViTConfig, ViTImageProcessorPil

from peftnas.search.splits import ImageSplit
from peftnas.search.trial.forms.images import image_rows

SIZE = 16
RANDOM = np.random.default_rng(0)
CLIP: dict[str, Any] = {
    "size": {"shortest_edge": 20},
    "crop_size": {"height": SIZE, "width": SIZE},
    "resample": 3,
}
VIT: dict[str, Any] = {"size": {"height": SIZE, "width": SIZE}, "resample": 2}


def smooth(height: int, width: int) -> np.ndarray:
    small = RANDOM.integers(0, 256, (4, 5, 3)).astype(np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


@pytest.mark.parametrize("shape", [(40, 30), (25, 61), (SIZE, SIZE), (20, 20)])
@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (CLIPImageProcessorPil, CLIP),
        (CLIPImageProcessorPil, CLIP | {"size": {"shortest_edge": SIZE}}),
        (CLIPImageProcessorPil, CLIP | {"rescale_factor": 1 / 127.5}),
        (ViTImageProcessorPil, VIT),
        (ViTImageProcessorPil, VIT | {"do_normalize": False}),
        (ViTImageProcessorPil, VIT | {"do_rescale": False}),
    ],
)
def test_pixels_are_those_of_the_processor(
    kind: Any, said: dict[str, Any], shape: tuple[int, int], tmp_path: Path
) -> None:
    processor = kind(**said)
    processor.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "preprocessor_config.json").read_text())
    assert saved["resample"] == said["resample"]
    image = smooth(*shape)
    expected = processor(Image.fromarray(image), return_tensors="np")["pixel_values"]
    split = ImageSplit([image], np.array([0]))
    rows = image_rows(split, tmp_path, ViTConfig(image_size=SIZE, patch_size=4))
    found = rows.batch(np.array([0])).pixels.numpy()
    # one step of uint8, since resizing rounds
    step = 1.01 * np.abs(expected).max() / 100
    np.testing.assert_allclose(found, expected, atol=step)
