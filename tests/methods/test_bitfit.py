"""BitFit: which biases there are, and the one that has no effect."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close
from transformers import BertConfig

from peftnas.methods import Architecture, BitFit, Prefix, attach, count, describe
from peftnas.methods.bitfit import TARGETS, biases
from peftnas.spaces.domains import Subset
from peftnas.spaces.space import SearchSpace
from peftnas.spaces.structure import ByLayer, PerLayer


def test_all_biases_of_the_model(backbone):
    names = {name for name, _ in backbone.named_parameters() if name.endswith(".bias")}
    anatomy = describe(backbone)
    if not names:
        with pytest.raises(ValueError, match="has none; leave BitFit out"):
            count(Architecture(BitFit()), anatomy)
        return
    sites = anatomy.linears | anatomy.norms
    placed = {f"{sites[placement.site].path}.bias" for placement in BitFit().place(anatomy)}
    assert placed == names


def test_bert_base_count_of_the_paper():
    anatomy = describe(BertConfig())
    assert count(Architecture(BitFit()), anatomy) == 102_912
    kept = anatomy.canonical(Architecture(BitFit()))
    assert count(kept, anatomy) == 102_912 - 12 * 768


def test_gradient_equals_that_of_the_bias_itself(build_backbone, batch):
    model, plain = build_backbone("bert"), build_backbone("bert")
    attached = attach(model, Architecture(BitFit()))
    for network in (model, plain):
        network(**batch).last_hidden_state.pow(2).sum().backward()
    sites = attached.anatomy.linears | attached.anatomy.norms
    for placement, module in attached.placed:
        if placement.site != "pooler":
            expected = plain.get_parameter(f"{sites[placement.site].path}.bias").grad
            assert_close(module.value.grad, expected, atol=1e-4, rtol=1e-4)


def test_key_bias_is_dropped_where_it_has_no_effect(build_backbone, batch):
    model = build_backbone("bert")
    anatomy = describe(model)
    others = tuple(name for name in biases(anatomy) if name != "key")
    assert anatomy.canonical(Architecture(BitFit())) == Architecture(BitFit(targets=others))
    assert anatomy.canonical(Architecture(BitFit(targets=("key",)))) == Architecture()
    before = model(**batch).last_hidden_state
    attached = attach(model, Architecture(BitFit(targets=("key",))))
    for parameter in attached.parameters():
        torch.nn.init.normal_(parameter)
    assert_close(model(**batch).last_hidden_state, before)


def test_key_bias_stays_under_a_prefix_or_rotary_positions(build_backbone, batch):
    prefixed = Architecture(BitFit(targets=("key",)), Prefix(length=2, layers=(1,)))
    model = build_backbone("bert")
    assert describe(model).canonical(prefixed) == prefixed
    attached = attach(model, prefixed)
    before = model(**batch).last_hidden_state
    torch.nn.init.normal_(attached.at("layers[1].attention.key", "bitfit").value)
    assert (model(**batch).last_hidden_state - before).abs().max() > 1e-3
    qwen = Architecture(BitFit(targets=("key",)))
    assert describe(build_backbone("qwen2")).canonical(qwen) == qwen
    elsewhere = Architecture(BitFit(targets=("key",), layers=(0,)), Prefix(length=2, layers=(1,)))
    assert describe(model).canonical(elsewhere) == Architecture(Prefix(length=2, layers=(1,)))


def test_layers_restrict_what_lies_in_layers(build_backbone):
    anatomy = describe(build_backbone("bert").config)
    method = BitFit(targets=("query", "pooler", "embeddings_norm"), layers=(1,))
    assert [placement.site for placement in method.place(anatomy)] == [
        "layers[1].attention.query",
        "embeddings.norm",
        "pooler",
    ]


def test_target_without_a_bias_is_refused(build_backbone):
    anatomy = describe(build_backbone("qwen2").config)
    assert biases(anatomy) == ("query", "key", "value")
    with pytest.raises(ValueError, match=r"\['up'\] have no bias .* take some of query, key"):
        count(Architecture(BitFit(targets=("query", "up"))), anatomy)
    assert set(biases(anatomy)) <= set(TARGETS)


class TestAddedBiases:
    def test_every_linear_of_a_backbone_without_biases(self, build_backbone, batch, disturb):
        model = build_backbone("llama")
        anatomy = describe(model)
        attached = attach(model, Architecture(BitFit(add=True)))
        assert attached.count == sum(site.n_out for site in anatomy.linears.values())
        bare = model(**batch).last_hidden_state
        disturb(attached)
        expected = model(**batch).last_hidden_state
        assert not torch.equal(expected, bare)
        assert not attached.merge().remaining
        assert_close(model(**batch).last_hidden_state, expected, atol=1e-4, rtol=1e-4)

    def test_adds_nothing_where_all_have_one(self, build_backbone):
        anatomy = describe(build_backbone("bert"))
        both = [anatomy.canonical(Architecture(BitFit(add=add))) for add in (False, True)]
        assert both[0] == both[1]


class TestOneChoiceABiasVector:
    def test_places_just_these(self, build_backbone):
        model = build_backbone("bert")
        table = ByLayer({0: ("up", "query"), 1: (), 2: ("ffn_norm",)})
        attached = attach(model, Architecture(BitFit(targets=table)))
        wanted = ("layers[0].attention.query", "layers[0].ffn.up", "layers[2].ffn.norm")
        assert attached.sites == wanted

    def test_space_has_one_choice_for_each(self, build_backbone):
        anatomy = describe(build_backbone("bert"))
        one = BitFit(targets=PerLayer(Subset("query", "up", min_size=0)))
        bound = SearchSpace(one).bind(anatomy)
        assert len({bound.train_key(bound.sample(seed)) for seed in range(400)}) == 4**3

    def test_same_in_all_layers_is_one_target(self, build_backbone):
        anatomy = describe(build_backbone("bert"))
        table = BitFit(targets=ByLayer(dict.fromkeys(range(3), ("up", "query"))))
        plain = BitFit(targets=("query", "up"))
        forms = [anatomy.canonical(Architecture(method)) for method in (table, plain)]
        assert forms[0] == forms[1]
