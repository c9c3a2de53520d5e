"""Training settings that methods carry: which modules have them; nothing else reads them."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from peftnas.methods import (
    METHODS,
    Adapter,
    Architecture,
    BitFit,
    FullFineTuning,
    LoRA,
    Prefix,
    attach,
    count,
    describe,
    load,
    save,
)
from peftnas.methods.attach import AttachedModules
from peftnas.methods.testing.tiny import CONFIGS
from peftnas.spaces import Choice, Integer, Maybe, PerLayer, Real, SearchSpace, Subset, keys
from peftnas.spaces.fields import settings
from peftnas.spaces.training_settings import training_names

OWN = {"learning_rate": 3e-3, "rate_warmup": 0.1, "weight_decay": 0.01}
BERT = describe(CONFIGS["bert"]())


@pytest.mark.parametrize("kind", METHODS)
def test_every_method_has_them_last_and_says_them(kind: str) -> None:
    method = METHODS[kind]
    assert training_names(method) == tuple(OWN)
    assert list(settings(method))[-3:] == list(OWN)
    plain, own = method(), method(**OWN)
    assert "learning_rate" not in repr(plain)
    if len(settings(method)) > 3:
        assert repr(own) == repr(plain)[:-1] + (
            ", learning_rate=0.003, rate_warmup=0.1, weight_decay=0.01)"
        )
    words = Architecture(own).words()
    assert words == Architecture(plain).words() + " (lr 0.003, warmup 0.1, weight decay 0.01)"
    assert not OWN.keys() & Architecture(plain).to_dict()["methods"][0].keys()
    assert Architecture.from_dict(Architecture(own).to_dict()) == Architecture(own)


@pytest.mark.parametrize("kind", METHODS)
def test_they_are_kept_and_change_no_key_and_no_count(kind: str) -> None:
    method = METHODS[kind]
    try:
        canonical = BERT.canonical(Architecture(method()))
    except ValueError:
        pytest.skip("not on bert")
    own = BERT.canonical(Architecture(method(**OWN)))
    assert own == Architecture(*(one.replace(**OWN) for one in canonical.methods))
    assert BERT.canonical(own) == own
    assert keys.train_key(BERT.place(own)) == keys.train_key(BERT.place(canonical))
    assert count(own, BERT) == count(canonical, BERT)
    assert keys.arms_key(canonical, BERT) == ""
    assert keys.arms_key(own, BERT) or not own.methods


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"learning_rate": 0}, "LoRA.learning_rate must be None or a number > 0, got 0"),
        ({"learning_rate": Real(0, 1)}, "LoRA.learning_rate must be None or a number > 0"),
        ({"rate_warmup": 1.5}, "LoRA.rate_warmup must be None or a number >= 0 and <= 1, got 1.5"),
        ({"weight_decay": -0.1}, "LoRA.weight_decay must be None or a number >= 0, got -0.1"),
        (
            {"learning_rate": PerLayer(Real(0.1, 1))},
            "LoRA.learning_rate is one value for the whole backbone",
        ),
    ],
)
def test_bounds_are_those_of_the_recipe(fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError) as error:
        LoRA(**fields)
    assert sentence in str(error.value)


@pytest.mark.parametrize(
    ("name", "guess"), [("lr", "learning_rate"), ("r", "rank"), ("warmup", "rate_warmup")]
)
def test_names_from_elsewhere_are_guessed(name: str, guess: str) -> None:
    with pytest.raises(TypeError, match=f"did you mean '{guess}'"):
        LoRA(**{name: 1})


def names_of(attached: AttachedModules) -> dict[str, dict[str, float]]:
    named = {parameter: name for name, parameter in attached.named_parameters()}
    return {named[parameter]: dict(own) for parameter, own in attached.arms().items()}


def test_attached_modules_know_the_settings_of_their_method(build_backbone, tmp_path):
    model = build_backbone("bert")
    architecture = Architecture(
        LoRA(rank=2, targets=("query",), learning_rate=0.1, b_rate=2.0),
        LoRA(rank=2, targets=("query",), learning_rate=0.2, layers=(0,)),
        Adapter(bottleneck=2, layers=(1,), weight_decay=0.5),
        Prefix(length=2),
        BitFit(targets=("query",)),
    )
    attached = attach(model, architecture)
    found = names_of(attached)
    assert found.pop("layers[0].attention.query.lora.A") == {"learning_rate": 0.1}
    assert found.pop("layers[0].attention.query.lora2.B") == {"learning_rate": 0.2}
    for name, own in found.items():
        where = "lora2" if "lora2" in name else "lora" if "lora" in name else "layers[1].ffn"
        assert where in name
        assert (
            own
            == {
                "lora": {"learning_rate": 0.1},
                "lora2": {"learning_rate": 0.2},
                "layers[1].ffn": {"weight_decay": 0.5},
            }[where]
        )
    assert len(found) == 5 + 1 + 4  # LoRA in three layers, the second in one, the adapter's two
    save(attached, tmp_path)
    attached.detach()
    loaded = load(tmp_path, model)
    assert loaded.architecture == architecture
    assert names_of(loaded).keys() == names_of(attached).keys()
    loaded.detach()


def test_without_any_there_are_none(build_backbone):
    attached = attach(build_backbone("bert"), Architecture(LoRA(), FullFineTuning()))
    assert attached.arms() == {}


def test_full_fine_tuning_gives_the_backbone_a_rate(build_backbone):
    model = build_backbone("bert")
    attached = attach(model, FullFineTuning(learning_rate=1e-4))
    assert attached.arms().keys() == set(attached.parameters())


def test_start_values_do_not_depend_on_them(build_backbone):
    states = []
    for own in ({}, OWN):
        attached = attach(build_backbone("bert"), LoRA(rank=2, **own), seed=3)
        states.append(attached.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_a_space_of_methods_with_rates_counts_and_holds_as_one_without():
    def items(**own: Any) -> tuple[Any, ...]:
        layers = Subset.of_layers()
        return (
            Maybe(LoRA(rank=Integer(1, 4), targets=Subset("query", "key"), layers=layers, **own)),
            Maybe(Choice(Adapter(bottleneck=Choice(2, 4), **own), Prefix(length=Integer(1, 3)))),
        )

    own = {"learning_rate": Real(1e-4, 1e-2, log=True), "weight_decay": Choice(0, 0.1)}
    with_rates, plain = (SearchSpace(*items(**fields)).bind(BERT) for fields in (own, {}))
    assert with_rates.size() == plain.size() and with_rates.raw_size() == plain.raw_size()
    assert with_rates.size("1%") == plain.size("1%")
    drawn = [with_rates.sample(seed) for seed in range(30)] + with_rates.uniform(20, seed=1)
    for architecture in drawn:
        point = with_rates.find(architecture)
        assert point is not None, with_rates.why_not(architecture)
        assert with_rates.canonical(point.architecture) == architecture
        rated = any(method.learning_rate for method in architecture.methods)
        assert plain.contains(architecture) is not rated
