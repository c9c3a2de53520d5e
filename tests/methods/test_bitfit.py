"""BitFit: which biases there are, and the one that has no effect."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close
from transformers import BertConfig

from peftnas.methods import Architecture, BitFit, LNTuning, Prefix, attach, count, describe
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

    def test_norms_get_one_where_they_are_named(self, build_backbone, batch, disturb):
        model = build_backbone("t5")
        anatomy = describe(model)
        bare = BitFit(add=True)
        assert all("norm" not in placement.site for placement in bare.place(anatomy))
        named = BitFit(targets=("up", "ffn_norm", "final_norm"), add=True)
        attached = attach(model, Architecture(named))
        assert attached.count == 4 * (24 + 16) + 2 * 16
        disturb(attached)
        inputs = batch | {"decoder_input_ids": batch["input_ids"].flip(1)[:, :5]}
        expected = model(**inputs).last_hidden_state
        remaining = attached.merge().remaining
        assert [one.split(":")[0] for one in remaining] == [
            site for site in attached.sites if "norm" in site
        ]
        assert_close(model(**inputs).last_hidden_state, expected, atol=1e-4, rtol=1e-4)

    def test_a_norm_adds_its_vector_behind_its_weight(self, build_backbone, batch):
        model = build_backbone("llama")
        attached = attach(model, Architecture(BitFit(targets=("final_norm",), add=True)))
        before = model(**batch).last_hidden_state
        value = attached.at("final_norm", "bitfit").value
        torch.nn.init.normal_(value)
        assert_close(model(**batch).last_hidden_state, before + value)

    def test_without_add_such_a_norm_is_refused(self, build_backbone):
        anatomy = describe(build_backbone("t5").config)
        with pytest.raises(ValueError, match="have no bias in this t5 backbone"):
            count(Architecture(BitFit(targets=("ffn_norm",))), anatomy)

    def test_where_nothing_is_new_the_field_does_not_matter(self, build_backbone):
        anatomy = describe(build_backbone("qwen2").config)
        forms = [
            anatomy.canonical(Architecture(BitFit(targets=("query",), add=add)))
            for add in (False, True)
        ]
        assert forms[0] == forms[1]
        lacking = Architecture(BitFit(targets=("query", "up"), add=True))
        assert anatomy.canonical(lacking) == lacking


class TestOfOneStack:
    @pytest.mark.parametrize("method", [BitFit(targets=("final_norm",), add=True), LNTuning()])
    def test_what_lies_outside_the_layers(self, method, build_backbone):
        anatomy = describe(build_backbone("t5").config)
        method = method.replace(targets=("final_norm",))
        found = {
            stack: [placement.site for placement in method.replace(stack=stack).place(anatomy)]
            for stack in (None, "encoder", "decoder")
        }
        assert found["encoder"] + found["decoder"] == found[None]
        assert found["decoder"] == ["decoder.final_norm"]
        of_one = Architecture(method.replace(stack="encoder"))
        assert anatomy.canonical(of_one) == of_one
        assert "of the encoder" in of_one.words()

    def test_says_nothing_of_layers(self, build_backbone):
        anatomy = describe(build_backbone("t5").config)
        method = LNTuning(targets=("ffn_norm",), stack="decoder")
        assert count(Architecture(method), anatomy) == 4 * 16
        assert anatomy.canonical(Architecture(method)) == Architecture(method.replace(stack=None))

    @pytest.mark.parametrize("family", ["bert", "t5"])
    def test_must_be_there(self, family, build_backbone):
        with pytest.raises(ValueError, match="leave stack out"):
            count(Architecture(LNTuning(stack="text")), describe(build_backbone(family).config))


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
