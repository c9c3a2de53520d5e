"""attach and detach: what is touched, what is refused, what the modules are called."""

from __future__ import annotations

import pickle

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from peftnas.methods import (
    Adapter,
    Architecture,
    BitFit,
    LoRA,
    Prefix,
    Prompt,
    attach,
    describe,
)
from peftnas.methods.hooks import is_attached


def test_names_of_modules_are_their_sites(build_backbone):
    model = build_backbone("bert")
    architecture = Architecture(
        LoRA(rank=2, targets=("query",), layers=(1,)),
        LoRA(rank=1, targets=("query",), layers=(1,)),
        Adapter(bottleneck=2, layers=(0,)),
        Prefix(length=2, layers=(2,)),
        BitFit(targets=("embeddings_norm",)),
    )
    attached = attach(model, architecture)
    assert attached.sites == (
        "layers[1].attention.query",
        "layers[0].ffn",
        "layers[2].attention.core",
        "embeddings.norm",
    )
    names = set(attached.state_dict())
    assert {
        "layers[1].attention.query.lora.A",
        "layers[1].attention.query.lora2.B",
        "layers[0].ffn.adapter.down.weight",
        "layers[2].attention.core.prefix.keys",
        "embeddings.norm.bitfit.value",
    } <= names
    with pytest.raises(KeyError, match="no 'ia3' at 'embeddings.norm'"):
        attached.at("embeddings.norm", "ia3")


def test_twins_start_apart_and_do_not_depend_on_order(build_backbone):
    model = build_backbone("bert")
    one, other = (LoRA(rank=rank, targets=("query",), layers=(0,)) for rank in (2, 3))
    starts = []
    for methods in ((one, other), (other, one), (one, one)):
        attached = attach(model, Architecture(*methods))
        starts.append({m.A.shape[0]: m.A.detach() for _, m in attached.placed})
        twins = [module.A for _, module in attached.placed]
        attached.detach()
    assert all(torch.equal(starts[0][rank], starts[1][rank]) for rank in (2, 3))
    assert not torch.equal(*twins)


def test_seed_changes_the_start(build_backbone):
    model = build_backbone("bert")
    starts = []
    for seed in (0, 0, 1):
        attached = attach(model, Architecture(LoRA(rank=2)), seed=seed)
        starts.append(attached.at("layers[0].attention.query", "lora").A.detach())
        attached.detach()
    assert torch.equal(starts[0], starts[1]) and not torch.equal(starts[0], starts[2])


def test_start_leaves_the_global_generator_alone(build_backbone):
    model = build_backbone("bert")
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    attach(model, Architecture(LoRA(), Adapter(), Prefix(), Prompt()))
    assert torch.equal(torch.rand(3), expected)


def test_no_method_is_legal_and_freezes(build_backbone, batch):
    model = build_backbone("bert")
    before = model(**batch).last_hidden_state
    attached = attach(model, Architecture())
    assert attached.count == 0 and attached.sites == () and attached.prompt_length == 0
    assert not any(parameter.requires_grad for parameter in model.parameters())
    after = model(**batch).last_hidden_state
    assert torch.equal(attached.real(after), before)
    assert not after.requires_grad


def test_a_task_head_is_not_touched(build_backbone, batch):
    base = build_backbone("bert")
    model = AutoModelForSequenceClassification.from_config(base.config).eval()
    head = [p for name, p in model.named_parameters() if not name.startswith("bert.")]
    first = next(model.base_model.parameters())
    first.requires_grad_(False)
    attached = attach(model, Architecture(LoRA(rank=2)))
    assert all(parameter.requires_grad for parameter in head)
    model(**batch).logits.sum().backward()
    assert all(parameter.grad is not None for parameter in head)
    attached.detach()
    thawed = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert len(thawed) == len(list(model.parameters())) - 1 and not first.requires_grad


def test_one_architecture_at_a_time(build_backbone):
    model = build_backbone("bert")
    attached = attach(model, Architecture())
    with pytest.raises(ValueError, match="one architecture at a time .* detach it first"):
        attach(model, Architecture(LoRA()))
    attached.detach()
    attach(model, Architecture(LoRA())).detach()
    with pytest.raises(RuntimeError, match="these are detached"):
        attached.merge()


def test_failing_leaves_nothing_behind(build_backbone, digest):
    model = build_backbone("roberta")
    anatomy = describe(model.config)
    headed = AutoModelForSequenceClassification.from_config(model.config)
    before = digest(headed)
    with pytest.raises(ValueError, match="'pooler.dense', which this RobertaModel lacks"):
        attach(headed, Architecture(LoRA(), BitFit()), anatomy=anatomy)
    assert not is_attached(headed.base_model)
    assert all(not module._forward_hooks for module in headed.modules())
    assert all(parameter.requires_grad for parameter in headed.parameters())
    assert digest(headed) == before
    with pytest.raises(ValueError, match="must share their position"):
        attach(model, Architecture(Prompt(length=1), Prompt(length=1, position="after_first")))
    assert not is_attached(model)


@pytest.mark.parametrize("dropout", [-0.1, 1.0])
def test_dropout_has_a_range(dropout, build_backbone):
    with pytest.raises(ValueError, match=r"in \[0, 1\)"):
        attach(build_backbone("bert"), Architecture(), dropout=dropout)


def test_only_transformers_models():
    with pytest.raises(TypeError, match="got a Linear"):
        attach(torch.nn.Linear(2, 2), Architecture())


def test_all_together_on_every_backbone(backbone, batch, digest, disturb):
    methods = [
        LoRA(rank=2, targets=("query", "output", "down"), gate="unipelt"),
        LoRA(rank=1),
        Adapter(site="both", bottleneck=2, gate="unipelt"),
        Adapter(bottleneck=2, placement="after_ln"),
        Adapter(bottleneck=2, insertion="parallel", scale="learned"),
        Prefix(length=2, mlp=3, layers=(0, 2)),
        Prefix(length=1, gate="unipelt"),
        Prompt(length=2),
    ]
    before = digest(backbone)
    attached = attach(backbone, Architecture(*methods))
    disturb(attached)
    out = backbone(**batch).last_hidden_state
    assert out.shape == (3, 9, 16) and attached.real(out).shape == (3, 7, 16)
    out.pow(2).sum().backward()
    assert all(parameter.grad is not None for parameter in attached.parameters())
    report = attached.merge()
    assert set(report.merged) == {
        f"layers[{layer}].attention.{name}: lora"
        for layer in range(3)
        for name in ("query", "value")
    }
    torch.testing.assert_close(backbone(**batch).last_hidden_state, out, atol=1e-4, rtol=1e-4)
    attached.detach()
    assert digest(backbone) == before
    state = pickle.loads(pickle.dumps(attached.state_dict()))
    assert state.keys() == attached.state_dict().keys()
