"""What holds of a study after any chaos: all is there, once, and as a calm run has it."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from peftnas.search import StudyResults, open_results
from peftnas.search.backbone import Backbone
from peftnas.search.jobs import TrialJob, TrialResult
from peftnas.search.plans import trial_key
from peftnas.search.preflight import prepare
from peftnas.search.results import TrialRow
from peftnas.search.storage import sqlite_url
from peftnas.search.trial.bench import Bench
from peftnas.search.trial.fine_tune import run_trial
from tests.search.cluster import chaos_process

RUNGS = chaos_process.HALVING.rungs(chaos_process.STEPS)


def events_of(out: Path) -> list[dict[str, Any]]:
    """What the log says of trainings that began or ended; a torn line is left out."""
    log = out / "log.jsonl"
    lines = log.read_text().splitlines() if log.exists() else []
    events = [json.loads(line) for line in lines if line.endswith("}")]
    return [event for event in events if event["event"] in ("started", "finished")]


def results(out: Path) -> StudyResults:
    return open_results(sqlite_url(out), chaos_process.NAME)


def check_counts(out: Path, target: int) -> None:
    """The asked number has a score, and nothing is under way."""
    counts = results(out).counts()
    assert counts["complete"] + counts["stopped"] == target, counts
    assert counts["running"] == counts["enqueued"] == 0, counts
    assert counts["complete"] >= 1, counts


def check_once(out: Path) -> None:
    """No architecture was trained twice to one rung."""
    rows = [row for row in results(out).trials if row.state in ("complete", "stopped")]
    twins = Counter((row.train_key, json.dumps(row.recipe, sort_keys=True)) for row in rows)
    assert set(twins.values()) == {1}
    ended = Counter((e["trial"], e["rung"]) for e in events_of(out) if e["event"] == "finished")
    assert set(ended.values()) == {1}, [one for one, times in ended.items() if times > 1]
    for row in rows:
        steps = tuple(entry["step"] for entry in row.rungs)
        assert steps == RUNGS[: len(steps)], (row.number, steps)
        assert (len(steps) == len(RUNGS) - 1) or row.state == "stopped", (row.number, steps)


def check_checkpoints(out: Path) -> None:
    """Those of the front, whole, and nothing else."""
    front = {str(row.number) for row in results(out).front()}
    assert front == {entry.name for entry in (out / "checkpoints").iterdir()}
    for number in front:
        files = {entry.name for entry in (out / "checkpoints" / number).iterdir()}
        assert files == {"modules", "head.safetensors", "result.json"}


def check_scores(out: Path, backbone: Backbone, calm: Path, most: int | None) -> None:
    """Each score is, bit for bit, that of a training which nothing disturbed.

    Args:
        out: folder of the study.
        backbone: of the study.
        calm: folder for the snapshots of these trainings.
        most: so many trials are looked at, those that came furthest first; ``None``: all.
    """
    bench = prepare(chaos_process.study_on(backbone.folder)).spec.build()
    rows = [row for row in results(out).trials if row.state in ("complete", "stopped")]
    rows.sort(key=lambda row: (row.state != "complete", -len(row.rungs), row.number))
    for row in rows[:most]:
        for entry in row.rungs:
            found = calm_run(bench, row, calm, entry["step"])
            scores = found.metrics | {"trainable_parameters": float(found.trainable_parameters)}
            assert found.status == "paused" and scores == entry["values"]
        if row.state == "complete":
            found = calm_run(bench, row, calm, None)
            assert found.status == "complete" and found.metrics == row.metrics
            assert found.losses == row.losses
            assert found.trainable_parameters == row.trainable_parameters


def calm_run(bench: Bench, row: TrialRow, calm: Path, until: int | None) -> TrialResult:
    """The same training from its first step to another one, without a stop."""
    assert row.architecture is not None and row.seed is not None
    job = TrialJob(
        row.number,
        row.architecture,
        row.recipe,
        row.seed,
        trial_key(row.train_key, row.recipe, row.arms),
        str(calm / f"{row.number}-{until}"),
        until=until,
    )
    return run_trial(bench, job)
