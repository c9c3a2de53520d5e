"""Classification of images, by a head and by the names of classes: two trials each."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, DatasetDict, Features
from datasets import Image as ImageFeature
from PIL import Image
from sklearn.metrics import accuracy_score, f1_score

from peftnas.methods import VPT
from peftnas.studies.export import export, load_exported
from peftnas.studies.tasks import DataError, ImageClassification, ZeroShotImages, vtab
from peftnas.studies.tasks.vtab import VTAB
from tests.studies.tasks.conftest import Ran

TwoTrials = Callable[..., Ran]


def drawn(seed: int, count: int, size: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Noise that is brighter on the left or on the right."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    images = random.integers(0, 120, (count, size, size, 3))
    for image, label in zip(images, labels, strict=True):
        half = slice(0, size // 2) if label else slice(size // 2, size)
        image[:, half] += 120
    return images.astype(np.uint8), labels


def write_arrays(folder: Path) -> None:
    folder.mkdir()
    for seed, (split, count) in enumerate((("train", 40), ("dev", 16), ("test", 16))):
        images, labels = drawn(seed, count)
        np.savez(folder / f"{split}.npz", x=images, y=labels, classes=np.array(["a", "b"]))


def write_encoded(folder: Path, count: int = 20) -> None:
    folder.mkdir()
    images, labels = drawn(0, count, size=12)
    files = []
    for image in images:
        file = io.BytesIO()
        Image.fromarray(image).save(file, "PNG")
        files.append(file.getvalue())
    offsets = np.cumsum([0, *map(len, files)])
    data = np.frombuffer(b"".join(files), dtype=np.uint8)
    np.savez(folder / "train.npz", data=data, offsets=offsets, labels=labels)


@pytest.mark.parametrize("pooling", ["mean", "native"])
def test_a_head_on_a_vit(two_trials: TwoTrials, tmp_path: Path, pooling: str) -> None:
    write_arrays(tmp_path / "t")
    ran = two_trials("vit", ImageClassification("t"), VPT(length=2), pooling=pooling, steps=200)
    for metrics, (predictions, labels) in zip(ran.metrics, ran.found, strict=True):
        best = predictions.argmax(1)
        assert metrics["accuracy"] == accuracy_score(labels, best)
        assert metrics["macro_f1"] == pytest.approx(f1_score(labels, best, average="macro"))
    assert max(metrics["accuracy"] for metrics in ran.metrics) > 0.8
    images, _ = drawn(7, 3)
    with ran.trained() as trained:
        export(trained, "two", tmp_path / "e")
        with trained.answerer() as answerer:
            expected = answerer(list(images))
            hidden = answerer.classifier.base(
                torch.tensor((images / 255 - 0.5) / 0.25).permute(0, 3, 1, 2).float()
            ).last_hidden_state
            real = answerer.classifier.attached.real(hidden)
            pooled = real[:, 0] if pooling == "native" else real.mean(1)
            head = answerer.classifier.head.score
            np.testing.assert_allclose(head(pooled).detach(), expected, atol=1e-4)
    np.testing.assert_allclose(load_exported(tmp_path / "e")(list(images)), expected, atol=1e-5)


def test_encoded_images_of_another_size(tmp_path: Path, two_trials: TwoTrials) -> None:
    write_encoded(tmp_path / "t")
    data = ImageClassification("t").open(tmp_path, tmp_path, 0)
    assert data.label_names == ("0", "1") and len(data.train) + len(data.validation) < 20
    assert data.train.images[0].shape == (12, 12, 3)
    ran = two_trials("vit", ImageClassification("t"))
    assert ran.bench.examples(48).train.pixels.shape[1:] == (8, 8, 3)


def test_images_of_a_data_set(tmp_path: Path) -> None:
    images, labels = drawn(0, 20)
    features = Features({"image": ImageFeature(), "label": ClassLabel(names=["a", "b"])})
    rows = {"image": [Image.fromarray(one) for one in images], "label": labels}
    parts = DatasetDict(train=Dataset.from_dict(rows, features=features))
    first, again = ImageClassification(parts), ImageClassification(parts)
    assert first.to_dict() == again.to_dict()
    data = first.open(None, tmp_path, 0)
    assert data.label_names == ("a", "b")
    assert any(np.array_equal(data.train.images[0], image) for image in images)


def test_zero_shot(
    two_trials: TwoTrials, tmp_path: Path, backbone_named: Callable[[str], Any]
) -> None:
    write_arrays(tmp_path / "t")
    task = ZeroShotImages("t", template="is {} ?")
    ran = two_trials("clip", task, steps=10)
    for metrics, (predictions, labels) in zip(ran.metrics, ran.found, strict=True):
        assert metrics["accuracy"] == accuracy_score(labels, predictions.argmax(1))
    images, _ = drawn(7, 3)
    with ran.trained() as trained:
        export(trained, "two", tmp_path / "e")
        with trained.answerer() as answerer:
            expected = answerer(list(images))
            texts = answerer.tokenizer(["is a ?", "is b ?"], return_tensors="pt")
            pixels = torch.tensor((images / 255 - 0.5) / 0.25).permute(0, 3, 1, 2).float()
            with torch.no_grad():
                whole = answerer.classifier.base(**texts, pixel_values=pixels)
            np.testing.assert_allclose(whole.logits_per_image, expected, atol=1e-4)
    np.testing.assert_allclose(load_exported(tmp_path / "e")(list(images)), expected, atol=1e-4)
    assert ran.results.trial(0).metrics  # the head has nothing to train
    assert task.to_dict()["template"] == "is {} ?"


def test_a_backbone_of_another_kind_is_refused(two_trials: TwoTrials, tmp_path: Path) -> None:
    write_arrays(tmp_path / "t")
    for name, task, words in (
        ("bert", ImageClassification("t"), "one stack over patches"),
        ("vit", ZeroShotImages("t"), "a tower for texts and one for images"),
    ):
        with pytest.raises(ValueError, match=words):
            two_trials(name, task)


def test_files_that_hold_no_images(tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    np.savez(tmp_path / "t/train.npz", pixels=np.zeros(3))
    with pytest.raises(DataError, match="must hold data and offsets, or x"):
        ImageClassification("t").open(tmp_path, tmp_path, 0)


def test_vtab_tasks_by_name() -> None:
    assert len(VTAB) == 19
    assert all(vtab(name).metrics == ("accuracy",) for name in VTAB)
    with pytest.raises(DataError, match="caltech101"):
        vtab("imagenet")


def test_a_vit_pretrained_by_our_script(tmp_path: Path) -> None:
    """One step of it is enough to see that what it saves is a backbone for images."""
    from peftnas.search.backbone import Backbone
    from peftnas.search.trial.forms.form import Reader, form_of
    from peftnas.studies.benchmarks.small_vit import main

    write_arrays(tmp_path / "t")
    sizes = ["--width", "32", "--layers", "1", "--minutes", "0"]
    main(["--images", str(tmp_path / "t/train.npz"), "--to", str(tmp_path / "vit"), *sizes])
    backbone, task = Backbone(tmp_path / "vit"), ImageClassification("t")
    form_of(task).check_backbone("vit", backbone.anatomy())
    data = task.open(tmp_path, tmp_path, 0)
    rows = form_of(task).rows(data.train, Reader.of(backbone), 0, data.label_names)
    assert rows.mean == (0.5,) * 3 and rows.std == (0.25,) * 3  # type: ignore[attr-defined]
    assert rows.lengths[0] == 65
