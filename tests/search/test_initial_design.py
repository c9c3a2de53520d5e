"""The first points of a study, spread over the trainable parameters."""

from __future__ import annotations

from itertools import islice

import pytest

from peftnas.search.distributions import Draw
from peftnas.search.initial_design import InitialDesign, levels
from peftnas.search.limits import Limits
from peftnas.search.objectives import objective
from peftnas.search.sampling.samplers import SAMPLERS, startup_trials
from peftnas.spaces.bound_space import BoundSpace
from tests.search.toys import (
    BACKBONE,
    METRICS,
    RECIPE,
    Exploration,
    ToyAnatomy,
    conditional_space,
    finite_space,
    objectives,
    records_in_memory,
    train,
)


def bound_space(**limits: object) -> BoundSpace:
    return conditional_space(**limits).bind(ToyAnatomy())


def points(bound: BoundSpace, seed: int, size: int) -> list[Draw]:
    design = InitialDesign(bound, Limits(bound, RECIPE), seed, size)
    taken: list[Draw] = []
    for index in range(size):
        point = design.point(index, lambda draw: all(draw is not known for known in taken))
        assert point is not None
        taken.append(point)
    assert design.point(size, lambda draw: True) is None
    return taken


def test_levels_are_the_ends_then_ever_finer_middles() -> None:
    assert list(islice(levels(), 9)) == [0, 1, 0.5, 0.25, 0.75, 0.125, 0.375, 0.625, 0.875]


@pytest.mark.parametrize("seed", range(5))
def test_the_first_points_span_what_random_points_reach(seed: int) -> None:
    bound = bound_space()
    counts = [bound.count(draw.architecture) for draw in points(bound, seed, 9)]
    assert counts[0] == min(counts) and counts[1] == max(counts)
    assert counts[1] >= 10 * counts[0]
    ordered = sorted(counts)
    # nine points over two decades, evenly: no neighbours are further apart than a factor of 4
    assert all(b <= 4 * a for a, b in zip(ordered, ordered[1:], strict=False))


def test_no_architecture_is_chosen_twice() -> None:
    bound = bound_space()
    chosen = [bound.train_key(draw.architecture) for draw in points(bound, 0, 10)]
    assert len(set(chosen)) == 10


def test_the_same_seed_gives_the_same_points() -> None:
    first, again, other = (
        [draw.values for draw in points(bound_space(), seed, 6)] for seed in (3, 3, 4)
    )
    assert first == again != other


def test_limits_hold_for_every_point() -> None:
    bound = bound_space(max_parameters=60)
    assert all(bound.count(draw.architecture) <= 60 for draw in points(bound, 0, 5))


def test_a_study_that_goes_on_takes_the_points_that_are_left() -> None:
    def counts(restart_after: int | None) -> list[float]:
        records = records_in_memory()
        exploration = Exploration(records, bound_space(), seed=7, spread=6)
        for done in range(6):
            if done == restart_after:
                exploration = Exploration(records, bound_space(), seed=7, spread=6)
            exploration.run(1)
        return [trial.values[1] for trial in records.trials()]

    assert counts(None) == counts(3)
    assert counts(None)[:2] == [min(counts(None)), max(counts(None))]


def test_a_space_smaller_than_the_design_is_trained_whole() -> None:
    recipe = RECIPE.replace(learning_rate=1e-2, schedule="linear")
    spread = Exploration(records_in_memory(), finite_space(), recipe, spread=50)
    keys = set()
    while (work := spread.next()) is not None:
        spread.end(work, train(work.job()))
        keys.add(work.plan.train_key)
    assert len(keys) == 12


def test_only_a_sampler_that_starts_at_random_and_wants_cheap_points_spreads_them() -> None:
    accuracy = (objective("accuracy", METRICS, BACKBONE),)
    assert {name for name in SAMPLERS if startup_trials(name, objectives())} == {
        "tpe",
        "gp",
        "evolution",
        "surrogate",
    }
    assert all(startup_trials(name, accuracy) == 0 for name in SAMPLERS)
