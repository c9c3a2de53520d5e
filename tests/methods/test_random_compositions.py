"""Any composition of methods: refused with a reason, or counted, trained, saved, taken off."""

from __future__ import annotations

import copy
import pickle
import sys
import tempfile
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import PreTrainedModel

from peftnas.methods import METHODS, Anatomy, Architecture, attach, count, describe, load
from peftnas.methods.testing.tiny import build, inputs_of, output
from peftnas.spaces.fields import (
    AnyOf,
    Layers,
    Number,
    OneOf,
    Sizes,
    SomeOf,
    Tokens,
    Values,
    Whole,
)
from peftnas.spaces.fields import settings as fields_of
from peftnas.spaces.structure import ByLayer
from tests.methods.conftest import assert_same

FAMILIES = ("bert", "llama", "gpt2", "t5", "vit")
TOKENS = 7  # of the texts of ``inputs_of``
EAGER = {"deadline": None, "suppress_health_check": list(HealthCheck), "derandomize": True}


def values_of(values: Values, anatomy: Anatomy) -> st.SearchStrategy[Any]:
    """Values that a field takes; names of linears mostly such as the backbone has.

    Sizes are small, or up to 40: beyond the width of 16 of the backbones and their table of 40
    positions.
    """
    match values:
        case Whole(low, high):
            small, large = (most if high is None else min(most, high) for most in (low + 4, 40))
            return st.integers(low, small) | st.integers(low, large)
        case Number(low, high):
            return st.sampled_from([x for x in (0.25, 0.5, 2.0) if values.takes(x)])
        case OneOf():
            return st.sampled_from(values.values)
        case SomeOf():
            known = [item for item in values.items if item in anatomy.targets] or values.items
            some = st.lists(st.sampled_from(known), max_size=3, unique=True)
            return some.map(tuple)
        case Sizes():
            return st.lists(st.integers(1, 4), min_size=1, max_size=2).map(tuple)
        case Tokens():
            return st.lists(st.integers(0, 59), min_size=1, max_size=3).map(tuple)
        case Layers():
            layers = st.lists(st.integers(0, anatomy.n_layers - 1), unique=True)
            return st.none() | layers.map(lambda some: tuple(sorted(some)))
        case AnyOf():
            return st.one_of([values_of(kind, anatomy) for kind in values.kinds])
    raise AssertionError(f"no strategy for {values!r}")


@st.composite
def fields_of_methods(draw: st.DrawFn, anatomy: Anatomy) -> tuple[str, dict[str, Any]]:
    """A kind, and values of its fields, which together may break a rule."""
    kind = draw(st.sampled_from([kind for kind in METHODS if kind != "full"]))
    given_fields: dict[str, Any] = {}
    for name, declared in fields_of(METHODS[kind]).items():
        one = values_of(declared.values, anatomy)
        if declared.size or name in ("targets", "layers"):
            given_fields[name] = draw(one)
        elif draw(st.booleans()):
            given_fields[name] = draw(one)
        if declared.by_layer and name in given_fields and draw(st.integers(0, 4)) == 0:
            table = {layer: draw(one) for layer in range(anatomy.n_layers)}
            given_fields[name] = ByLayer(table)
    return kind, given_fields


def refused(error: ValueError) -> None:
    """A refusal is one sentence with a reason and a remedy."""
    sentence = str(error)
    assert "\n" not in sentence and len(sentence) > 20, sentence
    assert ";" in sentence or ":" in sentence or "," in sentence, sentence


def digest(model: torch.nn.Module) -> list[torch.Tensor]:
    return [value.clone() for value in model.state_dict().values()]


def live(name: str, data: st.DataObject) -> None:
    """The whole life of one random composition."""
    model = build(name).requires_grad_(False)
    if name == "t5":
        # its random weights can make float32 itself wrong by 1e-4 of the largest value
        model.double()
    some = data.draw(st.lists(fields_of_methods(describe(model)), min_size=1, max_size=4))
    try:
        architecture = Architecture(*(METHODS[kind](**fields) for kind, fields in some))
        count(architecture, describe(model))
    except ValueError as error:
        return refused(error)
    whole_life(model, architecture)


def room(model: PreTrainedModel) -> int:
    """Positions for a prompt and the text behind it, whose length no construction knows."""
    learned = describe(model).positions == "learned" and hasattr(model.config, "vocab_size")
    return (
        getattr(model.config, "max_position_embeddings", sys.maxsize) if learned else sys.maxsize
    )


def whole_life(model: PreTrainedModel, architecture: Architecture) -> None:
    """Counted, trained, copied, pickled, merged, taken off, saved, loaded again."""
    inputs = inputs_of(model)
    bare, before = output(model, inputs), digest(model)
    expected = count(architecture, describe(model))
    attached = attach(model, architecture)
    assert expected == attached.count == sum(p.numel() for p in attached.parameters())
    assert Architecture.from_json(architecture.to_json()) == architecture
    if attached.prompt_length + TOKENS > room(model):
        with pytest.raises(ValueError, match="positions; shorten the prompt or the texts"):
            output(model, inputs)
        attached.detach()
        assert torch.equal(output(model, inputs), bare)
        return
    if expected:
        train(model, attached, inputs)
    attached.eval()
    trained = output(model, inputs)
    assert trained.isfinite().all()
    both = (model, attached)
    for other, modules in (copy.deepcopy(both), pickle.loads(pickle.dumps(both))):
        assert torch.equal(output(other, inputs), trained)
        modules.detach()
        assert torch.equal(output(other, inputs), bare)
    attached.merge()
    assert_same(output(model, inputs), trained)
    attached.detach()
    assert all(torch.equal(a, b) for a, b in zip(digest(model), before, strict=True))
    assert torch.equal(output(model, inputs), bare)
    with tempfile.TemporaryDirectory() as folder:
        attached.save(folder)
        again = load(folder, model)
    again.eval()
    assert torch.equal(output(model, inputs), trained)
    again.detach()


def train(model: Any, attached: Any, inputs: Any) -> None:
    optimiser = torch.optim.Adam(attached.parameters(), lr=0.01)
    if attached.steps.needs_pruning:
        attached.steps.begin_pruning()
        output(model, inputs).pow(2).mean().backward()
        attached.steps.prune()
    for step in range(2):
        attached.steps.begin(step, 2)
        optimiser.zero_grad()
        loss = output(model, inputs).pow(2).mean()
        penalty = attached.steps.penalty()
        if penalty is not None:
            loss = loss + penalty
        if loss.requires_grad:  # all of it may be left out in this step
            loss.backward()
        optimiser.step()
        attached.steps.end(step, 2)


@pytest.mark.parametrize("name", FAMILIES)
@given(data=st.data())
@settings(max_examples=10, **EAGER)
def test_some_compositions(name: str, data: st.DataObject) -> None:
    live(name, data)


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
@given(data=st.data())
@settings(max_examples=200, **EAGER)
def test_many_compositions(name: str, data: st.DataObject) -> None:
    live(name, data)
