"""The benchmarks run, and write what they say; how fast anything is, is not tested."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from peftnas.methods import describe
from peftnas.methods.testing.tiny import CONFIGS
from peftnas.spaces.space_checks import methods_in
from peftnas.studies.benchmarks import big_study, counting, peft_step_time, translation
from peftnas.studies.benchmarks.peft_step_time import PAIRS, bootstrap, ratio
from peftnas.studies.benchmarks.widest import widest_space


def test_counting_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "counting.json"
    sizes = ["--architectures", "3", "--repeats", "1", "--layers", "2"]
    found = counting.main([*sizes, "--out", str(out)])
    written = json.loads(out.read_text())
    assert written["results"] == found and written["versions"]["torch"] and written["date"]
    assert found["many"]["architectures"] == 3 and found["one"]["trainable"] > 0
    assert "draw and count" in capsys.readouterr().out


def test_translation_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "translation.json"
    found = translation.main(["--trials", "3", "--out", str(out)])
    assert json.loads(out.read_text())["results"] == found
    assert found["questions_mean"] > 3 and "Optuna alone" in capsys.readouterr().out


def test_big_study_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "big_study.json"
    sizes = ["--trials", "3", "--repeats", "1", "--with-optuna"]
    found = big_study.main([*sizes, "--out", str(out)])
    assert json.loads(out.read_text())["results"] == found
    assert {"open_results", "status", "front"} <= found["commands"].keys()
    assert all(one["peak_mb"] > 10 for one in found["commands"].values())
    assert "front and hypervolume" in capsys.readouterr().out


# peft asks transformers for a name that it has since given up
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
@pytest.mark.filterwarnings("ignore:Invalid `oft_block_size`")  # the tiny backbone is narrower
@pytest.mark.filterwarnings("ignore:Unsupported layer type")  # of its own LNTuning
def test_step_times_run(
    workplace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "steps.json"
    sizes = ["--repeats", "2", "--steps", "1", "--sequences", "2", "--length", "6"]
    found = peft_step_time.main(
        [*sizes, "--backbone", str(workplace / "backbone"), "--out", str(out)]
    )
    assert [one["name"] for one in found] == [pair.name for pair in PAIRS]
    printed = capsys.readouterr().out
    for one in found:
        assert one["ratio_low"] <= one["ratio_high"] and one["trainable"] > 0
        assert f"\n{one['name']} " in printed
    assert json.loads(out.read_text())["results"]["pairs"] == found


def test_interval_holds_a_known_ratio() -> None:
    generator = np.random.default_rng(1)
    theirs = generator.uniform(1.0, 1.1, size=(6, 20))
    times = np.stack([2 * theirs * generator.uniform(0.95, 1.05, size=(6, 20)), theirs])
    low, high = bootstrap(times)
    assert low <= 2 <= high and 1.9 < low < ratio(times) < high < 2.1


@pytest.mark.parametrize("name", ["bert", "t5", "mamba"])
def test_widest_space_is_wide_and_can_be_drawn(name: str) -> None:
    anatomy = describe(CONFIGS[name]())
    space = widest_space(anatomy)
    bound = space.bind(anatomy)
    kinds = {method.kind for item in space.items for method in methods_in(item)}
    assert {"lora", "prompt", "full", "reft"} <= kinds
    assert len({bound.train_key(bound.sample(seed)) for seed in range(20)}) > 10
    paths = [dimension.path for dimension in bound.dimensions()]
    assert f"layers[{anatomy.n_layers - 1}].lora.rank" in paths
