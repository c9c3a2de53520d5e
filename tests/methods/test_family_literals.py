"""A family of one's own: what its literal may hold, and that its paths are there."""

from __future__ import annotations

import dataclasses

import pytest
from transformers import PhiConfig

from peftnas.methods import (
    Adapter,
    Architecture,
    Family,
    Fused,
    LoRA,
    Prefix,
    Stack,
    SublayerPaths,
    Tap,
    UnsupportedBackboneError,
    attach,
    describe,
)
from peftnas.methods.anatomies import BERT, FAMILIES, LLAMA
from peftnas.methods.family_probe import check_by_running
from peftnas.methods.testing.tiny import CONFIGS, SIZES

STACK = Stack(
    layers="layers",
    linears={
        "query": "self_attn.q_proj",
        "key": "self_attn.k_proj",
        "value": "self_attn.v_proj",
        "output": "self_attn.dense",
        "up": "mlp.fc1",
        "down": "mlp.fc2",
    },
    sublayers={
        "attention": SublayerPaths(
            residual=Tap("input_layernorm", 0, "input"),
            exit="self_attn",
            norm="input_layernorm",
            core="self_attn",
        ),
        "ffn": SublayerPaths(
            residual=Tap("input_layernorm", 0, "input"), exit="mlp", norm="input_layernorm"
        ),
    },
    causal=True,
    embeddings="embed_tokens",
    word_embeddings="embed_tokens",
    outer_norms={"final_norm": "final_layernorm"},
)
PHI = Family(
    name="phi", model_types=("phi",), norm_order="pre", positions="rotary", stacks=(STACK,)
)
CONFIG = PhiConfig(**SIZES)
FFN = STACK.sublayers["ffn"]
ATTENTION = STACK.sublayers["attention"]


def changed(**fields):
    return dataclasses.replace(PHI, stacks=(dataclasses.replace(STACK, **fields),))


def test_a_literal_that_fits(batch):
    from transformers import PhiModel

    model = PhiModel(CONFIG).eval()
    anatomy = describe(model, PHI)
    attached = attach(model, Architecture(LoRA(), Adapter(), Prefix()), anatomy=anatomy)
    assert attached.count > 0 and model(**batch).last_hidden_state.isfinite().all()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (
            {"linears": STACK.linears | {"q": "self_attn.q_proj"}},
            "Stack.linears .*'x_proj', got 'q'",
        ),
        ({"linears": {}}, "must have 'up' .*got none"),
        ({"linears": {"up": "mlp.fc1", "query": "q"}}, "both 'query' and 'key'"),
        (
            {"linears": STACK.linears | {"up": "mlp.fc2"}},
            "each linear once, got 'mlp.fc2' as 'up' and 'down'",
        ),
        (
            {"linears": {"up": "u", "query": Fused("q", 1), "key": Fused("q", 1)}},
            "each linear once, got 'q' as 'query' and 'key'",
        ),
        ({"linears": {"up": 3}}, r"Stack.linears\['up'\] must be text, got 3"),
        ({"linears": "up"}, "must be a dict by name"),
        ({"sublayers": {}}, "at least one sublayer"),
        ({"sublayers": {"mlp": FFN}}, "'mixer', got 'mlp'"),
        ({"sublayers": {"ffn": "mlp"}}, r"sublayers\['ffn'\] must be a SublayerPaths"),
        ({"heads": None}, "Stack.heads must name the attribute"),
        ({"causal": "yes"}, "Stack.causal must be a bool"),
        ({"layers": ""}, "Stack.layers must not be empty"),
        ({"embeddings": 3}, "Stack.embeddings must be text or None"),
        ({"optional": ("pooler",)}, "Stack.optional must be one of 'final_norm', got 'pooler'"),
    ],
)
def test_fields_of_a_stack(fields, said):
    with pytest.raises((ValueError, TypeError), match=said):
        changed(**fields)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"positions": "rope"}, "'learned', 'rotary', 'relative', 'none', got 'rope'"),
        ({"norm_order": "prenorm"}, "got 'prenorm'; did you mean 'pre'"),
        ({"stacks": ()}, r"at least one Stack, got \(\)"),
        ({"stacks": STACK}, "must be a tuple of Stack, got a Stack"),
        ({"stacks": (STACK, STACK)}, "names of their own"),
        ({"model_types": "phi"}, r"a tuple of str, got 'phi'; write \('phi',\)"),
        ({"name": ""}, "Family.name must not be empty"),
    ],
)
def test_fields_of_a_family(fields, said):
    with pytest.raises((ValueError, TypeError), match=said):
        dataclasses.replace(PHI, **fields)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Tap("norm", -1, "x"), "Tap.index must be a whole number from 0 on, got -1"),
        (lambda: Tap("norm", 0, None), "Tap.name must be text"),
        (lambda: Fused("qkv", 5), "Fused.part must be a whole number from 0 to 2, got 5"),
        (lambda: Fused("qkv", 0, parts=1), "Fused.parts must be a whole number from 2 on"),
        (lambda: SublayerPaths("norm", "mlp", "norm"), "residual must be a Tap, got 'norm'"),
    ],
)
def test_fields_of_the_parts(make, said):
    with pytest.raises((ValueError, TypeError), match=said):
        make()


def ffn(**fields):
    return {"sublayers": STACK.sublayers | {"ffn": dataclasses.replace(FFN, **fields)}}


def attention(**fields):
    return {"sublayers": STACK.sublayers | {"attention": dataclasses.replace(ATTENTION, **fields)}}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"layers": "h"}, "layers must be .*such as 'layers', got 'h'"),
        ({"embeddings": "wte"}, "embeddings must be .*'embed_tokens'.*got 'wte'"),
        ({"word_embeddings": "wte"}, "word_embeddings must be .*'embed_tokens', got 'wte'"),
        ({"entry": "decoder"}, "entry must be .*got 'decoder'"),
        ({"outer_norms": {"final_norm": "norm"}}, r"outer_norms\['final_norm'\].*got 'norm'"),
        ({"outer_norms": {"last": "final_layernorm"}}, "a name in outer_norms must be one of"),
        ({"inner_norms": {"query_norm": "q_norm"}}, r"inner_norms\['query_norm'\].*got 'q_norm'"),
        ({"linears": STACK.linears | {"up": "mlp.up"}}, r"linears\['up'\].*got 'mlp.up'"),
        ({"linears": STACK.linears | {"up": "mlp"}}, "mlp is a PhiMLP, not a Linear"),
        ({"linears": STACK.linears | {"up": Fused("mlp.fc1", 0, parts=7)}}, "got parts=7"),
        (ffn(exit="ff"), r"sublayers\['ffn'\].exit must be .*got 'ff'"),
        (ffn(norm="post_norm"), r"norm must be .*'input_layernorm', got 'post_norm'"),
        (ffn(residual=Tap("nope", 0, "x")), "residual must be .*got 'nope'"),
        (
            ffn(residual=Tap("input_layernorm", 3, "zz")),
            r"takes, Tap\('input_layernorm', 0, 'input'\), got",
        ),
        (attention(core="self_attn.dense"), "core must be the module that calls the attention"),
        (attention(core="mlp"), r"core must be .*hands keywords .*got 'mlp'; or None"),
        ({"causal": False}, "causal must be True, since 'self_attn' says is_causal"),
        ({"heads": "n_head"}, "heads must be .*'num_attention_heads'.*got 'n_head'"),
        ({"config": "text_config"}, "config must be .*got 'text_config'"),
    ],
)
def test_paths_that_are_not_there(fields, said):
    with pytest.raises(UnsupportedBackboneError, match=f"family 'phi' does not fit .*{said}"):
        describe(CONFIG, changed(**fields))


def test_names_that_only_some_models_have_may_be_missing():
    fields = {"outer_norms": STACK.outer_norms | {"embeddings_norm": "norm"}}
    anatomy = describe(CONFIG, changed(**fields, optional=("embeddings_norm",)))
    assert "final_norm" in anatomy.norms and "embeddings.norm" not in anatomy.norms


def test_positions_that_a_rotation_contradicts():
    with pytest.raises(UnsupportedBackboneError, match="must be 'rotary', since .*got 'learned'"):
        describe(CONFIG, dataclasses.replace(PHI, positions="learned"))


LLAMA_LAYER = LLAMA.stacks[0].sublayers
BERT_LAYER = BERT.stacks[0].sublayers


def own(family, **sublayers):
    """A family as it is, but for some sublayers."""
    stack = family.stacks[0]
    changed = dataclasses.replace(stack, sublayers=stack.sublayers | sublayers)
    return dataclasses.replace(family, name="mine", stacks=(changed,))


@pytest.mark.parametrize("name", ["bert", "gpt2", "llama", "t5", "bart", "clip", "mamba"])
def test_a_literal_that_is_right_passes_the_trial(build_backbone, digest, name):
    model = build_backbone(name)
    before, modes = digest(model), [module.training for module in model.modules()]
    known = describe(model)
    [family] = [one for one in FAMILIES if one.name == known.family]
    assert describe(model, dataclasses.replace(family)) == known
    assert digest(model) == before and [m.training for m in model.modules()] == modes
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


@pytest.mark.parametrize("name", list(CONFIGS))
def test_known_literals_are_what_their_modules_do(build_backbone, name):
    model = build_backbone(name)
    check_by_running(model, describe(model))


@pytest.mark.parametrize(
    ("name", "family", "said"),
    [
        ("bert", dataclasses.replace(BERT, norm_order="pre"), "norm must be the norm that reads"),
        ("llama", dataclasses.replace(LLAMA, norm_order="post"), "reads the sum of residual"),
        (
            "llama",
            own(LLAMA, ffn=dataclasses.replace(LLAMA_LAYER["ffn"], exit="mlp.act_fn")),
            r"whose output is added to the residual stream, of shape \(1, 6, 16\), got",
        ),
        (
            "llama",
            own(LLAMA, ffn=dataclasses.replace(LLAMA_LAYER["ffn"], exit="self_attn")),
            "must be what a layer adds to the residual stream",
        ),
        (
            "llama",
            own(
                LLAMA,
                ffn=dataclasses.replace(
                    LLAMA_LAYER["ffn"], residual=Tap("input_layernorm", 0, "hidden_states")
                ),
            ),
            "norm must be the norm that reads the residual stream",
        ),
        (
            "llama",
            own(
                LLAMA,
                ffn=SublayerPaths(
                    residual=Tap("input_layernorm", 0, "hidden_states"),
                    exit="mlp",
                    norm="input_layernorm",
                ),
            ),
            "whose 'up' reads the output of its norm",
        ),
        (
            "bert",
            own(
                BERT,
                ffn=dataclasses.replace(
                    BERT_LAYER["ffn"], residual=BERT_LAYER["attention"].residual
                ),
            ),
            "norm must be the norm that reads the sum",
        ),
        (
            "bert",
            dataclasses.replace(
                BERT, stacks=(dataclasses.replace(BERT.stacks[0], causal=True),), name="mine"
            ),
            "causal must be False, since its tokens see later ones, got True",
        ),
    ],
)
def test_a_literal_of_other_modules_fails_the_trial(build_backbone, name, family, said):
    with pytest.raises(UnsupportedBackboneError, match=said):
        describe(build_backbone(name), dataclasses.replace(family, name="mine"))


def test_a_model_that_cannot_be_called_is_told(build_backbone, monkeypatch):
    model = build_backbone("bert")

    def fails(*args, **kwargs):
        raise ValueError("wants a picture")

    monkeypatch.setattr(model.embeddings, "forward", fails)
    with pytest.warns(UserWarning, match="only its names are checked: wants a picture"):
        describe(model, dataclasses.replace(BERT))
