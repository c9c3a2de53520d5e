"""The simulation of halving: its table, equal budgets, fronts of the top rung, the same twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from peftnas.search.errors import UsageError
from peftnas.search.halving import Halving
from peftnas.studies.benchmarks.halving.__main__ import main
from peftnas.studies.benchmarks.halving.compare import BASELINES, OURS, ours, part_needed, run
from peftnas.studies.benchmarks.halving.make_table import make, points
from peftnas.studies.benchmarks.halving.simulate import Job, simulate
from peftnas.studies.benchmarks.halving.strategies import Halved
from peftnas.studies.benchmarks.halving.table import KEPT, Table, correlations_with_top, load

SMALL: dict[str, Any] = {"seed": 5, "part": 0.1, "steps": 10}
FULL_TRIALS = 12
MAKES = BASELINES | {OURS: ours("surrogate"), "evolution": ours("evolution")}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("tables") / "small.npz"
    np.savez_compressed(found, **make(**SMALL))
    return found


@pytest.fixture(scope="module")
def small(path: Path) -> Table:
    return load(path)


def test_the_kept_table_is_what_the_script_makes() -> None:
    with np.load(KEPT) as kept:
        for name, array in make().items():
            assert np.array_equal(kept[name], array), name
    assert KEPT.stat().st_size <= 300_000


def test_its_curves_are_noisy_and_cross() -> None:
    table = load()
    assert len(table.shapes) == 3 and table.steps == 27
    for shape in table.shapes:
        correlation = correlations_with_top(table.curves(shape))
        assert 0.15 < correlation[0] < 0.6
        assert 0.55 < correlation[2] < 0.8
        assert 0.9 < correlation[8] < 0.96


def test_a_row_is_found_by_what_was_suggested(small: Table) -> None:
    for row in range(0, len(small.points), 7):
        params, distributions = small.parameters_of(row)
        assert params.keys() == distributions.keys()
        assert small.row(tuple(map(int, small.points[row]))) == row
    held = set(map(tuple, small.points.tolist()))
    absent = next(one for one in map(tuple, points()[0].tolist()) if one not in held)
    nearest = small.points[small.row(absent)]
    assert ((nearest >= 0) == (np.asarray(absent) >= 0)).all(), "the same fields are active"


@pytest.mark.parametrize("name", MAKES)
def test_budgets_are_equal_and_the_same_seed_gives_the_same(small: Table, name: str) -> None:
    found = run(small, "knee", MAKES[name], 1, FULL_TRIALS)
    assert found["budget"] == 120
    assert 120 - small.steps < found["started"] <= 120
    assert found["steps"] == sorted(found["steps"]) and found["steps"][-1] <= found["started"]
    assert found["hypervolume"] == sorted(found["hypervolume"])
    assert run(small, "knee", MAKES[name], 1, FULL_TRIALS) == found
    assert run(small, "knee", MAKES[name], 2, FULL_TRIALS) != found


def test_only_results_at_the_top_count(small: Table) -> None:
    """Every point is a row's true last error, and as many came as jobs ended there."""

    class Watched(Halved):
        jobs: list[tuple[Job, tuple[float, ...]]] = []

        def done(self, job: Job, point: tuple[float, ...]) -> None:
            self.jobs.append((job, point))
            super().done(job, point)

    strategy = Watched(small, Halving(2, 5), "random", 0)
    outcome = simulate(small, "convex", strategy, 400)
    curves = small.curves("convex")
    at_top = [(job, point) for job, point in strategy.jobs if job.end == small.steps]
    assert [point for _, point in at_top] == [tuple(point) for point in outcome.points]
    for job, point in at_top:
        assert point == (curves[job.row, -1], small.costs[job.row])
        assert job.start == 2, "a promoted trial goes on"
    assert sum(job.end - job.start for job, _ in strategy.jobs) == outcome.started <= 400
    first = [job.row for job, _ in strategy.jobs if job.rung == 0]
    assert len(set(first)) == len(first), "no row twice"


def test_part_needed() -> None:
    one = {"steps": [10, 20, 40], "hypervolume": [0.1, 0.5, 0.8], "budget": 100}
    assert part_needed(one, {"hypervolume": [0.3, 0.5]}) == 0.2
    assert part_needed(one, {"hypervolume": [0.9]}) == float("inf")


def test_the_command_keeps_what_the_others_reached(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "halving.json"
    args = [
        "--table",
        str(path),
        "--seeds",
        "2",
        "--out",
        str(out),
        "--sampler",
        "random",
        "--full-trials",
        "20",
    ]
    args += ["--against", "random", "nsga2"]
    first = main(args)
    assert "random: 6 studies simulated" in capsys.readouterr().err
    assert main(args) == first
    printed = capsys.readouterr()
    assert "random: 0 studies simulated" in printed.err
    assert "halving: 6 studies simulated" in printed.err
    assert "knee: rank correlation with the last step" in printed.out
    assert json.loads(out.read_text())["results"]["summary"]["convex"]["nsga2"]["seeds"] == 2


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"errors": None}, "must hold fields, .*, got no errors"),
        ({"fields": np.asarray("[{]")}, "must follow the format"),
        ({"fields": np.asarray("[]")}, "must give each field's option of each point"),
        ({"parameters": np.ones(3)}, "must give parameters of each point"),
        ({"errors": np.zeros((3, 5, 1))}, "must give errors as .shapes, points, steps."),
        ({"errors": "nan"}, "must hold finite errors, got NaN or infinity"),
        ({"points": "outside"}, "must index the 4 options of family"),
        ({"points": "twice"}, "must hold no point twice"),
        ({"points": "inactive"}, "must use lora.rank just where it is active"),
    ],
)
def test_wrong_tables_are_refused(tmp_path: Path, change: dict[str, Any], rule: str) -> None:
    arrays = make(**SMALL)
    [(name, value)] = change.items()
    held = arrays[name].copy()
    if not isinstance(value, str):
        held = value
    elif value == "nan":
        held[0, 0, 0] = np.nan
    elif value == "twice":
        held[1] = held[0]
    elif value == "outside":
        held[0, 0] = 4
    else:
        held[0, 3] = -1
    arrays[name] = held
    wrong = tmp_path / "wrong.npz"
    np.savez(wrong, **{key: array for key, array in arrays.items() if array is not None})
    with pytest.raises(UsageError, match=rule):
        load(wrong)


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="must be an .npz file, got .*absent.npz, which is none"):
        load(tmp_path / "absent.npz")
    other = tmp_path / "other.npz"
    other.write_text("x")
    with pytest.raises(UsageError, match="must be an .npz file of arrays without pickles"):
        load(other)
