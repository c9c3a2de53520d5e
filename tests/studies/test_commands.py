"""The commands on a study that was run in this process: what they print, and in what form."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from peftnas.search.errors import UsageError
from peftnas.search.inline_pool import InlinePool, in_this_process
from peftnas.search.preflight import Prepared
from peftnas.studies.cli import main

TRIALS = 3


def inline_pool(prepared: Prepared, *_: object, **__: object) -> InlinePool:
    return in_this_process(prepared)


@pytest.fixture(scope="module")
def finished(workplace: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """The arguments that name a study with three finished trials."""
    out = tmp_path_factory.mktemp("runs") / "tiny"
    named = (str(workplace / "study.py"), "--out", str(out), "--data", str(workplace / "data"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("peftnas.search.runner._ray", inline_pool)
        assert main(["run", *named, "--trials", str(TRIALS), "--workers", "1"]) == 0
    return named


Ask = Callable[..., Any]


@pytest.fixture
def ask(finished: tuple[str, ...], capfd: pytest.CaptureFixture[str]) -> Ask:
    """Runs a command with ``--json``; what it printed, which must be JSON and nothing else."""

    def run(command: str, *arguments: str) -> Any:
        capfd.readouterr()
        assert main([command, *finished, "--json", *arguments]) == 0
        return json.loads(capfd.readouterr().out)

    return run


def test_run_again_keeps_every_trial(
    finished: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, ask: Ask
) -> None:
    monkeypatch.setattr("peftnas.search.runner._ray", inline_pool)
    summary = ask("run", "--trials", str(TRIALS), "--workers", "1")
    assert (summary["kept"], summary["trained"]) == (TRIALS, 0)
    assert Path(summary["report"]).is_file() and summary["front"]


def test_another_study_of_the_same_name_is_refused(
    finished: tuple[str, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    for change in (["--seed", "3"], ["--set", "recipe.steps=7"]):
        assert main(["run", *finished, *change]) == 2
        printed = capfd.readouterr()
        assert "stored with other content" in printed.err and printed.out == ""


def test_status(ask: Ask) -> None:
    status = ask("status")
    assert status["trials"]["complete"] == TRIALS
    assert 0 < status["hypervolume"] <= 1
    assert {row["baseline"] for row in status["baselines"]} >= {"head only", "BitFit"}


def test_front(ask: Ask, finished: tuple[str, ...], capfd: pytest.CaptureFixture[str]) -> None:
    front = ask("front")["front"]
    values = [row["values"]["trainable_parameters"] for row in front]
    assert values == sorted(values) and len(set(values)) == len(values)
    assert main(["front", *finished]) == 0
    printed = capfd.readouterr().out
    for row in front:
        assert f"{row['trial']} " in printed
        assert row["words"].split()[0] in printed


def test_the_front_leaves_room_for_the_architecture(
    finished: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    ask: Ask,
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["front", *finished]) == 0
    printed = capfd.readouterr().out
    assert max(map(len, printed.splitlines())) <= 80
    assert "train step" not in printed and "train memory" not in printed
    for row in ask("front")["front"]:
        assert row["words"] in printed and row["costs"]["train_step_s"] > 0
    assert main(["front", *finished, "--costs"]) == 0
    printed = capfd.readouterr().out
    assert "memory" in printed and re.search(r"step +architecture", printed)


def test_the_front_shows_bounded_costs(
    finished: tuple[str, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    from peftnas.search.results import open_results
    from peftnas.studies.cli.status_front_report import print_front

    results = open_results(f"sqlite:///{finished[2]}/study.db", "tiny")
    content = results.content | {"constraints": ["train_step_s <= 50s"]}
    print_front(dataclasses.replace(results, content=content))
    printed = capfd.readouterr().out
    assert "memory" not in printed and re.search(r"step +architecture", printed)


def test_report(ask: Ask, tmp_path: Path) -> None:
    path = Path(ask("report", "--to", str(tmp_path / "r.html"))["report"])
    assert path == tmp_path / "r.html" and "<html" in path.read_text()[:500].lower()


def test_space(ask: Ask) -> None:
    space = ask("space")
    assert space["size"] == {"low": 10, "high": 10, "exact": True, "words": "10"}
    assert len(space["samples"]) == 10 and space["max_parameters"] == 800
    assert all(sample["trainable_parameters"] <= 800 for sample in space["samples"])
    assert list(space["recipe_domains"]) == ["recipe.learning_rate"]


def test_evaluate_is_recorded(ask: Ask) -> None:
    number = ask("front")["front"][-1]["trial"]
    before = len(ask("status")["test_looks"])
    found = ask("evaluate", "--trial", str(number))
    assert found["test_rows"] == 24 and set(found["test"]) == {"accuracy", "macro_f1"}
    [*_, look] = looks = ask("status")["test_looks"]
    assert len(looks) == before + 1
    assert look["trial"] == number and look["scores"] == found["test"] and look["when"]


def test_a_trial_that_is_not_there(
    finished: tuple[str, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", *finished, "--trial", "99"]) == 2
    assert "has trials 0 to" in capfd.readouterr().err


def test_a_changed_file_cannot_export(
    finished: tuple[str, ...], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--trial", "0", "--to", str(tmp_path / "e"), "--set", "recipe.steps=9"]
    assert main(["export", *finished, *arguments]) == 2
    assert "recipe.steps: stored 6, now 9" in capfd.readouterr().err


def test_export_gives_the_logits_of_the_trial(
    ask: Ask, finished: tuple[str, ...], workplace: Path, tmp_path: Path
) -> None:
    number = ask("front")["front"][-1]["trial"]
    texts = ["the good film was great", "bad", "sad day was the poor book a a a a"]
    kept = Path(finished[2]) / "checkpoints" / str(number)
    expected = logits_of_trial(workplace, kept, texts)
    exported = ask("export", "--trial", str(number), "--to", str(tmp_path / "e"))
    assert exported["note"] == ""
    assert exported["load"] in (tmp_path / "e/README.md").read_text()
    names = {path.name for path in (tmp_path / "e").iterdir()}
    assert names >= {"adapter.safetensors", "architecture.json", "head.safetensors", "tokenizer"}
    code = (
        f"{exported['load']}\n"
        f"texts = {texts!r}\n"
        "import json\n"
        "alone = [classify([text])[0].tolist() for text in texts]\n"
        "print(json.dumps([classify(texts).tolist(), alone, classify.labels(texts)]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    together, alone, labels = json.loads(done.stdout.splitlines()[-1])
    np.testing.assert_allclose(together, expected, atol=1e-5, rtol=0)
    np.testing.assert_allclose(alone, expected, atol=1e-5, rtol=0)
    assert labels == [("neg", "pos")[best] for best in expected.argmax(axis=1)]


def test_export_in_the_formats_of_other_libraries(ask: Ask, tmp_path: Path) -> None:
    pytest.importorskip("peft")
    rows = ask("front")["front"]
    # HF peft holds one method
    number, *_ = [
        str(row["trial"])
        for row in rows
        if row["words"].startswith(("lora", "ia3")) and " + " not in row["words"]
    ]
    written = {}
    for form, file in (("peft", "adapter_config.json"), ("merged", "model.safetensors")):
        folder = tmp_path / form
        written[form] = ask("export", "--trial", number, "--to", str(folder), "--format", form)
        assert (folder / file).is_file() and written[form]["format"] == form
        assert written[form]["load"] in (folder / "README.md").read_text()
    code = "\nprint(logits.tolist())\n".join(
        [written["peft"]["load"], written["merged"]["load"], ""]
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True
    )
    of_peft, of_merged = (json.loads(line) for line in done.stdout.splitlines()[-2:])
    np.testing.assert_allclose(of_peft, of_merged, atol=1e-5, rtol=0)


def test_a_format_that_cannot_hold_a_trial_is_refused_before_it_is_trained_again(
    study_file: Callable[..., str],
    workplace: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    file = study_file(
        ("Maybe(LoRA(rank=Integer(1, 4))), Maybe(IA3())", "LoRA(rank=1), IA3(), Prompt(length=2)"),
        ("import IA3, LoRA", "import IA3, LoRA, Prompt"),
    )
    out = tmp_path / "runs"
    named = (file, "--out", str(out), "--data", str(workplace / "data"))
    monkeypatch.setattr("peftnas.search.runner._ray", inline_pool)
    assert main(["run", *named, "--trials", "1", "--workers", "1"]) == 0
    shutil.rmtree(out / "checkpoints")
    for form, why in (("peft", "cannot go into one HF peft adapter"), ("merged", "prompt at")):
        capfd.readouterr()
        arguments = ["--trial", "0", "--to", str(tmp_path / "e"), "--format", form]
        assert main(["export", *named, *arguments]) == 2
        said = capfd.readouterr().err
        assert f"--format {form}: " in said and why in said.replace("\n", " ")
        assert "trained again" not in said and not (tmp_path / "e").exists()


def test_a_trial_whose_checkpoint_is_gone_is_trained_again(
    ask: Ask, finished: tuple[str, ...], tmp_path: Path
) -> None:
    number = ask("front")["front"][-1]["trial"]
    kept = Path(finished[2]) / "checkpoints" / str(number)
    away = shutil.move(kept, tmp_path / "away")
    try:
        exported = ask("export", "--trial", str(number), "--to", str(tmp_path / "e"))
    finally:
        shutil.move(away, kept)
    assert "trained again from its seed" in exported["note"]
    assert "with the same learning curve" in exported["note"]
    for name in ("head.safetensors", "adapter.safetensors"):
        [before] = kept.rglob(name)
        assert (tmp_path / "e" / name).read_bytes() == before.read_bytes()


def logits_of_trial(workplace: Path, folder: Path, texts: list[str]) -> np.ndarray[Any, Any]:
    """What the trial's own checkpoint answers, on the backbone as trials load it."""
    from peftnas.search.backbone import Backbone
    from peftnas.search.task_protocol import Split
    from peftnas.search.trial.artifact import load_artifact
    from peftnas.search.trial.batches import tokenise

    backbone = Backbone(workplace / "backbone")
    classifier = load_artifact(folder, backbone.load())
    split = Split(texts, None, np.zeros(len(texts), dtype=np.int64))
    tokens = tokenise(split, backbone.tokenizer(), 16, pad=backbone.pad_id(), types=True)
    return classifier.predict(tokens)


def test_methods_and_doctor_print_json(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["methods", "--json"]) == 0
    methods = {method["kind"]: method for method in json.loads(capfd.readouterr().out)}
    assert {"adapter", "lora", "prefix", "prompt", "ia3", "bitfit"} <= set(methods)
    rank = next(field for field in methods["lora"]["fields"] if field["name"] == "rank")
    assert rank["takes"] == "a whole number >= 0" and rank["default"] == 8
    assert all(method["formula"] and method["source"] for method in methods.values())
    assert main(["doctor", "--json", "--out", str(tmp_path)]) in (0, 1)
    findings = {finding["subject"]: finding for finding in json.loads(capfd.readouterr().out)}
    assert findings["torch"]["state"] == "ok" and findings["storage"]["state"] == "ok"
    for finding in findings.values():
        assert bool(finding["remedy"]) == (finding["state"] != "ok")


def test_methods_are_asked_for_by_kind_or_by_class(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["methods", "--json", "LoRA", "ia3", "ADAPTER"]) == 0
    assert [one["kind"] for one in json.loads(capfd.readouterr().out)] == [
        "lora",
        "ia3",
        "adapter",
    ]
    assert main(["methods", "LoRa2"]) == 2
    assert "got 'LoRa2'; did you mean 'lora'?" in " ".join(capfd.readouterr().err.split())
    assert main(["methods"]) == 0
    said = " ".join(capfd.readouterr().out.split())
    assert "peftnas.methods.presets: houlsby, pfeiffer" in said and "noah" in said


COMMANDS = (
    "run",
    "space",
    "status",
    "front",
    "report",
    "export",
    "evaluate",
    "methods",
    "studies",
    "tasks",
    "doctor",
)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main([command, "--help"]) == 0
    printed = capsys.readouterr().out
    assert f"example:\n  peftnas {command}" in printed and "--json" in printed
    assert max(map(len, printed.splitlines())) <= 80
    usage, _, described = printed.partition("\n\n")
    for option in re.findall(r"--[a-z-]+", usage):
        assert re.search(rf"{option}( [A-Z=]+)?\s+\w", described), f"{option} is not explained"


def test_help_names_every_sampler() -> None:
    from peftnas.search.sampling.samplers import SAMPLERS as known
    from peftnas.studies.cli.run import SAMPLERS

    assert tuple(known) == SAMPLERS


def test_methods_fit_a_narrow_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["methods"]) == 0
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 80
    assert "full: FullFineTuning(...)" in printed and "fields:     none" in printed


def test_one_point_is_no_points(
    finished: tuple[str, ...], ask: Ask, capfd: pytest.CaptureFixture[str]
) -> None:
    points = len(ask("front")["front"])
    assert main(["front", *finished]) == 0
    plural = "point on" if points == 1 else "points on"
    assert f"tiny: {points} {plural} the front of {TRIALS} finished trials" in (
        capfd.readouterr().out
    )


def test_only_a_finished_trial_is_taken_out(finished: tuple[str, ...]) -> None:
    from peftnas.search.results import open_results
    from peftnas.studies.restore import finished_trial

    results = open_results(f"sqlite:///{finished[2]}/study.db", "tiny")
    row = dataclasses.replace(results.trials[0], state="failed", reason="the loss is nan")
    failed = dataclasses.replace(results, trials=(row,))
    with pytest.raises(UsageError, match=r"must be finished, but it is failed \(the loss is nan"):
        finished_trial(failed, 0)


def test_help_is_light() -> None:
    code = (
        "import sys; from peftnas.studies.cli import main; main(['run', '--help']); "
        "print(*{name.split('.')[0] for name in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.splitlines()[-1].split())
    assert "peftnas" in loaded and not {"torch", "ray", "optuna", "transformers"} & loaded
