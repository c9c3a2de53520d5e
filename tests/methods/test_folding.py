"""Networks that fold away run once after ``merge()``, and what is kept is never out of date."""

from __future__ import annotations

import copy

import pytest
import torch

from peftnas.methods import Architecture, GatedLoRAPrefix, Prefix, PTuning, attach, load
from peftnas.methods.tracing import FlopCounter
from tests.methods.conftest import build

METHODS = [
    Prefix(length=3, mlp=5),
    Prefix(length=3, mlp=5, gate="unipelt"),
    GatedLoRAPrefix(rank=2, length=3, mlp=5),
    PTuning(length=3),
    PTuning(length=2, encoder="lstm", hidden=4),
]


@pytest.fixture(params=["float32", "bfloat16"])
def model(request):
    return build("bert").to(getattr(torch, request.param))


def run(model, batch):
    """The output without gradients, and the FLOP that it took."""
    with torch.no_grad(), FlopCounter() as counter:
        out = model(**batch).last_hidden_state
    return out, counter.flop


def fresh(model, batch, attached):
    """The output of modules with the same values that have kept nothing; takes the others off."""
    state = attached.state_dict()
    attached.detach()
    again = attach(model, attached.architecture).eval()
    again.load_state_dict(state)
    return run(model, batch)[0]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.words())
class TestKept:
    def test_before_it_a_change_that_torch_does_not_see_counts(self, method, model, batch):
        attached = attach(model, Architecture(method)).eval()
        before, _ = run(model, batch)
        for parameter in attached.parameters():
            parameter.data.mul_(1.5)
        after, _ = run(model, batch)
        assert not torch.equal(before, after)
        assert torch.equal(after, fresh(model, batch, attached))

    def test_the_second_call_runs_no_network_and_gives_the_same_bits(self, method, model, batch):
        attached = attach(model, Architecture(method)).eval()
        assert run(model, batch)[1] == run(model, batch)[1]
        attached.merge()
        (first, more), (second, less) = run(model, batch), run(model, batch)
        assert less < more
        expected = fresh(model, batch, attached)
        assert torch.equal(first, expected) and torch.equal(second, expected)

    def test_every_change_of_a_parameter_counts(self, method, model, batch):
        attached = attach(model, Architecture(method)).eval()
        attached.merge()
        outputs = [run(model, batch)[0]]
        parameter = next(p for n, p in attached.named_parameters() if n.endswith("embedding"))
        with torch.no_grad():
            parameter.add_(1.0)
            outputs.append(run(model, batch)[0])
            parameter.data = parameter.data * 2
            outputs.append(run(model, batch)[0])
            state = {n: v.clone() for n, v in attached.state_dict().items()}
            state = {n: v + 0.5 if n.endswith("embedding") else v for n, v in state.items()}
        attached.load_state_dict(state)
        outputs.append(run(model, batch)[0])
        assert torch.equal(outputs[-1], fresh(model, batch, attached))
        for one, other in zip(outputs, outputs[1:], strict=False):
            assert not torch.equal(one, other)

    def test_training_forgets(self, method, model, batch):
        attached = attach(model, Architecture(method)).eval()
        attached.merge()
        before, _ = run(model, batch)
        attached.train()
        optimiser = torch.optim.SGD(attached.parameters(), lr=0.5)
        model(**batch).last_hidden_state.float().pow(2).sum().backward()
        optimiser.step()
        attached.eval()
        after, _ = run(model, batch)
        assert not torch.equal(before, after)
        assert torch.equal(after, fresh(model, batch, attached))


def test_a_copy_keeps_nothing():
    attached = attach(build("bert"), Architecture(Prefix(length=2, mlp=3))).eval()
    attached.merge()
    prefix = attached.placed[0][1]
    with torch.no_grad():
        keys, _ = prefix.folded(0)
        other = copy.deepcopy(prefix)
        assert torch.equal(other.folded(0)[0], keys)
        other.embedding.add_(1.0)
        assert not torch.equal(other.folded(0)[0], keys)
        assert torch.equal(prefix.folded(0)[0], keys)


def test_inference_mode_keeps_nothing_that_others_could_not_use(batch, tmp_path):
    model = build("bert")
    attached = attach(model, Architecture(Prefix(length=2, mlp=3))).eval()
    attached.merge()
    with torch.inference_mode():
        expected = model(**batch).last_hidden_state.clone()
    attached.save(tmp_path)
    assert torch.equal(run(model, batch)[0], expected)
    attached.detach()
    with torch.inference_mode():
        load(tmp_path, model).eval()
        assert torch.equal(model(**batch).last_hidden_state, expected)


@pytest.mark.parametrize("merged", [False, True])
@pytest.mark.parametrize("gradients", [False, True])
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
def test_compiled_whole(gradients, merged, batch):
    torch._dynamo.reset()
    model = build("bert")
    methods = (Prefix(length=2, mlp=3), PTuning(length=2, hidden=3), GatedLoRAPrefix(mlp=3))
    attached = attach(model, Architecture(*methods)).eval()
    if merged:
        attached.merge()
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    with torch.set_grad_enabled(gradients):
        expected = model(**batch).last_hidden_state
        real = attached.real(expected)[batch["attention_mask"].bool()]
        found = attached.real(compiled(**batch).last_hidden_state)
        torch.testing.assert_close(found[batch["attention_mask"].bool()], real)
