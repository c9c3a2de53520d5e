"""What a trial measures of its training steps: the same bytes in every run, some time."""

from __future__ import annotations

import math

import pytest
import torch

from peftnas.methods import AdaMix, Adapter, FullFineTuning, LoRA, Method, Prompt
from peftnas.methods.reads import Reads
from peftnas.search.backbone import Backbone
from peftnas.search.errors import NoRoomError
from peftnas.search.predictions import Predictions
from peftnas.search.recipe import Recipe
from peftnas.search.trial.bench import Bench
from peftnas.search.trial.fine_tune import run_trial
from peftnas.search.trial.forms.texts import Texts
from peftnas.search.trial.measure import StepMeter
from peftnas.search.trial.reading import Reading
from peftnas.spaces import Architecture
from tests.search.conftest import JobOf, SpecOf


@pytest.fixture(scope="module", params=["bert", "llama"])
def bench(request: pytest.FixtureRequest, spec_of: SpecOf) -> Bench:
    return spec_of(request.getfixturevalue(request.param)).build()


def predicted(bench: Bench, method: Method, recipe: dict[str, object]) -> int:
    rows = bench.examples(32).train
    predictions = Predictions(
        bench.backbone, bench.form, lambda length, size: bench.form.reading(rows, length, size, 2)
    )
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


def test_of_two_batches_as_large_the_one_with_padding_counts() -> None:
    net = torch.nn.Linear(4, 2)
    meter = StepMeter(net.parameters(), torch.optim.SGD(net.parameters(), lr=1.0), "cpu")
    real = torch.ones(3, 4)
    padded = real.clone()
    padded[0, 3] = 0
    for mask in (real, padded, real):
        with meter.step({"x": real, "attention_mask": mask}):
            hidden = net(real.clone())
            # a mask is one more tensor to keep
            (hidden if mask is real else hidden * mask[:, :2].clone()).sum().backward()
    state = 4 * 2 * 10
    assert meter.measured()["train_memory_bytes"] == state + 4 * (12 + 6)


def test_no_meter_stays_on_after_a_step_that_failed() -> None:
    net = torch.nn.Linear(2, 2)
    meter = StepMeter(net.parameters(), torch.optim.SGD(net.parameters(), lr=1.0), "cpu")
    with pytest.raises(ZeroDivisionError), meter.step({"x": torch.ones(1)}):
        raise ZeroDivisionError
    net(torch.ones(1, 2)).sum().backward()
    assert net.weight.grad is not None


def predictions_of(backbone: Backbone, words: int | None = None) -> Predictions:
    """Of texts of 20 tokens."""

    def reading(length: int, size: int) -> Reading:
        outputs = 2 if words is None else 0
        return Reading(Reads(size, min(length, 20), padded=True), outputs, words)

    return Predictions(backbone, Texts(), reading)


def test_a_prediction_of_a_shorter_text(bert: Backbone) -> None:
    predictions = predictions_of(bert)
    architecture = Architecture(LoRA(rank=2))
    long, cut, small = (
        predictions.train_memory_bytes(architecture, Recipe(max_length=length, batch_size=batch))
        for length, batch in ((40, 8), (10, 8), (40, 2))
    )
    assert long > cut and long > small
    assert not predictions.decodes


def test_a_prediction_of_words(llama: Backbone) -> None:
    architecture, recipe = Architecture(LoRA(rank=2)), Recipe(max_length=40, batch_size=4)
    plain, few, words = (
        predictions_of(llama, count).train_memory_bytes(architecture, recipe)
        for count in (None, 10, 80)
    )
    vocabulary = llama.config().vocab_size
    # the probabilities of all words at each position, and the word that is right
    assert words - few == (4 * vocabulary + 8) * 70
    assert plain < few


def test_an_architecture_that_leaves_no_room_is_told(bert: Backbone) -> None:
    predictions, recipe = predictions_of(bert), Recipe()
    assert predictions.refusal(Architecture(Prompt(length=36)), recipe) is None
    long = Architecture(Prompt(length=37))
    says = "a prompt of 37 leaves no room for texts in the backbone's 40 positions; shorten the "
    assert predictions.refusal(long, recipe) == f"{says}prompt"
    with pytest.raises(NoRoomError, match="a prompt of 37 leaves no room"):
        predictions.train_memory_bytes(long, recipe)
    assert predictions.memory_in_space(long, recipe) == math.inf
