"""A refused value: the rule that it breaks, and a remedy that can be written as it stands."""

from __future__ import annotations

import re

import pytest

from peftnas.methods import Adapter, BitFit, FullFineTuning, LNTuning, LoRA, Prompt
from peftnas.search.recipe import Recipe
from peftnas.spaces import ByLayer, Choice, Integer, PerLayer, Real, SearchSpace, Subset
from peftnas.spaces.nearest import nearest

SITES = "these names are peftnas's own, `peftnas doctor --backbone FOLDER`"
HUGE = 10**400  # more than a float can be
VALUES = [
    (lambda: LoRA(targets="query"), "must be a tuple of names, got 'query'; write ('query',)"),
    (lambda: LoRA(targets={"query"}), "must be a tuple of names, got {'query'}; write ('query',)"),
    (lambda: LoRA(targets=("query", "query")), "must be distinct names, .*; drop 'query'"),
    (
        lambda: LoRA(targets=("key", "q_proj")),
        f"did you mean 'query'? ({SITES}",
    ),
    (
        lambda: LoRA(targets="all-linear"),
        f"take some of these ({SITES}",
    ),
    (lambda: LoRA(targets=None), "got None; name them, or leave it out"),
    (lambda: BitFit(targets="query"), "got 'query'; write ('query',)"),
    (lambda: LNTuning(parts=("weights",)), "'weights' is none of them, did you mean 'weight'?"),
    (lambda: LoRA(targets=(["query"],)), "got (['query'],); ['query'] is none of them, take"),
    (lambda: LoRA(targets={1}), "got {1}; 1 is none of them, take some of these"),
    (lambda: LoRA(targets=Subset.of_layers()), "got Subset.of_layers(); name them, or leave it"),
    (lambda: BitFit(targets=Subset.of_layers()), "got Subset.of_layers(); name them, or leave it"),
    (lambda: LoRA(layers=0), "got 0; write (0,)"),
    (
        lambda: LoRA(layers=([0],)),
        "must be whole layer numbers from 0 on, got ([0],); write such as",
    ),
    (
        lambda: LoRA(layers={0, "a"}),
        "must be whole layer numbers from 0 on, got {.*}; write such as",
    ),
    (lambda: LoRA(layers=("a", "a")), "must be whole layer numbers .*; write such as (0, 1), or"),
    (lambda: LoRA(layers=range(2)), "got range(0, 2); write (0, 1)"),
    (lambda: LoRA(layers=(0, 0)), "must be distinct layer numbers, got (0, 0); drop 0"),
    (
        lambda: LoRA(layers=(-1,)),
        "must be layer numbers from 0 on, got (-1,); the last",
    ),
    (lambda: LoRA(layers="all"), "got 'all'; leave it out for all layers"),
    (lambda: LoRA(layers=(0.5,)), "must be whole layer numbers from 0 on, got (0.5,)"),
    (lambda: LoRA(rank=-1), "must be a whole number >= 0, got -1; raise it to 0 or more"),
    (lambda: LoRA(rank=2.5), "got 2.5; take 2 or 3"),
    (lambda: LoRA(rank=8.0), "got 8.0; write 8"),
    (lambda: LoRA(rank=-HUGE), f"got -{HUGE}; raise it to 0 or more"),
    (lambda: LoRA(alpha=HUGE), f"got {HUGE}; take a finite one"),
    (lambda: LoRA(alpha=Integer(1, HUGE)), "; change its bounds: take a finite one"),
    (lambda: LoRA(alpha=Real(1, HUGE)), "Real needs finite low < high, got low=1, high=1"),
    (lambda: LoRA(rank=ByLayer({0: 4, 1: [1]})), "got (1,); write a number, or leave it out"),
    (lambda: LoRA(rank=ByLayer({0: 4, 1: {1}})), "got {1}; write a plain Python number"),
    (lambda: LoRA(rank="8"), "got '8'; write a number without quotes"),
    (lambda: LoRA(rank=True), "got True; write a number, or leave it out"),
    (lambda: LoRA(rank=Real(1, 8)), "; use Integer(1, 8)"),
    (lambda: LoRA(rank=Integer(-4, 8)), "; change its bounds: raise -4 to 0 or more"),
    (lambda: LoRA(rank=PerLayer(Integer(-4, 8))), "; change its bounds: raise -4 to 0 or more"),
    (lambda: LoRA(rank=(1, 8)), "got (1, 8); to search a range write Integer(1, 8)"),
    (lambda: LoRA(alpha=0), "LoRA.alpha must be None or a number > 0, got 0; raise it above 0"),
    (lambda: LoRA(alpha=float("inf")), "got inf; take a finite one"),
    (lambda: LoRA(gate=Integer(1, 2)), "; to search several write Choice(...)"),
    (lambda: Recipe(learning_rate=(1e-3, 1e-2)), "; to search a range write Real(0.001, 0.01)"),
    (lambda: Recipe(warmup=Real(0.0, 2.0)), "; change its bounds: lower 2.0 to 1 or less"),
    (lambda: Recipe(dropout=Subset("a")), "; use Real(low, high), or a Choice of such values"),
    (lambda: Prompt(tokens=3), "got 3; write (3,)"),
    (lambda: Prompt(tokens=()), "got (); name at least one, or leave it out"),
    (lambda: Adapter(bottleneck=(64, 0)), "got (64, 0); write whole numbers, as a tuple"),
    (
        lambda: Adapter(scale="learn"),
        "must be 'learned' or a number > 0, got 'learn'; did",
    ),
    (lambda: LoRA(targets=Choice("query", "value")), "got 'query'; write ('query',)"),
    (
        lambda: LoRA(targets=Subset("q", "v")),
        "got Subset('q', 'v'); 'q' is none of them, did",
    ),
    (
        lambda: SearchSpace(LoRA(), gate="unipeld"),
        "LoRA.gate must be one of .*, got 'unipeld'; did",
    ),
]


@pytest.mark.parametrize(("make", "said"), VALUES)
def test_a_value_that_a_field_does_not_take(make, said):
    with pytest.raises(ValueError, match=re.escape(said).replace(r"\.\*", ".*")):
        make()


NAMES = [
    (lambda: LoRA(8), "LoRA takes its fields by name, got 8; write LoRA(rank=8)"),
    (
        lambda: BitFit(1),
        "BitFit takes its fields by name, got 1; name one of targets, add, stack, layers",
    ),
    (lambda: Adapter(64), "got 64; write Adapter(bottleneck=64)"),
    (lambda: LoRA(Integer(1, 8)), "; write LoRA(rank=Integer(low=1, high=8, "),
    (lambda: LoRA(r=8), "LoRA has the fields rank, gate, .*, got 'r'; did you mean 'rank'?"),
    (lambda: LoRA(lora_alpha=8), "got 'lora_alpha'; did you mean 'alpha'?"),
    (lambda: LoRA(zzz=8), "got 'zzz'; take one of these"),
    (
        lambda: FullFineTuning(rank=8),
        "FullFineTuning has the fields learning_rate, .*, got 'rank'; take one of these",
    ),
    (lambda: LoRA(lr=1e-3), "got 'lr'; did you mean 'learning_rate'?"),
    (
        lambda: Recipe(lr=1),
        "has the fields steps, .*, got 'lr'; did you mean 'learning_rate'?",
    ),
]


def test_a_list_of_a_layer_is_a_tuple():
    targets = ByLayer({0: ["query"], 1: ("up",)})
    assert BitFit(targets=targets) == BitFit(targets=ByLayer({0: ("query",), 1: ("up",)}))


@pytest.mark.parametrize(("make", "said"), NAMES)
def test_a_name_that_is_no_field(make, said):
    with pytest.raises(TypeError, match=re.escape(said).replace(r"\.\*", ".*")):
        make()


@pytest.mark.parametrize(
    ("given", "known", "found"),
    [
        ("lr", ("steps", "learning_rate", "layers"), "learning_rate"),
        ("q_proj", ("query", "in_proj", "x_proj"), "query"),
        ("o_proj", ("output", "output_project", "x_proj"), "output"),
        ("norm", ("key_norm", "ffn_norm"), None),
        ("zebra", ("query", "key"), None),
        (3, ("query",), None),
        ("", ("query",), None),
    ],
)
def test_nearest(given, known, found):
    assert nearest(given, known) == found
