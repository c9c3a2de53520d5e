"""Groups of layers in spaces of real encoder-decoder backbones: encoder and decoder apart."""

from __future__ import annotations

import itertools

import pytest
from transformers import T5Config

from peftnas.methods import Adapter, Architecture, BitFit, LoRA, describe
from peftnas.methods.testing.tiny import CONFIGS
from peftnas.spaces import (
    ByGroup,
    ByLayer,
    Choice,
    Grouped,
    Integer,
    PerGroup,
    SearchSpace,
    Shared,
    Subset,
)

ENCODER_DECODERS = ("t5", "bart", "whisper")
CUT = Shared("cut", Choice("uniform", "increasing"))
SPACES = {
    "per group": SearchSpace(LoRA(rank=PerGroup(2, Integer(0, 2)))),
    "two stacks in one group each": SearchSpace(
        Adapter(bottleneck=PerGroup(1, Choice(2, 4)), site=Choice("attention", "ffn"))
    ),
    "profiles": SearchSpace(LoRA(rank=Choice(ByGroup(1, 2), ByGroup(2, 1), 2))),
    "grouped": SearchSpace(
        Grouped(
            Adapter(bottleneck=ByGroup(2, 4, grouping=CUT)),
            LoRA(rank=Choice(1, 2)),
            n=2,
            grouping=CUT,
            tuned=Subset(0, 1),
        )
    ),
}


def _uneven():
    return describe(
        T5Config(
            vocab_size=60,
            d_model=16,
            d_kv=6,
            d_ff=24,
            num_layers=3,
            num_decoder_layers=2,
            num_heads=4,
        )
    )


def _anatomies():
    return {name: describe(CONFIGS[name]()) for name in ENCODER_DECODERS} | {"3 + 2": _uneven()}


ANATOMIES = _anatomies()


def test_anatomies_tell_the_sizes_of_their_stacks():
    assert {name: one.stack_sizes for name, one in ANATOMIES.items()} == {
        "t5": (2, 2),
        "bart": (2, 2),
        "whisper": (2, 2),
        "3 + 2": (3, 2),
    }
    assert describe(CONFIGS["bert"]()).stack_sizes == (3,)


@pytest.mark.parametrize("backbone", ANATOMIES)
@pytest.mark.parametrize("name", SPACES)
def test_sizes_equal_brute_force(name, backbone):
    bound = SPACES[name].bind(ANATOMIES[backbone])
    dimensions = bound.dimensions()
    columns = [
        one.domain.options if isinstance(one.domain, Choice) else one.domain.values()
        for one in dimensions
    ]
    raw, keys = set(), set()
    for combination in itertools.product(*columns):
        answers = dict(zip((one.path for one in dimensions), combination, strict=True))
        point = bound.draw(lambda path, _, answers=answers: answers[path])
        values = frozenset(point.values.items())
        if values not in raw:
            raw.add(values)
            keys.add(bound.train_key(point.architecture))
    assert (bound.size(), bound.raw_size()) == (len(keys), len(raw))


@pytest.mark.parametrize("backbone", ANATOMIES)
@pytest.mark.parametrize("name", SPACES)
def test_no_draw_of_a_group_reaches_over_both_stacks(name, backbone):
    bound = SPACES[name].bind(ANATOMIES[backbone])
    for seed in range(20):
        architecture = bound.sample(seed)
        assert bound.contains(architecture)
        again = bound.decode(bound.encode(architecture)).architecture
        assert bound.train_key(again) == bound.train_key(architecture)


def test_ranks_of_encoder_and_decoder_are_drawn_apart():
    bound = SPACES["per group"].bind(ANATOMIES["3 + 2"])
    values = dict(zip((f"groups[{g}].lora.rank" for g in range(4)), (1, 2, 0, 1), strict=True))
    assert bound.replay(values).architecture == Architecture(
        LoRA(rank=ByLayer({0: 1, 1: 1, 2: 2, 3: 0, 4: 1}))
    )


def test_methods_of_encoder_and_decoder_are_drawn_apart():
    space = SearchSpace(Grouped(LoRA(rank=1), BitFit(targets=("query",), add=True), n=1))
    bound = space.bind(ANATOMIES["3 + 2"])
    assert bound.size() == bound.raw_size() == 9
    values = {"groups[0].lora": True, "groups[0].bitfit": False}
    values |= {"groups[1].lora": False}  # so that it has to be bitfit
    point = bound.replay(values)
    assert [method.layers for method in point.architecture.methods] == [(0, 1, 2), (3, 4)]
