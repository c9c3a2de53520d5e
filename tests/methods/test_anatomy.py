"""Anatomies: what is read off each family, without weights."""

from __future__ import annotations

import dataclasses
import pickle

import pytest
import torch
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    GPT2Config,
    LlamaConfig,
    RobertaConfig,
)

from peftnas.methods import UnsupportedBackboneError, attach, describe
from peftnas.methods.anatomies import BERT, FAMILIES, LLAMA
from peftnas.spaces.architecture import Architecture


def test_config_and_model_give_the_same(backbone):
    assert describe(backbone.config) == describe(backbone)


def test_sites_are_the_modules_they_say(backbone):
    anatomy = describe(backbone.config)
    for site in anatomy.linears.values():
        linear = backbone.get_submodule(site.path)
        assert tuple(linear.weight.shape) == (site.n_out, site.n_in)
        assert (linear.bias is not None) is site.bias
    every = {name for name, m in backbone.named_modules() if isinstance(m, torch.nn.Linear)}
    assert {site.path for site in anatomy.linears.values()} == every
    norms = {name for name, m in backbone.named_modules() if "Norm" in type(m).__name__}
    assert {site.path for site in anatomy.norms.values()} == norms


def test_sizes(build_backbone):
    llama = describe(build_backbone("llama").config)
    assert (llama.n_layers, llama.width, llama.ffn_width) == (3, 16, 24)
    assert (llama.heads, llama.kv_heads, llama.head_width) == (4, 2, 4)
    assert llama.norm_order == "pre" and llama.causal and not llama.learned_positions
    electra = describe(build_backbone("electra").config)
    assert (electra.width, electra.embedding_width, electra.kv_heads) == (16, 8, 4)
    assert electra.norm_order == "post" and not electra.causal


@pytest.mark.parametrize(
    "config, parameters",
    [
        (BertConfig(), 109_482_240),
        (LlamaConfig(), 6_607_343_616),
        (
            RobertaConfig(vocab_size=50265, max_position_embeddings=514, type_vocab_size=1),
            124_645_632,
        ),
    ],
    ids=["bert-base", "llama-7b", "roberta-base"],
)
def test_parameters_without_weights(config, parameters):
    assert describe(config).backbone_parameters == parameters


def test_head_does_not_count_and_left_out_parts_are_absent(build_backbone):
    base = build_backbone("roberta")
    model = AutoModelForSequenceClassification.from_config(base.config)
    anatomy = describe(model)
    assert "pooler" not in anatomy.linears
    pooler = base.pooler.dense.weight.numel() + base.pooler.dense.bias.numel()
    assert anatomy.backbone_parameters == describe(base).backbone_parameters - pooler


def test_can_be_pickled(backbone):
    anatomy = describe(backbone.config)
    assert pickle.loads(pickle.dumps(anatomy)) == anatomy


def test_unknown_family_says_how_to_describe_it():
    with pytest.raises(UnsupportedBackboneError, match="'gpt2'; known: bert.*Family literal"):
        describe(GPT2Config())


def test_own_literal(build_backbone, batch):
    model = build_backbone("bert")
    own = dataclasses.replace(BERT, name="mine", model_types=("bert",))
    anatomy = describe(model.config, own)
    assert anatomy.family == "mine"
    attached = attach(model, Architecture(), anatomy=anatomy)
    assert attached.sites == ()


def test_literal_that_does_not_fit(build_backbone):
    model = build_backbone("bert")
    with pytest.raises(UnsupportedBackboneError, match="family 'llama' does not fit this Bert"):
        describe(model, LLAMA)
    wrong = dataclasses.replace(BERT, linears=dict(BERT.linears) | {"up": "intermediate"})
    with pytest.raises(UnsupportedBackboneError, match="intermediate is a BertIntermediate"):
        describe(model.config, wrong)


def test_split_ffn_is_refused():
    with pytest.raises(UnsupportedBackboneError, match="chunk_size_feed_forward=4"):
        describe(BertConfig(num_hidden_layers=1, chunk_size_feed_forward=4))


def test_model_types_are_claimed_once():
    claimed = [name for family in FAMILIES for name in family.model_types]
    assert len(claimed) == len(set(claimed))
