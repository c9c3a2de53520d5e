"""The models behind forecasts: each against a closed form, brute force, or an invariance."""

from __future__ import annotations

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from peftnas.search.pareto import hypervolume
from peftnas.search.sampling.encoding import Encoding
from peftnas.search.sampling.extrapolation import Extrapolation
from peftnas.search.sampling.fidelities import Fidelities
from peftnas.search.sampling.gain import ExpectedGain
from peftnas.search.sampling.gaussian_process import GaussianProcess


def test_encoding_measures_on_the_domains_own_scale() -> None:
    encode = Encoding(
        {
            "rank": IntDistribution(1, 64, log=True),
            "rate": FloatDistribution(0.0, 2.0),
            "where": CategoricalDistribution(["q", "v", "qv"]),
        }
    )
    assert encode.groups.tolist() == [0, 1, 2, 2, 2]
    rows = encode([{"rank": 8, "rate": 0.5, "where": "v"}, {"rank": 1}, {"where": "q"}])
    assert rows[0] == pytest.approx([0.5, 0.25, 0, 0.5**0.5, 0])
    assert rows[1].tolist() == [0, 0.5, 0, 0, 0], "in the middle where not active"
    assert np.linalg.norm(rows[0, 2:] - rows[2, 2:]) == pytest.approx(1.0)


def test_a_process_finds_what_matters_and_how_sure_it_is() -> None:
    draw = np.random.default_rng(0)
    x = draw.random((80, 4))
    y = np.sin(4 * x[:, 0]) + x[:, 1] + 0.05 * draw.normal(size=80)
    process = GaussianProcess(np.array([0, 1, 2, 2]))
    process.fit(x, y)
    new = draw.random((300, 4))
    mean, deviation = process.predict(new)
    errors = mean - np.sin(4 * new[:, 0]) - new[:, 1]
    assert np.sqrt((errors**2).mean()) < 0.08
    assert 0.5 < np.std(errors / deviation) < 2.0
    assert 0.02 < process.noise < 0.1


def test_a_process_with_features_continues_their_line() -> None:
    x = np.zeros((6, 1))
    line = np.linspace(-1, 1, 6)[:, None]
    process = GaussianProcess(np.array([0]))
    process.fit(x, 3 * line[:, 0], 4 * line, standardise=False)
    mean, _ = process.predict(np.zeros((1, 1)), np.array([[8.0]]))
    assert mean[0] == pytest.approx(6.0, rel=0.02)
    assert process.weights[0] == pytest.approx(0.75, rel=0.02)


def test_the_gradient_of_the_fit_is_exact() -> None:
    draw = np.random.default_rng(1)
    x, y = draw.random((20, 3)), draw.normal(size=20)
    process = GaussianProcess(np.array([0, 1, 1]))
    at = np.array([0.3, -0.2, 0.1, -1.5])
    squares, linear = process._squares(x, x), np.zeros((20, 20))
    _, gradient = process._loss(at, squares, linear, y)
    for i in range(4):
        step = 1e-5 * np.eye(4)[i]
        above, below = (process._loss(at + s, squares, linear, y)[0] for s in (step, -step))
        assert gradient[i] == pytest.approx((above - below) / 2e-5, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("objectives", [1, 2, 3])
def test_a_sure_gain_is_that_of_the_hypervolume(objectives: int) -> None:
    draw = np.random.default_rng(objectives)
    front, high = draw.random((6, objectives)), np.full(objectives, 1.2)
    gain = ExpectedGain(front, np.zeros(objectives), high)
    candidates = draw.random((20, objectives))
    before = hypervolume(front, high)
    exact = [hypervolume(np.vstack([front, one]), high) - before for one in candidates]
    scale = 1.0 if objectives < 3 else 1.2**3
    tolerance = 1e-6 if objectives < 3 else 0.01
    found = scale * gain(candidates, np.zeros_like(candidates))
    assert found == pytest.approx(exact, abs=tolerance)


def test_an_unsure_gain_is_its_mean() -> None:
    draw = np.random.default_rng(0)
    front, high = np.array([[0.2, 0.7], [0.6, 0.3]]), np.ones(2)
    mean, deviation = np.array([0.4, 0.5]), np.array([0.1, 0.2])
    before = hypervolume(front, high)
    gains = [
        hypervolume(np.vstack([front, np.minimum(one, high)]), high) - before
        for one in mean + deviation * draw.normal(size=(4000, 2))
    ]
    found = ExpectedGain(front, np.zeros(2), high)(mean[None], deviation[None])
    assert found[0] == pytest.approx(np.mean(gains), abs=4 * np.std(gains) / 60)


def test_with_nothing_there_the_whole_box_is_gained() -> None:
    gain = ExpectedGain(np.empty((0, 2)), np.zeros(2), np.ones(2))
    assert gain(np.array([[0.5, 0.5], [2.0, 0.0]]), np.zeros((2, 2))) == pytest.approx([0.25, 0])


def test_fidelities_learn_who_still_moves() -> None:
    """Points with a large first coordinate start badly and end well; noise is looked through."""
    draw = np.random.default_rng(0)
    x = draw.random((60, 2))
    top = 1 - 0.8 * x[:, 0]
    low = 0.5 + 0.3 * x[:, 1] + 0.05 * draw.normal(size=60)
    values = np.stack([low, top], axis=1)
    values[20:, 1] = np.nan
    model = Fidelities(np.array([0, 1]), 2)
    model.fit(x, values)
    mean, deviation = model.predict(x, values)
    assert mean[:20].tolist() == top[:20].tolist() and not deviation[:20].any()
    assert np.corrcoef(mean[20:], top[20:])[0, 1] > 0.95
    new, doubt = model.predict(np.array([[0.0, 0.5], [1.0, 0.5]]), np.full((2, 2), np.nan))
    assert new[1] < new[0] and (doubt > 0).all()


def test_an_exact_objective_stays_as_it_is() -> None:
    x = np.linspace(0, 1, 12)[:, None]
    values = np.repeat(2 * x, 3, axis=1)
    values[6:, 1:] = np.nan
    model = Fidelities(np.array([0]), 3, exact=True)
    model.fit(x, values)
    mean, deviation = model.predict(x, values)
    assert mean.tolist() == values[:, 0].tolist() and not deviation.any()


class TestExtrapolation:
    def test_nothing_is_known_without_trials_at_the_top(self) -> None:
        found = Extrapolation(3)
        assert found.predict(np.array([[[0.5, 7.0]]])).tolist() == [[0.5, 7.0]]

    def test_lines_are_found_and_costs_stay(self) -> None:
        draw = np.random.default_rng(0)
        histories = []
        for _ in range(40):
            low, cost = draw.random(), float(draw.integers(1, 10**6))
            histories.append(np.array([[low, cost], [0.2 + 0.6 * low, cost]]))
        found = Extrapolation(2)
        found.fit(histories)
        stacked = np.stack(histories)
        predicted = found.predict(stacked[:, :1])
        assert predicted[:, 1].tolist() == stacked[:, 1, 1].tolist()
        assert np.abs(predicted[:, 0] - stacked[:, 1, 0]).max() < 0.03

    def test_order_and_missing_values_do_not_matter(self) -> None:
        draw = np.random.default_rng(0)
        histories = [draw.random((3, 2)) for _ in range(10)]
        gap = np.array([[0.5, 0.5], [np.nan, np.nan], [0.1, 0.1]])
        late = draw.random((1, 2, 2))
        one, other = Extrapolation(3), Extrapolation(3)
        one.fit(histories)
        other.fit([*reversed(histories)])
        assert one.predict(late) == pytest.approx(other.predict(late))
        other.fit([*histories, gap])
        assert one.predict(late) == pytest.approx(other.predict(late))
        assert other.predict(np.array([[[np.inf, 0.5]]])).tolist() == [[np.inf, 0.5]]
