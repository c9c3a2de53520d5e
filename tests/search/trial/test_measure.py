"""What a trial measures of its training steps: the same bytes in every run, some time."""

from __future__ import annotations

import math

import pytest
import torch

from peftnas.methods import AdaMix, Adapter, FullFineTuning, LoRA, Method
from peftnas.search.backbone import Backbone
from peftnas.search.predictions import Predictions, Reading
from peftnas.search.recipe import Recipe
from peftnas.search.trial.bench import Bench
from peftnas.search.trial.fine_tune import run_trial
from peftnas.search.trial.measure import StepMeter
from peftnas.spaces import Architecture
from tests.search.conftest import JobOf, SpecOf


@pytest.fixture(scope="module", params=["bert", "llama"])
def bench(request: pytest.FixtureRequest, spec_of: SpecOf) -> Bench:
    return spec_of(request.getfixturevalue(request.param)).build()


def predicted(bench: Bench, method: Method, recipe: dict[str, object]) -> int:
    longest = int(bench.examples(32).train.lengths.max())
    predictions = Predictions(bench.backbone, lambda: Reading(longest, 2))
    return predictions.train_memory_bytes(
        Architecture(method), Recipe.from_dict({"max_length": 32} | recipe)
    )


@pytest.mark.parametrize(
    "method",
    [LoRA(rank=4), Adapter(bottleneck=8), FullFineTuning(), AdaMix(bottleneck=4)],
    ids=lambda method: method.kind,
)
def test_a_trial_takes_the_memory_that_was_predicted(
    bench: Bench, job_of: JobOf, method: Method
) -> None:
    recipe = {"batch_size": 8, "steps": 40, "evaluations": 1}
    results = [run_trial(bench, job_of(method, seed=seed, **recipe)) for seed in (0, 0)]
    first, again = (result.measured for result in results)
    assert set(first) == {"train_memory_bytes", "train_step_s"}
    assert 0 < first["train_step_s"] < math.inf
    assert first["train_memory_bytes"] == again["train_memory_bytes"]
    expected = predicted(bench, method, recipe)
    assert first["train_memory_bytes"] == pytest.approx(expected, rel=0.15)


def test_a_larger_batch_takes_more(bench: Bench, job_of: JobOf) -> None:
    sizes = [
        run_trial(bench, job_of(LoRA(rank=2), batch_size=size)).measured["train_memory_bytes"]
        for size in (4, 8, 16)
    ]
    assert sizes == sorted(set(sizes))


def test_measuring_changes_nothing_of_a_step() -> None:
    """With and without a meter the same gradients, also where the saved tensors are counted."""

    def train(metered: bool) -> torch.Tensor:
        torch.manual_seed(0)
        net = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.GELU(), torch.nn.Linear(5, 2))
        optimiser = torch.optim.AdamW(net.parameters(), lr=0.1)
        meter = StepMeter(net.parameters(), optimiser, "cpu")
        for size in (3, 7, 2):
            x = torch.randn(size, 6)

            def step(x: torch.Tensor = x) -> None:
                optimiser.zero_grad()
                net(x).square().sum().backward()
                optimiser.step()

            if metered:
                with meter.step({"x": x}):
                    step()
            else:
                step()
        if metered:
            found = meter.measured()
            # GELU saves what it reads, the last square and the second linear too
            saved = 4 * 7 * (6 + 5 + 5 + 2)
            state = 4 * (4 * 47 + 4)  # weights, gradients, two moments, four counts of steps
            assert found["train_memory_bytes"] == saved + state
            assert found["train_step_s"] > 0
        return net[0].weight.detach().clone()

    assert torch.equal(train(True), train(False))


def test_no_meter_stays_on_after_a_step_that_failed() -> None:
    net = torch.nn.Linear(2, 2)
    meter = StepMeter(net.parameters(), torch.optim.SGD(net.parameters(), lr=1.0), "cpu")
    with pytest.raises(ZeroDivisionError), meter.step({"x": torch.ones(1)}):
        raise ZeroDivisionError
    net(torch.ones(1, 2)).sum().backward()
    assert net.weight.grad is not None


def test_a_prediction_of_a_shorter_text(bert: Backbone) -> None:
    predictions = Predictions(bert, lambda: Reading(20, 2))
    architecture = Architecture(LoRA(rank=2))
    long, cut, small = (
        predictions.train_memory_bytes(architecture, Recipe(max_length=length, batch_size=batch))
        for length, batch in ((40, 8), (10, 8), (40, 2))
    )
    assert long > cut and long > small
    assert not predictions.decodes


def test_a_prediction_of_several_sequences_an_example_and_of_words(llama: Backbone) -> None:
    architecture, recipe = Architecture(LoRA(rank=2)), Recipe(max_length=40, batch_size=4)
    plain, choices, words = (
        Predictions(llama, lambda reading=reading: reading).train_memory_bytes(  # type: ignore[misc]
            architecture, recipe
        )
        for reading in (Reading(20, 2), Reading(20, 1, sequences=3), Reading(20, 1, words=True))
    )
    vocabulary = llama.config().vocab_size
    assert choices > plain
    # the probabilities of all words at each position
    assert words - plain >= 4 * 4 * 20 * vocabulary - 4 * 4 * 32
