"""Training settings of methods: drawn and found again, but no part of what is counted."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peftnas.spaces import (
    Architecture,
    ByLayer,
    Choice,
    Configurable,
    Grouped,
    Integer,
    Maybe,
    PerLayer,
    Real,
    SearchSpace,
    Shared,
    Subset,
    Switch,
    forbid,
    keys,
    setting,
)
from peftnas.spaces.choosers import at_random
from peftnas.spaces.fields import AnyOf, Layers, Number, OneOf, Whole
from peftnas.spaces.fields import settings as settings_of
from peftnas.spaces.serial import to_json
from tests.spaces.strategies import spaces
from tests.spaces.toy import WIDTH, Box, Low, Part, ToyAnatomy

TOY = ToyAnatomy()


@dataclass(frozen=True, kw_only=True)
class Paced(Configurable):
    """Like a method with a learning rate of its own."""

    kind: ClassVar[str] = "toy_paced"
    pace: Any = setting(AnyOf(OneOf(None), Number(0, above=True)), default=None, training="pace")
    rank: Any = setting(Whole(0), default=4, by_layer=True, size=True)
    layers: Any = setting(Layers(), default=None)

    def place(self, anatomy: ToyAnatomy) -> Iterator[Part]:
        layers = range(anatomy.n_layers) if self.layers is None else self.layers
        for layer in layers:
            rank = self.rank[layer] if isinstance(self.rank, ByLayer) else self.rank
            if rank:
                yield Part(self.kind, f"layers[{layer}].ffn", (rank,), rank * WIDTH)


def test_they_come_last() -> None:
    assert list(settings_of(Paced)) == ["rank", "layers", "pace"]
    bound = SearchSpace(Paced(rank=Integer(1, 2), pace=Real(0.1, 1))).bind(TOY)
    assert [one.path for one in bound.dimensions()] == ["toy_paced.rank", "toy_paced.pace"]


RANKS = Choice(1, 2, 8)
PACES: dict[str, Any] = {
    "real": Real(0.1, 1),
    "choice": Choice(None, 1, 0.5),
    "integer": Integer(1, 3),
    "nested": Choice(2.0, Real(0.1, 1.0)),
    "shared": Shared("pace", Choice(0.1, 0.2)),
    "fixed": 1,
}
SPACES: dict[str, Any] = {
    "alone": lambda pace: (Paced(rank=RANKS, pace=pace),),
    "layers": lambda pace: (
        Maybe(Paced(rank=PerLayer(Integer(0, 2)), layers=Subset.of_layers(), pace=pace)),
        Low(rank=RANKS),
    ),
    "choice of methods": lambda pace: (Choice(Low(), Paced(rank=RANKS, pace=pace), None),),
    "two of a kind": lambda pace: (
        Maybe(Paced(rank=1, pace=pace)),
        Maybe(Paced(rank=RANKS, pace=Choice(7.0, 8.0))),
    ),
    "groups": lambda pace: (Grouped(Paced(rank=RANKS, pace=pace), Low(rank=2), n=3),),
}


@pytest.mark.parametrize("pace", PACES)
@pytest.mark.parametrize("space", SPACES)
def test_every_draw_is_inside_and_found_with_its_settings(space: str, pace: str) -> None:
    bound = SearchSpace(*SPACES[space](PACES[pace])).bind(TOY)
    choose = at_random(random.Random(0))
    for _ in range(40):
        point = bound.draw(choose)
        canonical = bound.canonical(point.architecture)
        found = bound.find(point.architecture)
        assert found is not None, bound.why_not(point.architecture)
        again = bound.canonical(found.architecture)
        assert keys.train_key(TOY.place(again)) == keys.train_key(TOY.place(canonical))
        assert keys.arms_key(again, TOY) == keys.arms_key(canonical, TOY)
        encoded = bound.encode(point.architecture)
        assert bound.decode(encoded).architecture == found.architecture


@pytest.mark.parametrize("pace", PACES)
@pytest.mark.parametrize("space", SPACES)
def test_sizes_are_those_of_the_space_without_them(space: str, pace: str) -> None:
    one = SearchSpace(*SPACES[space](PACES[pace])).bind(TOY)
    other = SearchSpace(*SPACES[space](None)).bind(TOY)
    if space == "two of a kind":  # which holds settings in both
        other = SearchSpace(Maybe(Paced(rank=1)), Maybe(Paced(rank=RANKS))).bind(TOY)
    for budget in (None, 100):
        assert one.size(budget) == other.size(budget)
        assert one.raw_size(budget) == other.raw_size(budget)
    assert one.size().reals == other.size().reals == ()
    assert one.parameter_range() == other.parameter_range()


def test_arms_that_differ_in_them_alone_are_one_architecture() -> None:
    space = SearchSpace(Choice(Paced(rank=2, pace=0.1), Paced(rank=2, pace=0.2), Low()))
    assert space.bind(TOY).size() == 2
    assert len(space.bind(TOY).dimensions()[0].domain.options) == 3


@pytest.mark.parametrize("space", SPACES)
def test_even_draws_have_them_drawn_from_their_domains(space: str) -> None:
    bound = SearchSpace(*SPACES[space](Real(0.1, 0.2))).bind(TOY)
    drawn = [*bound.uniform(60, seed=0), *bound.stratified(20, seed=0, strata=3)]
    paces = [m.pace for a in drawn for m in a.methods if isinstance(m, Paced)]
    assert all(bound.contains(architecture) for architecture in drawn)
    assert all(0.1 <= pace <= 0.2 or pace in (7.0, 8.0) for pace in paces)
    assert len(set(paces)) > 15
    assert drawn == [*bound.uniform(60, seed=0), *bound.stratified(20, seed=0, strata=3)]


@pytest.mark.parametrize(
    ("held", "given", "reason"),
    [
        (
            Real(0.1, 1),
            2.0,
            "toy_paced.pace must be drawn from Real(low=0.1, high=1, ",
        ),
        (Real(0.1, 1), None, "got None"),
        (None, 2.0, "toy_paced.pace must be None, got 2.0"),
        (0.5, 2.0, "toy_paced.pace must be 0.5, got 2.0"),
        (Choice(0.1, None), 2.0, "toy_paced.pace must be drawn from Choice(0.1, None), got 2.0"),
    ],
)
def test_another_value_is_outside_by_its_rule(held: Any, given: Any, reason: str) -> None:
    bound = SearchSpace(Paced(rank=RANKS, pace=held)).bind(TOY)
    why_not = bound.why_not(Architecture(Paced(rank=8, pace=given)))
    assert why_not is not None and reason in why_not
    assert bound.find(Architecture(Paced(rank=8, pace=given))) is None


def test_keys_of_the_architecture_do_not_read_them_and_those_of_arms_do() -> None:
    bound = SearchSpace(Paced(rank=RANKS)).bind(TOY)
    plain, one, other = (Architecture(Paced(pace=pace)) for pace in (None, 1, 2.0))
    assert len({bound.train_key(a) for a in (plain, one, other)}) == 1
    assert len({bound.function_key(a) for a in (plain, one, other)}) == 1
    assert keys.arms_key(plain, TOY) == ""
    assert keys.arms_key(one, TOY) != keys.arms_key(other, TOY)
    # one method in all layers, or two in some each, that train alike
    apart = Architecture(Paced(pace=1.0, layers=(0, 1)), Paced(pace=1.0, layers=(2,)))
    assert keys.arms_key(apart, TOY) == keys.arms_key(one, TOY)


def test_json_leaves_them_out_where_there_are_none() -> None:
    plain, own = Architecture(Paced(rank=2)), Architecture(Paced(rank=2, pace=0.5))
    assert plain.to_dict()["methods"] == [{"kind": "toy_paced", "rank": 2, "layers": None}]
    assert own.to_dict()["methods"][0]["pace"] == 0.5
    written = {"kind": "toy_paced", "rank": 2, "layers": None, "pace": None}
    assert Architecture.from_dict({"format": 1, "methods": [written]}) == plain
    for architecture in (plain, own):
        assert Architecture.from_json(architecture.to_json()) == architecture
    space = SearchSpace(Paced(rank=RANKS, pace=Choice(None, Real(0.1, 1))))
    assert SearchSpace.from_dict(space.to_dict()) == space


def test_they_stand_in_words_and_can_be_frozen() -> None:
    assert Architecture(Paced(rank=2, pace=0.5)).words() == "toy_paced(rank=2) (pace 0.5)"
    space = SearchSpace(Paced(rank=RANKS, pace=Real(0.1, 1)))
    assert "pace: 0.1 to 1 (real)" in space.bind(TOY).tree()
    assert space.freeze({"toy_paced.pace": 0.5}).items == (Paced(rank=RANKS, pace=0.5),)


@pytest.mark.parametrize("constraint", ["toy_paced.pace <= 1", forbid({"toy_paced.pace": 1})])
def test_constraints_are_on_the_architecture(constraint: Any) -> None:
    with pytest.raises(ValueError, match=r"got toy_paced\.pace, a setting of the training"):
        SearchSpace(Paced(pace=Real(0.1, 1)), constraints=[constraint])


def test_another_setting_is_a_change() -> None:
    bound = SearchSpace(Paced(rank=2, pace=Choice(0.1, 0.2, None))).bind(TOY)
    parent = Architecture(Paced(rank=2, pace=0.1))
    near = bound.neighbours(parent)
    assert [one.methods[0].pace for one in near] == [0.2, None]
    assert {bound.mutate(parent, seed) for seed in range(20)} == set(near)
    both = {bound.crossover(parent, near[0], seed) for seed in range(20)}
    assert both == {parent, near[0]}
    # one network, however trained
    assert bound.distance(parent, near[0]) == 0


@dataclass(frozen=True, kw_only=True)
class PacedLow(Low):
    """A toy method as random spaces hold it, with a setting of its own."""

    kind: ClassVar[str] = "toy_paced_low"
    pace: Any = setting(AnyOf(OneOf(None), Number(0, above=True)), default=None, training="pace")


@settings(max_examples=15, deadline=None)
@given(
    space=spaces(),
    pace=st.sampled_from([PACES["real"], PACES["choice"], PACES["shared"]]),
    seed=st.integers(0, 10**6),
)
def test_random_spaces_with_settings_are_counted_and_found_as_without(
    space: SearchSpace, pace: Any, seed: int
) -> None:
    text = json.dumps(space.to_dict()).replace('"toy_low', '"toy_paced_low')
    plain = SearchSpace.from_dict(json.loads(text)).bind(TOY)
    head = '"kind": "toy_paced_low"'
    text = text.replace(head, f'{head}, "pace": {json.dumps(to_json(pace))}')
    bound = SearchSpace.from_dict(json.loads(text)).bind(TOY)
    assert (bound.size(), bound.raw_size()) == (plain.size(), plain.raw_size())
    choose = at_random(random.Random(seed))
    for _ in range(3):
        point = bound.draw(choose)
        if bound.broken_constraint(point.architecture) is not None:
            continue
        found = bound.find(point.architecture)
        assert found is not None, bound.why_not(point.architecture)
        canonical, again = map(bound.canonical, (point.architecture, found.architecture))
        assert keys.arms_key(again, TOY) == keys.arms_key(canonical, TOY)


def test_settings_are_drawn_where_the_architecture_is_hard_to_find_again() -> None:
    wide = Shared("wide", Choice(False, True))
    bound = SearchSpace(
        Box(
            rank=Switch(wide, {False: 1, True: Choice(0, 2)}),
            layers=Subset.of_layers(min_size=0),
        ),
        PacedLow(
            rank=Switch(wide, {False: 1, True: PerLayer(Integer(0, 1))}), pace=Choice(0.1, 0.2)
        ),
    ).bind(ToyAnatomy(8))
    drawn = bound.uniform(60, 0)
    paces = {
        method.pace for one in drawn for method in one.methods if isinstance(method, PacedLow)
    }
    assert len(drawn) == 60 and paces == {0.1, 0.2}
