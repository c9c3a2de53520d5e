"""What the public functions say to the commonest mistakes: the rule, the value, the remedy."""

from __future__ import annotations

import dataclasses
import warnings

import pytest
import torch
from transformers import BertConfig, BertForMaskedLM, XGLMConfig

import peftnas
from peftnas.methods import (
    VPT,
    Adapter,
    Architecture,
    CoDA,
    CrossAttentionTuning,
    DoRA,
    GatedLoRAPrefix,
    LlamaAdapter,
    LNTuning,
    LoRA,
    Prefix,
    Prompt,
    UnsupportedBackboneError,
    attach,
    attach_side_by_side,
    costs,
    count,
    describe,
    load,
    presets,
    save,
    stored_bytes,
    stored_parameters,
)
from peftnas.methods.testing.tiny import CONFIGS, SIZES
from peftnas.spaces import Maybe, SearchSpace

BERT = CONFIGS["bert"]()


def test_one_method_stands_for_its_architecture(build_backbone):
    model = build_backbone("bert")
    anatomy, whole = describe(model), Architecture(LoRA(rank=2))
    attached = attach(model, LoRA(rank=2))
    assert attached.architecture == whole
    attached.detach()
    assert count(LoRA(rank=2), anatomy) == count(whole, anatomy)
    assert stored_parameters(LoRA(rank=2), anatomy) == stored_parameters(whole, anatomy)
    assert stored_bytes(LoRA(rank=2), anatomy) == stored_bytes(whole, anatomy)
    assert costs(LoRA(rank=2), BERT, batch=1, tokens=4) == costs(whole, BERT, batch=1, tokens=4)
    bound = SearchSpace(Maybe(LoRA(rank=2))).bind(anatomy)
    assert bound.count(LoRA(rank=2)) == bound.count(whole)
    assert bound.train_key(LoRA(rank=2)) == bound.train_key(whole)
    assert bound.contains(LoRA(rank=2)) and not bound.contains(LoRA(rank=3))
    assert bound.find(LoRA(rank=2)) == bound.find(whole)
    several = attach_side_by_side(model, [LoRA(rank=2)])
    assert several.members[0].architecture == whole
    several.detach()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([LoRA()], r"got a list; write Architecture\(\*methods\)"),
        (LoRA, r"got the class LoRA; make an object of it: LoRA\(\)"),
        (presets.pfeiffer, r"got the function pfeiffer; call it"),
        ("lora", r"got 'lora'; pass objects such as LoRA\(rank=8\)"),
        (None, r"got a NoneType; pass objects"),
    ],
)
def test_what_is_no_architecture(build_backbone, given, said):
    model = build_backbone("bert")
    for call in (
        lambda: attach(model, given),
        lambda: count(given, describe(BERT)),
        lambda: costs(given, BERT, batch=1, tokens=4),
    ):
        with pytest.raises(TypeError, match=said):
            call()
    with pytest.raises(ValueError, match=said):
        Architecture(given)


def test_an_architecture_holds_no_architecture():
    with pytest.raises(ValueError, match=r"Architecture\(\*one.methods, \*other.methods\)"):
        Architecture(Architecture(LoRA()), Adapter())


def test_text_that_is_no_architecture():
    with pytest.raises(ValueError, match=r"an object of format and methods, got \[\]"):
        Architecture.from_json("[]")


def test_what_is_no_anatomy(build_backbone):
    model = build_backbone("bert")
    for call in (
        lambda: attach(model, LoRA(), anatomy="bert"),
        lambda: count(LoRA(), BERT),
        lambda: presets.adapter_drop(BERT, 1),
        lambda: presets.s4(BERT),
        lambda: presets.noah(
            BERT,
            adapter=4,
            adapter_layers=1,
            lora=2,
            lora_layers=1,
            prompt=2,
            prompt_layers=1,
        ),
    ):
        with pytest.raises(TypeError, match=r"an Anatomy is needed, got .*pass describe\(model\)"):
            call()


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (CONFIGS["llama"](), "it is of a llama backbone and the model a bert"),
        (BertConfig(**SIZES | {"num_hidden_layers": 2}), "it has 2 layers and the model 3"),
        (BertConfig(**SIZES | {"num_hidden_layers": 5}), "no layer 'encoder.layer.3'"),
        (BertConfig(**SIZES | {"intermediate_size": 32}), "ffn.up has another size"),
    ],
)
def test_the_anatomy_of_another_model(build_backbone, config, said):
    model = build_backbone("bert")
    for call in (
        lambda: attach(model, LoRA(layers=(0,)), anatomy=describe(config)),
        lambda: attach_side_by_side(model, [LoRA(layers=(0,))], anatomy=describe(config)),
    ):
        with pytest.raises(ValueError, match=f"must be that of the model, but .*{said}"):
            call()


def test_the_anatomy_of_the_config_fits_a_model_whose_head_leaves_the_pooler_out():
    model = BertForMaskedLM(BERT)
    attached = attach(model, LoRA(rank=2), anatomy=describe(BERT))
    assert attached.count > 0


@pytest.mark.parametrize("seed", [-1, "a", 1.0, True, None])
def test_seeds(build_backbone, seed):
    with pytest.raises(ValueError, match="a seed must be a whole number from 0 on, got"):
        attach(build_backbone("bert"), LoRA(), seed=seed)


def test_describe_and_costs_name_the_kind_that_they_take(build_backbone):
    with pytest.raises(TypeError, match="its config is needed, got 'bert'; load one with"):
        describe("bert")
    with pytest.raises(TypeError, match=r"family must be a peftnas.methods.Family, got 'bert'"):
        describe(BERT, family="bert")
    with pytest.raises(TypeError, match=r"got a BertModel; pass its \.config"):
        costs(LoRA(), build_backbone("bert"), batch=1, tokens=4)
    with pytest.raises(TypeError, match="got 'm/bert'; load one with AutoConfig"):
        costs(LoRA(), "m/bert", batch=1, tokens=4)
    with pytest.raises(TypeError, match=r"dtype must be one of torch's, got 'float32'"):
        costs(LoRA(), BERT, batch=1, tokens=4, dtype="float32")
    with pytest.raises(ValueError, match=r"dropout must be a number in \[0, 1\), got 2"):
        costs(LoRA(), BERT, batch=1, tokens=4, dropout=2)
    with pytest.raises(TypeError, match="got a Linear; load one with AutoModel"):
        attach(torch.nn.Linear(2, 2), LoRA())


def test_saving(build_backbone, tmp_path):
    model = build_backbone("bert")
    for given in (Architecture(LoRA()), model):
        with pytest.raises(TypeError, match="got an? (Architecture|BertModel); attach the arch"):
            save(given, tmp_path / "x")
    file = tmp_path / "bad.json"
    file.write_text("{}")
    attached = attach(model, LoRA())
    with pytest.raises(ValueError, match="save writes into a folder, got the file"):
        save(attached, file)
    attached.detach()
    with pytest.raises(FileNotFoundError, match="nowhere is no folder; name the one given"):
        load(tmp_path / "nowhere", model)
    with pytest.raises(FileNotFoundError, match="has no architecture.json; name the one given"):
        load(tmp_path, model)


def test_trainable_is_the_modules_and_the_head(build_backbone):
    model = BertForMaskedLM(BERT)
    attached = attach(model, LoRA(rank=2))
    head = [p for name, p in model.named_parameters() if not name.startswith("bert.")]
    trained = attached.trainable(model)
    tied = {id(parameter) for parameter in model.bert.parameters()}
    free = [parameter for parameter in head if id(parameter) not in tied]
    assert list(map(id, trained)) == [*map(id, attached.parameters()), *map(id, free)]
    with pytest.raises(ValueError, match="attached to, got another BertModel"):
        attached.trainable(build_backbone("bert"))
    assert all(parameter.requires_grad for parameter in trained)


def test_copies_of_an_anatomy_fit(build_backbone):
    model = build_backbone("bert")
    attached = attach(model, LoRA(), anatomy=dataclasses.replace(describe(model)))
    assert attached.count > 0


@pytest.mark.parametrize(
    ("name", "method", "remedy"),
    [
        ("mamba", Prefix(), "leave the method out"),
        ("mamba", LlamaAdapter(), "leave the method out"),
        ("mamba", CoDA(), "leave the method out"),
        ("mamba", GatedLoRAPrefix(), "leave the method out"),
        ("mamba", CrossAttentionTuning(), "leave the method out"),
        ("bert", CrossAttentionTuning(), "leave the method out"),
        ("mamba", Adapter(), "take mixer"),
        ("bert", Adapter(site="mixer"), "take attention, ffn"),
    ],
)
def test_a_refusal_names_no_remedy_that_the_method_cannot_take(name, method, remedy):
    with pytest.raises(ValueError, match=rf"do not exist in {name} backbones; {remedy}$"):
        count(method, describe(CONFIGS[name]()))


@pytest.mark.parametrize(
    ("name", "method", "which_have", "got", "remedy"),
    [
        ("mamba", LoRA(), "in_proj, x_proj", "('query', 'value')", "take some of these"),
        (
            "bert",
            LoRA(targets=("query", "gate_proj")),
            "query, key, value, output, up, down",
            "('query', 'gate_proj')",
            "take some of these",
        ),
        (
            "bert",
            LNTuning(targets=("final_norm",)),
            "attention_norm, ffn_norm, embeddings_norm",
            "('final_norm',)",
            "take some of these",
        ),
    ],
)
def test_targets_that_do_not_exist(name, method, which_have, got, remedy):
    with pytest.raises(ValueError, match="targets .* do not exist") as refused:
        count(method, describe(CONFIGS[name]()))
    tail = str(refused.value).partition(" do not exist in ")[2]
    assert tail == f"{name} backbones, which have {which_have}, got {got}; {remedy}"


def test_adapter_drop_leaves_a_layer():
    anatomy = describe(BERT)
    with pytest.raises(ValueError, match="at least one of the 3 layers .*take 2 at the most"):
        presets.adapter_drop(anatomy, dropped=3)
    assert presets.adapter_drop(anatomy, dropped=2).methods[0].layers == (2,)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Architecture(DoRA(), DoRA()), "got it twice at one; keep one"),
        (lambda: Architecture(Prompt(), VPT()), "got Prompt beside it; keep one"),
        (lambda: Architecture(VPT(), VPT()), "got another VPT beside it; keep one"),
        (lambda: LNTuning(targets=("LayerNorm",)), "is none of them, take some of these"),
        (lambda: Adapter(site=("attention", "ffn")), "; write 'both'"),
        (lambda: Adapter(site="mlp"), "did you mean 'ffn'"),
        (lambda: Adapter(site="self_attn"), "did you mean 'attention'"),
        (lambda: Architecture(LoRA(), gate="unipelt"), r"got gate=; .* as in LoRA\(gate=...\)"),
        (lambda: LoRA(dropout=0.1), r"got 'dropout'; give it to attach\(..., dropout=0.1\)"),
        (lambda: costs(LoRA(), BERT, batch=0, tokens=4), "batch must be .*, got 0; take 1"),
        (lambda: costs(LoRA(), BERT, batch=1, tokens=4, outputs="2"), "outputs must be 0 .*'2'"),
    ],
)
def test_remedies(make, said):
    with pytest.raises((ValueError, TypeError), match=said):
        make()


def test_a_method_is_asked_of_the_package():
    with pytest.raises(AttributeError, match="write from peftnas.methods import LoRA"):
        peftnas.LoRA  # noqa: B018
    with pytest.raises(AttributeError, match="has no attribute 'Lora'$"):
        peftnas.Lora  # noqa: B018


def test_hidden_states_that_hold_no_prompt(build_backbone):
    attached = attach(build_backbone("bert"), Prompt(length=10))
    with pytest.raises(ValueError, match=r"real takes .*10 \+ tokens, ...\), got \(2, 3, 4\)"):
        attached.real(torch.zeros(2, 3, 4))


def test_a_checkpoint_of_another_backbone(build_backbone, tmp_path):
    attach(build_backbone("bert"), LoRA()).save(tmp_path)
    with pytest.raises(ValueError, match="another backbone: model_type bert there, roberta here"):
        load(tmp_path, build_backbone("roberta"))


def test_an_unknown_family_is_loaded_with_its_anatomy():
    with pytest.raises(UnsupportedBackboneError, match=r"load\(folder, model, anatomy=describe"):
        describe(XGLMConfig())


def test_quantised_weights_are_named(build_backbone):
    quantise = torch.ao.quantization.quantize_dynamic
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = quantise(build_backbone("bert"), {torch.nn.Linear}, dtype=torch.qint8)
    with pytest.raises(UnsupportedBackboneError, match="quantised weights are not supported"):
        attach(model, LoRA())
