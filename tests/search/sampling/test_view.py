"""What every sampler must do through a view, one line a sampler; and what the view tells it."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial, Trial, TrialState

from peftnas.search.outcomes import FEASIBLE
from peftnas.search.sampling.samplers import SAMPLERS, make_sampler
from peftnas.search.sampling.view import SamplerView

DIRECTIONS = ("maximize", "minimize")
N = {"gp": 13, "bruteforce": 20}


def suggest(trial: Trial, finite: bool) -> dict[str, Any]:
    """A choice with parameters of its own, and one on a logarithmic scale."""
    point: dict[str, Any] = {"method": trial.suggest_categorical("method", ["lora", "prefix"])}
    if point["method"] == "lora":
        point["rank"] = trial.suggest_int("rank", 1, 8, log=True)
        point["where"] = trial.suggest_categorical("where", ["q", "qv"])
    else:
        point["length"] = trial.suggest_int("length", 2, 10, step=2)
    if not finite:
        point["rate"] = trial.suggest_float("rate", 1e-4, 1e-1, log=True)
    return point


def score(point: dict[str, Any]) -> tuple[float, float]:
    size = point.get("rank", 0) * len(point.get("where", "")) + point.get("length", 0)
    return size / (size + 4) - abs(math.log10(point.get("rate", 0.01)) + 2) / 4, float(size)


def view_of(name: str, n_trials: int = 0, n_rungs: int = 2) -> SamplerView:
    return SamplerView(make_sampler(name, 0, n_trials), DIRECTIONS, n_rungs, exact=(False, True))


class Search:
    """Proposes through a view, four under way at a time; every fifth training fails."""

    def __init__(self, name: str, n_trials: int = 0) -> None:
        self.finite = SAMPLERS[name].finite
        self.view = view_of(name, n_trials)
        self.kept: list[FrozenTrial] = []
        self.points: list[dict[str, Any]] = []
        self.told: list[tuple[int, int, tuple[float, float] | None]] = []
        self.duplicates = 0

    def run(self, n: int) -> Search:
        under_way = []
        for number in range(len(self.kept), len(self.kept) + n):
            self.accept(number)
            under_way.append(number)
            if len(under_way) == 4:
                self.tell(under_way.pop(0))
        for number in under_way:
            self.tell(number)
        return self

    def accept(self, number: int) -> None:
        for _ in range(100):
            trial = self.view.ask()
            point = suggest(trial, self.finite)
            if point not in self.points:
                break
            self.duplicates += 1
            self.view.refuse(trial)
        self.points.append(point)
        self.kept.append(self.view.accept(trial, number))

    def tell(self, number: int) -> None:
        good, size = score(self.points[number])
        self._note(number, 0, None if number % 5 == 4 else (0.7 * good, size))
        if number % 5 == 0:
            self._note(number, 1, (good, size))

    def _note(self, number: int, rung: int, values: tuple[float, float] | None) -> None:
        self.told.append((number, rung, values))
        self.view.tell(number, rung, values)


def ends(view: SamplerView) -> list[tuple[Any, ...]]:
    """What the sampler sees of each accepted trial, in order."""
    shown = {trial._trial_id: trial for trial in view.trials()}
    return [
        (t.state, t.params, t.values, t.constraints, t.system_attrs)
        for t in (shown[seen.trial_id] for seen in view.seen.values())
    ]


@pytest.mark.parametrize("name", SAMPLERS)
class TestEverySampler:
    def test_what_is_told_is_what_was_accepted(self, name: str) -> None:
        search = Search(name).run(N.get(name, 25))
        for number, (kept, point) in enumerate(zip(search.kept, search.points, strict=True)):
            assert kept.number == number and kept.state == TrialState.RUNNING
            assert kept.params == point
            assert set(kept.distributions) == set(point)
            json.dumps(kept.system_attrs)
        assert [seen.params for seen in search.view.seen.values()] == search.points

    def test_failures_are_learnt_as_infeasible(self, name: str) -> None:
        search = Search(name).run(10)
        states = ends(search.view)
        assert all(state == TrialState.COMPLETE for state, *_ in states)
        violated = [number for number, end in enumerate(states) if end[3][FEASIBLE] > 0]
        assert violated == [4, 9]
        for number in violated:
            lowest = min(v[0] for _, _, v in search.told if v is not None)
            assert states[number][2] == pytest.approx([lowest, max(p for _, p in _good(search))])

    def test_a_view_made_anew_shows_the_same(self, name: str) -> None:
        first = Search(name).run(N.get(name, 24))
        again = view_of(name, len(first.kept))
        again.system_attrs = json.loads(json.dumps(first.view.system_attrs))
        for kept in first.kept:
            again.add(kept.number, kept.params, kept.distributions, kept.system_attrs)
        for number, rung, values in first.told:
            again.tell(number, rung, values)
        assert ends(again) == ends(first.view)
        again.refuse(_suggested(again.ask(), first.finite))
        assert again.system_attrs.keys() >= {
            key for key in first.view.system_attrs if ":parent:" not in key
        }

    def test_duplicates_leave_no_trace(self, name: str) -> None:
        view = view_of(name)
        trial = view.ask()
        suggest(trial, SAMPLERS[name].finite)
        view.refuse(trial)
        assert [one.state for one in view.trials()] == [TrialState.FAIL]
        assert not view.seen

    def test_it_goes_on_when_all_fail(self, name: str) -> None:
        view = view_of(name)
        for number in range(14):
            trial = view.ask()
            suggest(trial, SAMPLERS[name].finite)
            view.accept(trial, number)
            view.tell(number, 0, None)
        assert len(view.seen) == 14

    def test_the_same_seed_gives_the_same_points(self, name: str) -> None:
        assert Search(name).run(14).points == Search(name).run(14).points


def _good(search: Search) -> Sequence[tuple[float, float]]:
    return [values for _, _, values in search.told if values is not None]


def _suggested(trial: Trial, finite: bool) -> Trial:
    suggest(trial, finite)
    return trial


def test_refusals_over_a_limit_are_learnt_once_for_each_accepted_trial() -> None:
    view = view_of("tpe")
    for _ in range(3):
        view.refuse(_suggested(view.ask(), False), violation=0.5)
    view.accept(_suggested(view.ask(), False), 0)
    view.refuse(_suggested(view.ask(), False), violation=2.0)
    learnt = [t for t in view.trials() if t.state == TrialState.COMPLETE]
    assert [t.constraints[FEASIBLE] for t in learnt] == [0.5, 2.0]


def test_a_stopped_trial_shows_what_it_would_reach() -> None:
    """Lines are learnt from trials at the top; a cost stays as it is, to the last bit."""
    view = view_of("random")
    for number in range(12):
        view.accept(_suggested(view.ask(), False), number)
    for number in range(12):
        view.tell(number, 0, (number / 20, 100.0 + number))
    assert view.predicted(3) == (3 / 20, 103.0)
    for number in range(4, 12):
        view.tell(number, 1, (0.1 + 1.5 * number / 20, 100.0 + number))
    accuracy, cost = view.predicted(3) or (0.0, 0.0)
    assert accuracy == pytest.approx(0.1 + 1.5 * 3 / 20, abs=0.04)
    assert cost == 103.0
    assert ends(view)[3][2] == [accuracy, cost]
    assert view.predicted(11) == (0.1 + 1.5 * 11 / 20, 111.0)


def test_trainings_of_one_architecture_are_one_trial() -> None:
    view = view_of("tpe", n_rungs=1)
    kept = view.accept(_suggested(view.ask(), False), 0, group="a")
    view.add(1, kept.params, kept.distributions, group="a")
    view.add(2, kept.params, kept.distributions, group="a")
    view.tell(0, 0, (0.5, 10.0))
    assert ends(view)[0][2] == [0.5, 10.0]
    view.tell(1, 0, (0.7, 10.0))
    view.tell(2, 0, None)
    assert len(view.seen) == 1 and len(view.trials()) == 1
    assert ends(view)[0][2] == [pytest.approx(0.6), 10.0]
    assert ends(view)[0][3] == {FEASIBLE: 0.0}
    assert view.first(2) == 0


def test_measured_constraints_are_told() -> None:
    view = SamplerView(make_sampler("tpe", 0, 0), DIRECTIONS, constraints=("train_step_s <= 1",))
    for number, values in enumerate([(0.5, 10.0), None]):
        view.accept(_suggested(view.ask(), False), number)
        view.tell(number, 0, values, {"train_step_s <= 1": 0.3})
    constraints = [end[3] for end in ends(view)]
    assert constraints[0] == {FEASIBLE: 0.0, "train_step_s <= 1": 0.3}
    assert constraints[1] == {FEASIBLE: 1.0, "train_step_s <= 1": 0.0}


def test_wrong_calls_are_refused() -> None:
    view = view_of("random")
    with pytest.raises(ValueError, match="needs a training that was accepted"):
        view.tell(0, 0, (0.5, 1.0))
    kept = view.accept(_suggested(view.ask(), False), 0)
    with pytest.raises(ValueError, match="rung below 2"):
        view.tell(0, 2, (0.5, 1.0))
    with pytest.raises(ValueError, match="enters the view once, got number 0"):
        view.add(0, kept.params, kept.distributions)


def test_quasi_random_points_go_on_after_a_restart() -> None:
    first = Search("qmc").run(6)
    again = Search("qmc", 6)
    for kept in first.kept:
        again.view.add(kept.number, kept.params, kept.distributions, kept.system_attrs)
    for number, rung, values in first.told:
        again.view.tell(number, rung, values)
    before = sum(first.view.system_attrs.values())
    again.view.system_attrs = first.view.system_attrs
    again.accept(6)
    assert sum(again.view.system_attrs.values()) > before


def test_a_generation_goes_on_after_a_restart() -> None:
    """NSGA-II's parents are kept by number, so that no generation is chosen a second time."""
    first = Search("nsga2").run(50)
    [(key, parents)] = first.view.system_attrs.items()
    assert key.endswith(":2") or key.endswith(":1")
    assert set(parents) <= set(range(50))
    again = view_of("nsga2", 50)
    again.system_attrs = first.view.system_attrs
    for kept in first.kept:
        again.add(kept.number, kept.params, kept.distributions, kept.system_attrs)
    for number, rung, values in first.told:
        again.tell(number, rung, values)
    trial = again.accept(_suggested(again.ask(), False), 50)
    assert trial.system_attrs["NSGAIISampler:generation"] >= 1
    assert again.system_attrs == first.view.system_attrs


optuna.logging.set_verbosity(optuna.logging.WARNING)
