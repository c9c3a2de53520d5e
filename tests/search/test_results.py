"""A stored study as rows: states, values, front, hypervolume; without torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from optuna.trial import TrialState

from peftnas.search.errors import UsageError
from peftnas.search.jobs import TrialResult
from peftnas.search.records import Records
from peftnas.search.results import StudyResults, open_results
from peftnas.search.storage import open_storage, open_study, sqlite_url
from tests.search.toys import (
    BACKBONE,
    Exploration,
    conditional_space,
    objectives,
    train,
)

CONTENT = {
    "backbone": {"sha256": "0", "parameters": BACKBONE},
    "objectives": [{"name": known.name, "direction": known.direction} for known in objectives()],
}


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Eight finished trials, two failed ones, refused ones, one running."""
    url = sqlite_url(tmp_path_factory.mktemp("stored"))
    storage = open_storage(url, create=True)
    study = open_study(storage, "toy", directions=["maximize", "minimize"], content=CONTENT)
    records = Records(study, objectives(), BACKBONE)
    exploration = Exploration(records, conditional_space(max_parameters=20))
    for i in range(10):
        work = exploration.next()
        assert work is not None
        result = train(work.job())
        if i in (1, 4):
            error = "Traceback\n  line\nValueError: broken"
            result = TrialResult("failed", cause="error", error=error)
        exploration.end(work, result)
    assert exploration.next() is not None
    return url


@pytest.fixture(scope="module")
def results(stored: str) -> StudyResults:
    return open_results(stored, "toy")


def test_states(results: StudyResults) -> None:
    counts = results.counts()
    assert (counts["complete"], counts["failed"], counts["running"]) == (8, 2, 1)
    assert counts["refused"] > 0
    for row in results.trials:
        assert bool(row.values) == (row.state == "complete")
        assert (row.architecture is None) == (row.state == "refused")
        assert bool(row.reason) == (row.state in ("failed", "refused"))
        assert bool(row.finished) == (row.state != "running")
    failed = next(row for row in results.trials if row.state == "failed")
    assert failed.reason == "error: ValueError: broken"
    assert failed.error.startswith("Traceback")


def test_values_are_those_measured(results: StudyResults) -> None:
    for row in results.finished:
        assert row.values == {
            "accuracy": row.metrics["accuracy"],
            "trainable_parameters": row.trainable_parameters,
        }
        assert row.words and row.seed is not None


def test_the_front_holds_what_nothing_dominates(results: StudyResults) -> None:
    front = results.front()
    counts = [row.values["trainable_parameters"] for row in front]
    scores = [row.values["accuracy"] for row in front]
    assert counts == sorted(counts) and scores == sorted(scores)
    for row in results.finished:
        assert any(
            best.values["accuracy"] >= row.values["accuracy"]
            and best.values["trainable_parameters"] <= row.values["trainable_parameters"]
            for best in front
        )


def test_hypervolume_grows_with_finished_trials_only(results: StudyResults) -> None:
    growth = results.hypervolume()
    assert len(growth) == len(results.finished)
    assert growth == sorted(growth) and 0 < growth[-1] < 1


def test_read_in_brief_the_front_is_whole_and_the_rest_says_how_it_ended(
    stored: str, results: StudyResults
) -> None:
    brief = open_results(stored, "toy", whole=False)
    assert brief.front() == results.front() and brief.counts() == results.counts()
    assert brief.hypervolume_reached() == results.hypervolume_reached()
    assert results.hypervolume_reached() == results.hypervolume()[-1]
    on_front = {row.number for row in results.front()}
    for row, known in zip(brief.trials, results.trials, strict=True):
        assert (row.values, row.reason, row.over) == (known.values, known.reason, known.over)
        assert (row.started, row.finished) == (known.started, known.finished)
        assert row == known or row.number not in on_front


def test_all_of_it_is_json(results: StudyResults) -> None:
    data = json.loads(json.dumps(results.to_dict()))
    assert data["trials"][0]["number"] == 0


def test_what_is_not_there_is_said(stored: str, results: StudyResults) -> None:
    with pytest.raises(UsageError, match="has no study 'other'; it holds toy"):
        open_results(stored, "other")
    with pytest.raises(UsageError, match="has trials 0 to"):
        results.trial(10_000)
    assert results.trial(0).number == 0


def test_an_empty_study_has_an_empty_front(tmp_path: Path) -> None:
    storage = open_storage(sqlite_url(tmp_path), create=True)
    open_study(storage, "toy", directions=["maximize", "minimize"], content=CONTENT)
    found = open_results(sqlite_url(tmp_path), "toy")
    assert found.front() == () and found.hypervolume() == []
    assert found.hypervolume_reached() == 0.0
    assert open_results(sqlite_url(tmp_path), "toy", whole=False).trials == ()
    with pytest.raises(UsageError, match="has no trials yet"):
        found.trial(0)


def test_a_baseline_is_one_row_whatever_became_of_earlier_attempts(tmp_path: Path) -> None:
    storage = open_storage(sqlite_url(tmp_path), create=True)
    two = ["maximize", "minimize"]
    open_study(storage, "toy", directions=two, content=CONTENT)
    untuned = open_study(storage, "toy/baselines", directions=two, content=CONTENT)
    untuned.tell(untuned.ask(), state=TrialState.FAIL)  # died inside ask: nameless
    for reason in ("time was up before it started", "skipped: does not fit"):
        trial = untuned.ask()
        trial.set_user_attr("baseline", "BitFit")
        trial.set_user_attr("reason", reason)
        untuned.tell(trial, state=TrialState.FAIL)
    (row,) = open_results(sqlite_url(tmp_path), "toy").baselines
    assert (row.number, row.baseline, row.reason) == (2, "BitFit", "skipped: does not fit")


def test_reading_needs_neither_torch_nor_ray(stored: str) -> None:
    code = (
        "import sys; from peftnas.search import open_results; "
        f"open_results({stored!r}, 'toy').front(); "
        "print([name for name in ('torch', 'ray', 'transformers') if name in sys.modules])"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert printed.stdout.strip() == "[]", printed.stderr
