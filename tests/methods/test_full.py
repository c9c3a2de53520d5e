"""Full fine-tuning: the backbone's own parameters, and the way back."""

from __future__ import annotations

import torch

from peftnas.methods import Architecture, FullFineTuning, LoRA, attach, count, describe, load


def test_every_parameter_is_trained_and_put_back(build_backbone, batch, digest, tmp_path):
    model = build_backbone("bert")
    before, names = digest(model), list(model.state_dict())
    attached = attach(model, Architecture(FullFineTuning()))
    assert attached.count == sum(parameter.numel() for parameter in model.parameters())
    assert {id(p) for p in attached.parameters()} == {id(p) for p in model.parameters()}
    optimizer = torch.optim.AdamW(attached.parameters(), lr=0.01)
    model(**batch).pooler_output.pow(2).sum().backward()
    optimizer.step()
    trained, out = digest(model), model(**batch).last_hidden_state
    assert trained != before
    attached.detach()
    assert digest(model) == before and list(model.state_dict()) == names
    assert all(parameter.grad is None for parameter in model.parameters())
    attached.save(tmp_path)
    loaded = load(tmp_path, model)
    assert digest(model) == trained
    assert torch.equal(model(**batch).last_hidden_state, out)
    loaded.detach()
    assert digest(model) == before


def test_state_dict_holds_what_is_trained(build_backbone, batch):
    model = build_backbone("bert")
    attached = attach(model, Architecture(FullFineTuning(), LoRA(rank=1)))
    name = "backbone.full.encoder/layer/0/attention/self/query/weight"
    weight = model.encoder.layer[0].attention.self.query.weight
    assert attached.state_dict()[name].data_ptr() == weight.data_ptr()
    state = {key: value.clone() for key, value in attached.state_dict().items()}
    with torch.no_grad():
        weight.add_(1.0)
    attached.load_state_dict(state)
    assert torch.equal(weight, state[name])


def test_count_needs_no_weights(build_backbone):
    model = build_backbone("llama")
    anatomy = describe(model.config)
    assert count(Architecture(FullFineTuning()), anatomy) == model.num_parameters()
