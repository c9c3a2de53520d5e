"""Calls around training steps that are left out, or made with what is no step."""

from __future__ import annotations

import pytest

from peftnas.methods import AdaLoRA, DyLoRA, SparseAdapter, attach


@pytest.fixture
def model(build_backbone):
    return build_backbone("bert")


def hidden(model, batch):
    return model(**batch).last_hidden_state


class TestCallsThatAreLeftOut:
    def test_pruning_needs_a_gradient(self, model, batch):
        attached = attach(model, SparseAdapter(bottleneck=4, score="snip"))
        steps = attached.steps
        with pytest.raises(RuntimeError, match=r"no module has one; call begin_pruning\(\), then"):
            steps.prune()
        hidden(model, batch).sum().backward()  # before begin_pruning
        with pytest.raises(RuntimeError, match="chooses by the gradient"):
            steps.prune()
        steps.begin_pruning()
        with pytest.raises(RuntimeError, match="chooses by the gradient"):
            steps.prune()
        assert steps.needs_pruning
        hidden(model, batch).sum().backward()
        steps.prune()
        assert not steps.needs_pruning

    def test_adalora_needs_a_gradient(self, model):
        attached = attach(model, AdaLoRA(rank=2, target_rank=1))
        with pytest.raises(RuntimeError, match=r"there are none; call end\(step, steps\) behind"):
            attached.steps.end(0, 10)

    @pytest.mark.parametrize(
        ("given", "said"),
        [
            ({"step": "0"}, "step must be a whole number, got '0'"),
            ({"steps": 2.5}, "steps must be a whole number, got 2.5"),
            ({"seed": -1}, "a seed must be a whole number from 0 on, got -1"),
        ],
    )
    def test_what_is_no_step(self, model, given, said):
        attached = attach(model, DyLoRA())
        with pytest.raises(ValueError, match=said):
            attached.steps.begin(**{"step": 0, "steps": 10} | given)
