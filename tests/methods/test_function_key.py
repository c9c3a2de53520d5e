"""Architectures that a rule calls equal compute the same, once values are carried over.

Rules by their numbers in section 5 of the methods' reference.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import PreTrainedModel

from peftnas.methods import Architecture, Method, attach
from peftnas.methods.attach import AttachedModules
from peftnas.methods.testing.tiny import inputs_of, output
from peftnas.spaces.keys import function_key, train_key
from tests.methods.conftest import assert_same
from tests.methods.rules import at_linears, at_sublayers
from tests.methods.rules.pairs import ROUNDED, Pair, Rule, Side, anatomy_of, backbone, disturb

RULES: dict[str, Rule] = at_linears.RULES | at_sublayers.RULES
CASES = [(rule, name) for rule, one in RULES.items() for name in one.backbones]


@pytest.mark.parametrize(("rule", "name"), CASES, ids=lambda value: value.replace(" ", "-"))
def test_equal_keys_are_equal_functions(rule, name):
    anatomy, model = anatomy_of(name), backbone(name)
    inputs = {
        key: value.double() if value.is_floating_point() else value
        for key, value in inputs_of(model).items()
    }
    with torch.no_grad():
        bare = output(model, inputs)

    @settings(
        max_examples=8, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )
    @given(RULES[rule].pairs(anatomy), company(rule), st.integers(0, 99))
    def check(pair, beside, seed):
        architectures = [Architecture(*beside, *methods) for methods in (pair.one, pair.other)]
        placed = [anatomy.place(anatomy.canonical(one)) for one in architectures]
        assert len({function_key(placements, anatomy) for placements in placed}) == 1
        # only some rules hold for the training too; those are tested in test_canonical_rules.py
        assert len({train_key(placements) for placements in placed}) == 2
        with torch.no_grad():
            one, expected = outputs(
                model, inputs, architectures[0], lambda one: disturb(one, seed)
            )
            _, found = outputs(
                model, inputs, architectures[1], lambda it: carry(pair, beside, one, it)
            )
        assert not torch.allclose(expected, bare if expected.shape == bare.shape else expected * 2)
        exact = RULES[rule].exact and name not in ROUNDED
        assert_same(found, expected, 1e-9 if exact else 1e-4)

    check()


def company(rule: str) -> st.SearchStrategy[tuple]:
    """Methods that stand beside both of a pair, with the same values."""
    if not RULES[rule].company:
        return st.just(())
    return st.lists(st.sampled_from(RULES[rule].company), unique=True, max_size=2).map(tuple)


def outputs(
    model: PreTrainedModel,
    inputs: dict[str, Tensor],
    architecture: Architecture,
    prepare: Callable[[AttachedModules], None],
) -> tuple[AttachedModules, Tensor]:
    """The modules, detached again, and what the model says with them once they are prepared."""
    attached = attach(model, architecture)
    try:
        attached.double().eval()
        prepare(attached)
        return attached, attached.real(output(model, inputs))
    finally:
        attached.detach()


def carry(
    pair: Pair, beside: tuple[Method, ...], one: AttachedModules, other: AttachedModules
) -> None:
    """The values of ``one`` to ``other``; those of the company are copied."""
    company = one.anatomy.place(Architecture(*beside))
    left, right = (dict(attached.placed) for attached in (one, other))
    for placement in company:
        right[placement].load_state_dict(left[placement].state_dict())
    sides = (
        tuple(
            (placement, module)
            for placement, module in attached.placed
            if placement not in company
        )
        for attached in (one, other)
    )
    pair.carry(*(Side(placed, one.anatomy, one.base) for placed in sides))
