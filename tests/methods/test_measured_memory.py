"""Predicted memory of a training step against that of real steps, over random compositions."""

from __future__ import annotations

import random
import statistics
from collections.abc import Iterator

import pytest
import torch
from transformers import AutoModel, BertConfig, LlamaConfig, PreTrainedConfig, PreTrainedModel

from peftnas.methods import (
    AdaMix,
    Adapter,
    Anatomy,
    Architecture,
    DyLoRA,
    FullFineTuning,
    LoRA,
    PTuning,
    attach,
    costs,
    count,
    describe,
)
from peftnas.methods.measured_memory import measured_train_memory, owned_by, state_bytes
from peftnas.methods.predicted_costs import predicted_train_memory, remaining_modules
from peftnas.methods.reads import Reads
from peftnas.spaces.choosers import at_random
from peftnas.studies.benchmarks.widest import widest_space

BOUND = 0.15
SIZE = {
    "vocab_size": 1000,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "max_position_embeddings": 256,
}
READS = (Reads(4, 64), Reads(8, 64), Reads(2, 128), Reads(8, 32, padded=True))


def bert(width: int) -> PreTrainedConfig:
    return BertConfig(hidden_size=width, intermediate_size=4 * width, **SIZE)


def llama(width: int) -> PreTrainedConfig:
    return LlamaConfig(
        hidden_size=width, intermediate_size=3 * width, num_key_value_heads=2, **SIZE
    )


FAMILIES = {"bert": bert, "llama": llama}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def model_of(config: PreTrainedConfig) -> PreTrainedModel:
    torch.manual_seed(0)
    model: PreTrainedModel = AutoModel.from_config(config)
    return model.eval().requires_grad_(False)


def compositions(anatomy: Anatomy, n: int, seed: int) -> Iterator[Architecture]:
    """Random points of the space that holds every method; those that train nothing left out."""
    bound, choose = widest_space(anatomy).bind(anatomy), at_random(random.Random(seed))
    while n:
        architecture = bound.draw(choose).architecture
        if count(architecture, anatomy):
            yield architecture
            n -= 1


def errors(name: str, n: int, seed: int) -> list[float]:
    """Relative errors of the prediction, on widths 64 and 128 in turn."""
    choose = random.Random(seed)
    config = FAMILIES[name](choose.choice((64, 128)))
    model, found = model_of(config), []
    for architecture in compositions(describe(config), n, seed):
        reads = choose.choice(READS)
        predicted = predicted_train_memory(architecture, config, reads).total
        # several steps, since some methods draw how much they compute
        measured = measured_train_memory(model, architecture, reads, steps=5)
        found.append(predicted / measured - 1)
    return found


@pytest.mark.parametrize("name", FAMILIES)
def test_random_compositions_take_what_is_predicted(name: str) -> None:
    assert max(map(abs, errors(name, 4, seed=1))) < BOUND


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_fifty_random_compositions_take_what_is_predicted(name: str) -> None:
    found = sorted(abs(one) for seed in range(2, 7) for one in errors(name, 10, seed))
    print(
        f"{name}: error of predicted training memory over {len(found)} compositions: "
        f"median {statistics.median(found):.4f}, 90 % {found[int(0.9 * len(found))]:.4f}, "
        f"largest {found[-1]:.4f}"
    )
    assert found[-1] < BOUND


@pytest.mark.parametrize(
    "method",
    [
        LoRA(rank=4),
        FullFineTuning(),
        AdaMix(experts=16, shared_up=False),
        DyLoRA(rank=8),
        PTuning(length=9, encoder="lstm", recurrent_layers=8),
        Adapter(bottleneck=16, insertion="parallel", drop_below=2),
    ],
    ids=lambda method: method.kind,
)
@pytest.mark.parametrize("name", FAMILIES)
def test_one_method_takes_what_is_predicted(name: str, method: object) -> None:
    config = FAMILIES[name](64)
    predicted = costs(method, config, batch=4, tokens=64).train_memory_bytes
    measured = measured_train_memory(
        model_of(config), Architecture(method), Reads(4, 64), steps=12
    )
    assert predicted == pytest.approx(measured, rel=0.03)


def test_the_memory_alone_is_that_of_the_costs() -> None:
    config = bert(64)
    for method in (LoRA(rank=2), AdaMix(experts=3)):
        whole = costs(method, config, batch=2, tokens=16, outputs=3, padded=True).train_memory
        reads = Reads(2, 16, padded=True)
        assert predicted_train_memory(method, config, reads, outputs=3) == whole


def test_what_remains_after_merging() -> None:
    config = bert(64)
    assert remaining_modules(LoRA(rank=2), config) == ()
    assert remaining_modules(Adapter(bottleneck=2, layers=(1,)), config) == (
        "layers[1].ffn: adapter",
    )


def test_the_state_is_tensors_gradients_and_moments() -> None:
    model = model_of(bert(64))
    attached = attach(model, LoRA(rank=2))
    optimiser = torch.optim.AdamW(attached.parameters(), lr=1e-3)
    owned = owned_by(model, attached)
    bare = state_bytes(owned, optimiser)
    for parameter in attached.parameters():
        parameter.grad = torch.zeros_like(parameter)
    trained = 4 * attached.count
    assert state_bytes(owned, optimiser) == bare + trained
    optimiser.step()
    steps = 4 * len(list(attached.parameters()))  # AdamW counts its steps
    assert state_bytes(owned, optimiser) == bare + 3 * trained + steps
    attached.detach()
