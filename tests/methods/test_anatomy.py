"""Anatomies: what is read off each family, without weights."""

from __future__ import annotations

import dataclasses
import pickle
import sys

import pytest
import torch
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    BertConfig,
    GPT2Config,
    LlamaConfig,
    RobertaConfig,
    T5Config,
    T5EncoderModel,
    T5ForConditionalGeneration,
    XGLMConfig,
)
from transformers.pytorch_utils import Conv1D

from peftnas.methods import (
    SSF,
    Adapter,
    BitFit,
    LNTuning,
    LoRA,
    Prefix,
    UnsupportedBackboneError,
    attach,
    describe,
)
from peftnas.methods.anatomies import BERT, FAMILIES, LLAMA
from peftnas.spaces.architecture import Architecture


def test_config_and_model_give_the_same(any_backbone):
    assert describe(any_backbone.config) == describe(any_backbone)


def test_sites_are_the_modules_they_say(any_backbone):
    backbone = any_backbone
    anatomy = describe(backbone.config)
    parts: dict[str, list[int]] = {}
    for site in anatomy.linears.values():
        linear = backbone.get_submodule(site.path)
        shape = linear.weight.shape[::-1] if site.transposed else linear.weight.shape
        rows = range(shape[0]) if site.rows is None else site.rows.indices(shape[0])
        assert (len(rows), shape[1]) == (site.n_out, site.n_in)
        assert (linear.bias is not None) is site.bias
        parts.setdefault(site.path, []).extend(rows)
    for path, rows in parts.items():
        # every output belongs to one linear alone
        assert sorted(rows) == list(range(len(rows)))
        assert len(rows) in backbone.get_submodule(path).weight.shape
    kinds = (torch.nn.Linear, Conv1D)
    every = {name for name, m in backbone.named_modules() if isinstance(m, kinds)}
    bypassed = {name for name in every if name.endswith(("mixer.dt_proj", "mixer.out_proj"))}
    assert set(parts) == every - bypassed
    norms = {name for name, m in backbone.named_modules() if "Norm" in type(m).__name__}
    assert {site.path for site in anatomy.norms.values()} == norms


@pytest.mark.parametrize("name", ["gpt2", "gpt_neox"])
def test_fused_parts_are_what_the_attention_function_gets(build_backbone, batch, name):
    """The outputs of the parts are the queries, keys and values of the eager attention."""
    model, seen = build_backbone(name, "eager"), {}
    anatomy = describe(model)
    family = sys.modules[type(model).__module__]
    original = family.eager_attention_forward

    def spy(module, query, key, value, *args, **kwargs):
        seen.setdefault("parts", (query, key, value))
        return original(module, query, key, value, *args, **kwargs)

    site = anatomy.linear(0, "query")
    model.get_submodule(site.path).register_forward_hook(
        lambda module, args, out: seen.setdefault("whole", out)
    )
    if name == "gpt_neox":  # rotation by 0 leaves queries and keys as they are
        batch["position_ids"] = torch.zeros_like(batch["input_ids"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(family, "eager_attention_forward", spy)
        model(**batch)
    for target, part in zip(("query", "key", "value"), seen["parts"], strict=True):
        rows = anatomy.linear(0, target).rows.indices(seen["whole"].shape[-1])
        expected = part.transpose(1, 2).flatten(2)
        assert torch.equal(seen["whole"][..., rows], expected)


def test_sizes(build_backbone):
    llama = describe(build_backbone("llama").config)
    layer = llama.layers[2]
    assert (llama.n_layers, layer.width, layer.ffn_width) == (3, 16, 24)
    assert (layer.heads, layer.kv_heads, layer.head_width) == (4, 2, 4)
    assert llama.norm_order == "pre" and llama.causal and llama.positions == "rotary"
    electra = describe(build_backbone("electra").config)
    assert (electra.width, electra.layers[0].kv_heads) == (16, 4)
    assert electra.stacks[0].embedding_width == 8
    assert electra.norm_order == "post" and not electra.causal
    t5 = describe(build_backbone("t5").config)
    assert [(stack.name, stack.layers) for stack in t5.stacks] == [
        ("encoder", (0, 1)),
        ("decoder", (2, 3)),
    ]
    assert (t5.layers[0].head_width, t5.linear(0, "query").n_out) == (6, 24)
    clip = describe(build_backbone("clip").config)
    assert [clip.layers[layer].width for layer in (0, 3)] == [16, 20]


@pytest.mark.parametrize(
    "config, parameters",
    [
        (BertConfig(), 109_482_240),
        (LlamaConfig(), 6_607_343_616),
        (
            RobertaConfig(vocab_size=50265, max_position_embeddings=514, type_vocab_size=1),
            124_645_632,
        ),
        (GPT2Config(), 124_439_808),
        (
            T5Config(d_model=1024, d_ff=4096, num_layers=24, num_heads=16, vocab_size=32128),
            737_668_096,
        ),
    ],
    ids=["bert-base", "llama-7b", "roberta-base", "gpt2", "t5-large"],
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


def test_can_be_pickled(any_backbone):
    backbone = any_backbone
    anatomy = describe(backbone.config)
    assert pickle.loads(pickle.dumps(anatomy)) == anatomy


def test_unknown_family_says_how_to_describe_it():
    with pytest.raises(UnsupportedBackboneError, match="'xglm'; known: bert.*Family literal"):
        describe(XGLMConfig())


def test_an_encoder_alone_has_no_decoder(build_backbone):
    config = build_backbone("t5").config
    alone = describe(T5EncoderModel(config))
    assert [stack.name for stack in alone.stacks] == ["encoder"]
    assert alone.n_layers == 2


def test_a_head_inside_the_base_model_does_not_count(build_backbone):
    """The base model of a T5 with a language head is the model itself."""
    config = build_backbone("t5").config
    tied = T5ForConditionalGeneration(config)
    assert describe(tied).backbone_parameters == describe(config).backbone_parameters
    config.tie_word_embeddings = False
    whole = T5ForConditionalGeneration(config)
    every = sum(parameter.numel() for parameter in whole.parameters())
    assert describe(whole).backbone_parameters == every - whole.lm_head.weight.numel()


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
    stack = dataclasses.replace(
        BERT.stacks[0], linears=dict(BERT.stacks[0].linears) | {"up": "intermediate"}
    )
    wrong = dataclasses.replace(BERT, stacks=(stack,))
    with pytest.raises(UnsupportedBackboneError, match="intermediate is a BertIntermediate"):
        describe(model.config, wrong)
    paths = dict(BERT.stacks[0].sublayers)
    paths["ffn"] = dataclasses.replace(paths["ffn"], norm="output.norm")
    wrong = dataclasses.replace(
        BERT, stacks=(dataclasses.replace(BERT.stacks[0], sublayers=paths),)
    )
    with pytest.raises(
        UnsupportedBackboneError,
        match="norm must be the path .* correct",
    ):
        describe(model.config, wrong)


@pytest.mark.parametrize(
    "changes, shared",
    [
        ({}, {"query", "key", "relative_norm"}),
        ({"share_att_key": False}, {"relative_norm"}),
        ({"relative_attention": False}, {"relative_norm"}),
        ({"norm_rel_ebd": "none"}, {"query", "key"}),
    ],
)
def test_what_reads_what_all_rows_share(build_backbone, changes, shared):
    config = build_backbone("deberta").config
    for name, value in changes.items():
        setattr(config, name, value)
    anatomy = describe(config)
    sites = [*anatomy.linears.values(), *anatomy.norms.values()]
    assert {site.address.rpartition(".")[2] for site in sites if site.shared} == shared


def test_only_deberta_has_shared_sites_and_only_opt_flattens(any_backbone):
    anatomy = describe(any_backbone)
    sites = [*anatomy.linears.values(), *anatomy.norms.values()]
    assert any(site.shared for site in sites) is (anatomy.family == "deberta")
    assert any(stack.flattens for stack in anatomy.stacks) is (anatomy.family == "opt")


def test_split_ffn_is_refused():
    with pytest.raises(UnsupportedBackboneError, match="chunk_size_feed_forward=4"):
        describe(BertConfig(num_hidden_layers=1, chunk_size_feed_forward=4))


def test_a_model_type_is_claimed_twice_only_for_different_configs():
    claimed = [
        (name, tuple(family.when.items())) for family in FAMILIES for name in family.model_types
    ]
    assert len(claimed) == len(set(claimed))
    several = {name for name, when in claimed if when}
    assert not several & {name for name, when in claimed if not when}


class TestNormsWithoutWeights:
    """OPT's can have none: they are part of the backbone, but nothing can be trained there."""

    @pytest.fixture(params=["opt", "opt_post_norm"])
    def model(self, request, build_backbone):
        config = build_backbone(request.param).config
        config.layer_norm_elementwise_affine = False
        torch.manual_seed(0)
        return AutoModel.from_config(config).eval().requires_grad_(False)

    def test_are_no_sites(self, model):
        anatomy = describe(model)
        assert dict(anatomy.norms) == {}
        assert [layer.width for layer in anatomy.layers] == [16, 16, 16]
        assert describe(model.config) == anatomy

    @pytest.mark.parametrize(
        "method",
        [
            LoRA(rank=2, targets=("query", "up")),
            Adapter(site="both", bottleneck=2),
            Adapter(site="both", bottleneck=2, placement="after_ln"),
            Adapter(site="ffn", bottleneck=2, insertion="parallel", parallel_input="normed"),
            Prefix(length=2),
            BitFit(),
            SSF(targets=("query", "down")),
        ],
        ids=["lora", "adapter", "after_ln", "normed", "prefix", "bitfit", "ssf"],
    )
    def test_other_methods_run(self, model, batch, method, disturb):
        before = model(**batch).last_hidden_state
        attached = attach(model, Architecture(method))
        disturb(attached)
        out = model(**batch).last_hidden_state
        out.pow(2).sum().backward()
        assert (out - before).abs().max() > 1e-3
        assert any(parameter.grad.abs().max() > 0 for parameter in attached.parameters())
        attached.detach()
        assert torch.equal(model(**batch).last_hidden_state, before)

    @pytest.mark.parametrize("method", [LNTuning(), LNTuning(targets=("ffn_norm",))])
    def test_methods_of_norms_say_so(self, model, method):
        with pytest.raises(ValueError, match="LNTuning needs a norm with weights.* opt .*none"):
            attach(model, Architecture(method))
