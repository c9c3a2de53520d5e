"""The walk: every draw replays, decodes, inverts; samples stay inside; constraints hold."""

from __future__ import annotations

import random
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peftnas.spaces import (
    Architecture,
    ByLayer,
    Choice,
    Integer,
    Maybe,
    PerGroup,
    PerLayer,
    Point,
    Real,
    SearchSpace,
    Shared,
    Subset,
    Switch,
)
from peftnas.spaces.choosers import at_random
from peftnas.spaces.dimensions import field_dimensions
from peftnas.spaces.space_checks import ties
from peftnas.spaces.tree import draw_fields
from tests.spaces.strategies import ANATOMIES, spaces
from tests.spaces.toy import Bias, Box, Low, Soft, Span, ToyAnatomy


@settings(deadline=None)
@given(spaces(), ANATOMIES, st.integers(0, 2**32))
def test_every_draw_replays_decodes_and_is_found(
    space: SearchSpace, anatomy: ToyAnatomy, seed: int
) -> None:
    bound = space.bind(anatomy)
    asked: list[tuple[str, Any]] = []
    answer = at_random(random.Random(seed))

    def choose(path: str, domain: Any) -> Any:
        asked.append((path, domain))
        return answer(path, domain)

    point = bound.draw(choose)
    assert bound.replay(point.values) == point
    assert bound.decode(bound.encode(point)) == point
    listed = {dimension.path: dimension.domain for dimension in bound.dimensions()}
    assert [path for path, _ in asked] == list(point.values)
    assert all(listed[path] == domain for path, domain in asked)
    # what is shared is asked when the first field of several needs it
    shared = {"gate", *(tie.name for tie in ties(space.items))}
    own = [path for path, _ in asked if shared.isdisjoint(re.split(r"[.\]]+", path))]
    positions = [list(listed).index(path) for path in own]
    assert positions == sorted(positions)
    found = bound.find(point.architecture)
    assert found is not None
    assert bound.train_key(found.architecture) == bound.train_key(point.architecture)
    inside = bound.broken_constraint(point.architecture) is None
    assert bound.contains(point.architecture) == inside


@settings(deadline=None)
@given(spaces(), ANATOMIES, st.integers(0, 2**32))
def test_samples_are_canonical_and_inside(
    space: SearchSpace, anatomy: ToyAnatomy, seed: int
) -> None:
    bound = space.bind(anatomy)
    try:
        bound.check_feasible()
    except ValueError as error:
        assert "no architecture" in str(error)
        with pytest.raises(ValueError, match="no architecture"):
            bound.sample(seed)
        return
    architecture = bound.sample(seed)
    assert architecture == bound.canonical(architecture) == bound.sample(seed)
    assert bound.contains(architecture), bound.why_not(architecture)
    vector = bound.encode(architecture)
    assert vector.shape == (len(bound.dimensions()),)
    assert np.all(np.isnan(vector) | ((vector >= 0) & (vector <= 1)))
    assert bound.train_key(bound.decode(vector).architecture) == bound.train_key(architecture)


SPACE = SearchSpace(
    Maybe(Box(rank=PerLayer(Integer(0, 3)), layers=Subset.of_layers(), style="serial")),
    Low(rank=PerGroup(2, Integer(1, 4)), targets=Subset("query", "value")),
    Choice(Soft(length=Choice(1, 2)), Span(length=Integer(1, 4, log=True)), None),
    Maybe(Box(rank=Choice(0, Integer(2, 8)))),
    gate=Choice(None, "unipelt"),
)


def _everything(path: str, domain: Any) -> Any:
    return domain.options[-1] if isinstance(domain, Choice) else domain.high


def test_paths_are_readable() -> None:
    bound = SPACE.bind(ToyAnatomy(3))
    assert [dimension.path for dimension in bound.dimensions()] == [
        "toy_box",
        "toy_box.layers.0",
        "toy_box.layers.1",
        "toy_box.layers.2",
        "layers[0].toy_box.rank",
        "layers[1].toy_box.rank",
        "layers[2].toy_box.rank",
        "gate",
        "groups[0].toy_low.rank",
        "groups[1].toy_low.rank",
        "toy_low.targets.query",
        "toy_low.targets.value",
        "method",
        "method.toy_soft.length",
        "method.toy_span.length",
        "toy_box2",
        "toy_box2.rank",
        "toy_box2.rank.integer",
    ]


def test_an_architecture_as_drawn() -> None:
    values = {
        "toy_box": True,
        "toy_box.layers.0": False,
        "toy_box.layers.1": True,
        "toy_box.layers.2": True,
        "layers[1].toy_box.rank": 0,
        "layers[2].toy_box.rank": 3,
        "gate": "unipelt",
        "groups[0].toy_low.rank": 4,
        "groups[1].toy_low.rank": 2,
        "toy_low.targets.query": False,
        "method": "none",
        "toy_box2": False,
    }
    point = SPACE.bind(ToyAnatomy(3)).replay(values)
    assert point.values == values
    assert point.architecture == Architecture(
        Box(rank=ByLayer({1: 0, 2: 3}), layers=(1, 2), gate="unipelt"),
        Low(rank=ByLayer({0: 4, 1: 4, 2: 2}), targets=("value",), gate="unipelt"),
    )


def test_the_gate_is_asked_only_where_a_method_carries_one() -> None:
    bound = SearchSpace(Maybe(Box()), Soft(), gate=Choice(None, "unipelt")).bind(ToyAnatomy())
    assert bound.replay({"toy_box": False}).values == {"toy_box": False}
    with pytest.raises(ValueError, match="gate is active and needs a value"):
        bound.replay({"toy_box": True})


def test_an_inactive_field_takes_its_default() -> None:
    space = SearchSpace(Box(style=Choice("serial", "parallel"), placement=Choice("b", "a")))
    bound = space.bind(ToyAnatomy())
    parallel = bound.replay({"toy_box.style": "parallel"})
    assert parallel.architecture == Architecture(Box(style="parallel", placement="a"))
    with pytest.raises(ValueError, match=r"only active .* toy_box.placement, which is not; drop"):
        bound.replay({"toy_box.style": "parallel", "toy_box.placement": "b"})


def test_answers_are_checked() -> None:
    bound = SearchSpace(Box(rank=Integer(1, 4))).bind(ToyAnatomy())
    with pytest.raises(ValueError, match=r"toy_box.rank must be drawn from .*, got 9; change"):
        bound.replay({"toy_box.rank": 9})
    with pytest.raises(ValueError, match="must have 1 columns, got 2"):
        bound.decode([0.5, 0.5])
    with pytest.raises(ValueError, match="active here and must be in"):
        bound.decode([float("nan")])


def test_layers_and_sites_are_checked_when_bound() -> None:
    with pytest.raises(ValueError, match=r"toy_box.layers must name layers 0..2 .* got 5; drop"):
        SearchSpace(Box(layers=(0, 5))).bind(ToyAnatomy(3))
    with pytest.raises(ValueError, match="at most 3 groups"):
        SearchSpace(Box(rank=PerGroup(4, Integer(1, 2)))).bind(ToyAnatomy(3))
    with pytest.raises(ValueError, match=r"min_size <= 3 \(the backbone's layers\), got 4; lower"):
        SearchSpace(Box(layers=Subset.of_layers(min_size=4))).bind(ToyAnatomy(3))
    with pytest.raises(ValueError, match="targets must be in .*, got 'key'"):
        SearchSpace(Maybe(Low(targets=Subset("query", "key")))).bind(
            ToyAnatomy(targets=("query",))
        )


def test_subsets_are_drawn_uniformly() -> None:
    bound = SearchSpace(Low(targets=Subset("query", "key", "value"))).bind(ToyAnatomy())
    choose = at_random(random.Random(0))
    drawn = [bound.draw(choose).architecture.methods[0] for _ in range(7000)]
    shares = {m: drawn.count(m) / 7000 for m in set(drawn)}
    assert len(shares) == 7
    assert all(abs(share - 1 / 7) < 0.02 for share in shares.values())


def test_logarithmic_domains_are_drawn_in_the_logarithm() -> None:
    choose = at_random(random.Random(0))
    box = Box(rank=Integer(1, 64, log=True), scale=Real(1e-3, 1e3, log=True))
    drawn = [draw_fields(box, "box", choose)[1] for _ in range(4000)]
    assert abs(np.mean([d.scale < 1 for d in drawn]) - 0.5) < 0.03
    ranks = [d.rank for d in drawn]
    assert set(ranks) >= set(range(1, 20)) and max(ranks) <= 64
    share = np.log(8.5 / 0.5) / np.log(64.5 / 0.5)
    assert abs(np.mean([rank <= 8 for rank in ranks]) - share) < 0.03


def test_fields_outside_a_space_are_walked_alike() -> None:
    box = Box(rank=Integer(1, 4), scale=Real(0.5, 2.0))
    values, drawn = draw_fields(box, "recipe", _everything)
    assert values == {"recipe.rank": 4, "recipe.scale": 2.0}
    assert drawn == Box(rank=4, scale=2.0)
    assert [d.path for d in field_dimensions(box, "recipe")] == list(values)


def test_real_values_keep_their_place() -> None:
    bound = SearchSpace(Box(scale=Real(0.1, 10.0, log=True))).bind(ToyAnatomy())
    for scale in (0.1, 0.3, 1.0, 10.0):
        point = bound.replay({"toy_box.scale": scale})
        again = bound.decode(bound.encode(point))
        assert again.values["toy_box.scale"] == pytest.approx(scale, rel=1e-12)
    assert bound.contains(Architecture(Box(scale=0.5)))
    assert bound.find(Architecture(Box(scale=0.5))) == Point(
        {"toy_box.scale": 0.5}, Architecture(Box(scale=0.5))
    )


OUTSIDE = [
    (Architecture(Box(rank=9)), r"toy_box.rank must be drawn from .*, got 9"),
    (Architecture(Box(rank=2, site="both")), r"toy_box.site must be 'ffn', got 'both'"),
    (Architecture(Box(rank=2, layers=(0, 1, 2))), r"toy_box.layers must be .*, got layers"),
    (Architecture(Box(rank=4), Low(rank=1)), r"<= 900 \(max_parameters='30%'\), got"),
    (Architecture(Soft()), r"method must be one of toy_box, toy_low, got toy_soft"),
    (Architecture(Box(rank=1), Low(rank=2)), r"toy_low.rank must be 1, got 2"),
    (Architecture(Box(rank=1, gate="unipelt")), r"toy_box.gate must be None"),
    (Architecture(Box(rank=1), Box(rank=2)), "no place for this many toy_box"),
    (Architecture(), "at least one method must be present, got the bare head"),
    (Architecture(Box(layers=(7,))), "layers must be < 3, got 7"),
]


@pytest.mark.parametrize(("architecture", "message"), OUTSIDE)
def test_outside_names_the_broken_rule(architecture: Architecture, message: str) -> None:
    space = SearchSpace(
        Maybe(Box(rank=Integer(1, 4), layers=Subset(0, 1, 2, min_size=0))),
        Maybe(Low(rank=1, targets=Subset("query", "key", "value"))),
        max_parameters="30%",
        at_least_one_method=True,
    )
    if "layers must be .*, got layers" in message:
        space = SearchSpace(Maybe(Box(rank=Integer(1, 4), layers=Subset(0, 1))))
    if "900" in message:
        architecture = Architecture(Box(rank=40), Low(rank=1))
    bound = space.bind(ToyAnatomy(3))
    reason = bound.why_not(architecture)
    assert reason is not None and not bound.contains(architecture)
    assert re.search(message, reason), reason


def test_a_missing_method_is_named() -> None:
    bound = SearchSpace(Low(), Maybe(Box())).bind(ToyAnatomy())
    reason = bound.why_not(Architecture(Box()))
    assert reason == "toy_low must be present, got an architecture without it"


def test_other_spellings_are_inside() -> None:
    bound = SearchSpace(Box(rank=PerLayer(Integer(0, 2)), style="parallel")).bind(ToyAnatomy(2))
    assert bound.contains(Architecture(Box(rank=1, style="parallel", layers=(1,))))
    assert bound.contains(Architecture(Box(rank=ByLayer({0: 1, 1: 1}), style="parallel")))
    assert bound.contains(Architecture(Box(style="parallel", placement="b", rank=2)))
    assert bound.contains(Architecture())
    assert not bound.contains(Architecture(Box(rank=1, layers=(1,))))


def test_a_rule_across_methods_is_followed() -> None:
    space = SearchSpace(Maybe(Span()), Bias(targets=Subset("query", "key")))
    bound = space.bind(ToyAnatomy())
    key_bias = Bias(targets=("query", "key"))
    assert bound.contains(Architecture(Span(), key_bias))
    assert bound.count(Architecture(Span(), key_bias)) == 60 * 3 + 60
    assert bound.count(Architecture(key_bias)) == 30
    assert bound.train_key(Architecture(key_bias)) == bound.train_key(
        Architecture(Bias(targets=("query",)))
    )


def test_keys_ignore_order_and_tell_training_from_function() -> None:
    bound = SearchSpace(Maybe(Box()), Maybe(Low())).bind(ToyAnatomy())
    one, other = Architecture(Box(), Low()), Architecture(Low(), Box())
    assert bound.train_key(one) == bound.train_key(other)
    scaled = Architecture(Box(scale=2.0), Low())
    assert bound.train_key(scaled) != bound.train_key(one)
    assert bound.function_key(scaled) == bound.function_key(one)
    assert bound.train_key(Architecture(Box(scale=1))) == bound.train_key(Architecture(Box()))


def test_a_budget_that_nothing_meets() -> None:
    bound = SearchSpace(Box(rank=Integer(2, 9)), max_parameters=100).bind(ToyAnatomy(3))
    with pytest.raises(ValueError, match=r"must be <= 100 .*, got 120 at the smallest point"):
        bound.check_feasible()
    with pytest.raises(ValueError, match="found that meets its budget"):
        bound.sample(0)
    with pytest.raises(ValueError, match="found that meets its budget"):
        bound.parameter_range()


def test_a_rare_feasible_point_is_sampled() -> None:
    space = SearchSpace(Box(rank=Integer(1, 10_000)), max_parameters=60)
    architecture = space.bind(ToyAnatomy(3)).sample(1)
    assert architecture == Architecture(Box(rank=1))


def test_a_percentage_is_of_the_backbone() -> None:
    bound = SearchSpace(Maybe(Box()), max_parameters="2.5%").bind(ToyAnatomy(3))
    assert bound.max_parameters == 75


def test_the_tree_in_words() -> None:
    space = SearchSpace(
        Maybe(Box(rank=Integer(1, 64, log=True), layers=Subset.of_layers())),
        Choice(Low(targets=Subset("query", "key")), Soft(length=Choice(1, 5)), None),
        gate=Choice(None, "unipelt"),
        max_parameters="2%",
        at_least_one_method=True,
    )
    assert space.bind(ToyAnatomy(3)).tree().splitlines() == [
        "search space",
        "├─ toy_box, or absent",
        "│  ├─ rank: 1 to 64, log scale",
        "│  └─ layers: a subset of the layers, at least 1",
        "├─ one of",
        "│  ├─ toy_low",
        "│  │  └─ targets: a subset of query, key, at least 1",
        "│  ├─ toy_soft",
        "│  │  └─ length: one of 1, 5",
        "│  └─ no method",
        "├─ gate: one of none, unipelt, one for all methods that can carry it",
        "├─ at most 60 trainable parameters (2% of the backbone)",
        "└─ at least one method",
    ]


def test_the_tree_tells_a_shared_draw_once() -> None:
    """Fields that follow it name it; what a switch holds stands case by case."""
    size, wide = Shared("size", Integer(1, 9)), Shared("wide", Choice("no", "yes"))
    space = SearchSpace(
        Box(rank=size),
        Low(rank=Switch(wide, {"no": 2, "yes": Choice(8, size)})),
    )
    assert space.bind(ToyAnatomy(3)).tree().splitlines() == [
        "search space",
        "├─ size, drawn once: 1 to 9",
        "├─ wide, drawn once: one of no, yes",
        "├─ toy_box",
        "│  └─ rank: size",
        "└─ toy_low",
        "   └─ rank depends on wide",
        "      ├─ no: 2",
        "      └─ yes: one of 8, size",
    ]
