"""Cross-attention tuning: what is trained, and that it equals training the weights themselves."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from peftnas.methods import (
    OFT,
    Architecture,
    CrossAttentionTuning,
    DoRA,
    LoRA,
    attach,
    count,
    describe,
    load,
)
from peftnas.spaces.domains import Choice, Subset
from peftnas.spaces.space import SearchSpace
from peftnas.spaces.structure import Maybe

FAMILIES = ("bart", "t5", "whisper")


@pytest.fixture(params=FAMILIES)
def model(request, build_backbone):
    return build_backbone(request.param)


def test_count_is_that_of_the_cross_attention_itself(model):
    words = ("encoder_attn", "EncDecAttention", "layer.1.layer_norm")
    decoder = [(name, p) for name, p in model.named_parameters() if name.startswith("decoder.")]
    expected = sum(p.numel() for name, p in decoder if any(word in name for word in words))
    assert count(Architecture(CrossAttentionTuning()), describe(model)) == expected


def test_equals_the_changed_weights(model, inputs_of, tmp_path):
    inputs = inputs_of(model)
    model.requires_grad_(False)  # gradients of weights choose other kernels
    attached = attach(model, Architecture(CrossAttentionTuning()))
    before = model(**inputs).last_hidden_state
    before.pow(2).sum().backward()
    site = attached.anatomy.linears["layers[2].cross_attention.value"]
    delta = attached.at(site.address, "dense").delta
    with torch.no_grad():
        for parameter in attached.parameters():
            parameter -= 0.01 * torch.sign(parameter.grad)
    changed = model(**inputs).last_hidden_state
    assert not torch.equal(changed, before)
    weight = model.get_submodule(site.path).weight.clone()
    attached.save(tmp_path)
    assert not attached.merge().remaining
    assert_close(model.get_submodule(site.path).weight, weight + delta)
    assert_close(model(**inputs).last_hidden_state, changed, atol=1e-4, rtol=1e-4)
    attached.detach()
    assert torch.equal(model(**inputs).last_hidden_state, before)
    load(tmp_path, model)
    assert torch.equal(model(**inputs).last_hidden_state, changed)


def test_refused_where_there_is_none(build_backbone):
    with pytest.raises(ValueError, match="cross_attention"):
        attach(build_backbone("bert"), Architecture(CrossAttentionTuning()))


def test_dora_at_the_same_linear_is_refused():
    with pytest.raises(ValueError, match="normalises the frozen weight"):
        Architecture(CrossAttentionTuning(), DoRA(targets=("cross_value",)))
    Architecture(CrossAttentionTuning(), DoRA(), LoRA(targets=("cross_value",)))


def test_a_space_in_which_they_could_meet_is_refused_too():
    """Also where layers are drawn; not where they can only act at different linears."""
    with pytest.raises(ValueError, match="normalises the frozen weight"):
        SearchSpace(Maybe(DoRA(layers=Subset.of_layers())), Maybe(OFT(layers=Subset.of_layers())))
    SearchSpace(Maybe(DoRA(targets=Subset("query", "value"))), Maybe(OFT(targets=("up",))))
    SearchSpace(Maybe(Choice(DoRA(), OFT())))
