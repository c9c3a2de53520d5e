"""Adapters: closed forms on a post-LN and a pre-LN backbone, counts, starts, rules."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch.testing import assert_close
from transformers import BertConfig, BertModel, LlamaConfig, LlamaModel

from peftnas.methods.adapter import ACTIVATIONS, Adapter, BottleneckAdapter
from peftnas.methods.attach import attach
from peftnas.methods.call import gated
from peftnas.methods.canonical import canonical
from peftnas.methods.describe import describe
from peftnas.spaces.architecture import Architecture
from peftnas.spaces.domains import Choice, Integer
from peftnas.spaces.structure import ByLayer, PerLayer

WIDTH = 16
IDS = torch.tensor([[5, 9, 3, 17, 4], [8, 2, 11, 6, 30]])


def bert() -> BertModel:
    torch.manual_seed(0)
    config = BertConfig(
        hidden_size=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        vocab_size=40,
        initializer_range=0.3,
    )
    return _with_norms(BertModel(config).eval())


def llama() -> LlamaModel:
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=24,
        vocab_size=40,
        initializer_range=0.3,
    )
    return _with_norms(LlamaModel(config).eval())


def _with_norms(model):
    """Norms away from 1 and 0, so that a norm applied twice or not at all shows."""
    for name, parameter in model.named_parameters():
        if "norm" in name.lower():
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
    return model


BACKBONES = {"bert": bert, "llama": llama}

# (x, h, norm, A) -> y, as in methods.md 2.1; x is the stream, h = F(.) before the addition
Form = Callable[..., torch.Tensor]
POST: dict[str, Form] = {
    "houlsby": lambda x, h, norm, a: norm(x + h + a(h)),
    "pfeiffer": lambda x, h, norm, a: norm(x + h + a(norm(h + x))),
    "after_ln": lambda x, h, norm, a: norm(x + h) + a(norm(x + h)),
    "parallel residual": lambda x, h, norm, a: norm(x + h + a(x)),
    "parallel normed": lambda x, h, norm, a: norm(x + h + a(x)),
}
PRE: dict[str, Form] = {
    "houlsby": lambda x, h, norm, a: x + h + a(h),
    "pfeiffer": lambda x, h, norm, a: x + h + a(x + h),
    "after_ln": lambda x, h, norm, a: x + h + a(x + h),
    "parallel residual": lambda x, h, norm, a: x + h + a(x),
    "parallel normed": lambda x, h, norm, a: x + h + a(norm(x)),
}
FORMS = {"bert": POST, "llama": PRE}


def by_hand(model, layer: int, sublayer: str, form: Form, adapter) -> torch.Tensor:
    """The backbone written out, with ``form`` at one sublayer."""

    def close(at: int, name: str, x, h, norm):
        if (at, name) == (layer, sublayer):
            return form(x, h, norm, adapter)
        return norm(x + h) if isinstance(model, BertModel) else x + h

    if isinstance(model, BertModel):
        x = model.embeddings(IDS)
        for i, block in enumerate(model.encoder.layer):
            out = block.attention.output
            h = out.dense(block.attention.self(x)[0])
            x = close(i, "attention", x, h, out.LayerNorm)
            h = block.output.dense(block.intermediate(x))
            x = close(i, "ffn", x, h, block.output.LayerNorm)
        return x
    x = model.embed_tokens(IDS)
    positions = model.rotary_emb(x, torch.arange(IDS.shape[1])[None])
    for i, block in enumerate(model.layers):
        norm = block.input_layernorm
        h = block.self_attn(norm(x), position_embeddings=positions, attention_mask=None)[0]
        x = close(i, "attention", x, h, norm)
        norm = block.post_attention_layernorm
        x = close(i, "ffn", x, block.mlp(norm(x)), norm)
    return model.norm(x)


def config_of(form: str, site: str, **fields) -> Adapter:
    if form.startswith("parallel"):
        fields |= {"insertion": "parallel", "parallel_input": form.removeprefix("parallel ")}
    else:
        fields |= {"placement": form}
    return Adapter(site=site, bottleneck=3, **fields)


def perturb(attached, seed: int = 1) -> None:
    """Every tensor away from its start."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in attached.parameters():
        torch.nn.init.normal_(parameter, std=0.5, generator=generator)


def only_adapter(attached) -> BottleneckAdapter:
    (adapter,) = (m for m in attached.modules() if isinstance(m, BottleneckAdapter))
    return adapter


def written_out(adapter: BottleneckAdapter, phi, scale) -> Callable[[torch.Tensor], torch.Tensor]:
    """The adapter as a formula of its tensors: s * (U phi(D z + b_D) + b_U)."""
    down, up = adapter.down, adapter.up
    return lambda z: scale * (phi(z @ down.weight.T + down.bias) @ up.weight.T + up.bias)


CASES = [
    (name, form, site)
    for name in BACKBONES
    for form in POST
    for site in ("attention", "ffn")
    if (form, site) != ("pfeiffer", "attention")
]


@pytest.mark.parametrize(("name", "form", "site"), CASES)
def test_equals_the_closed_form(name, form, site):
    model = BACKBONES[name]()
    plain = model(IDS).last_hidden_state
    method = config_of(form, site, activation="gelu", scale=2.5, layers=(1,))
    attached = attach(model, Architecture(method))
    perturb(attached)
    got = model(IDS).last_hidden_state
    adapter = written_out(only_adapter(attached), torch.nn.functional.gelu, 2.5)
    attached.detach()
    assert_close(by_hand(model, 1, site, FORMS[name][form], adapter), got, atol=1e-5, rtol=1e-5)
    assert (got - plain).abs().max() > 0.1


@pytest.mark.parametrize("name", BACKBONES)
def test_serial_and_parallel_sum_into_one_residual(name):
    model = BACKBONES[name]()
    serial = config_of("pfeiffer", "ffn", layers=(0,))
    parallel = config_of("parallel residual", "ffn", layers=(0,))
    attached = attach(model, Architecture(serial, parallel))
    perturb(attached)
    got = model(IDS).last_hidden_state
    modules = [m for m in attached.modules() if isinstance(m, BottleneckAdapter)]
    first, second = sorted(modules, key=lambda module: module.reads == "residual")
    assert second.reads == "residual"
    attached.detach()
    a, b = (written_out(module, torch.relu, 1.0) for module in (first, second))

    def form(x, h, norm, _):
        if name == "llama":
            return x + h + a(x + h) + b(x)
        return norm(x + h + a(norm(x + h)) + b(x))

    assert_close(by_hand(model, 0, "ffn", form, None), got, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("name", "form", "site"), CASES)
def test_starts_as_the_identity(name, form, site):
    model = BACKBONES[name]()
    plain = model(IDS).last_hidden_state
    attach(model, Architecture(config_of(form, site, scale="learned", gate="unipelt")))
    assert_close(model(IDS).last_hidden_state, plain, atol=1e-6, rtol=0)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gate_and_learned_scale_multiply_the_whole_output(activation):
    method = Adapter(
        bottleneck=3, activation=activation, scale="learned", gate="unipelt", gate_tokens="all"
    )
    (placement, _) = method.place(describe(bert()))
    module = placement.build(torch.Generator().manual_seed(0))
    perturb(module)
    phi = {
        "relu": lambda x: x.clamp(min=0),
        "gelu": lambda x: x * 0.5 * (1 + torch.erf(x / 2**0.5)),
        "silu": lambda x: x / (1 + torch.exp(-x)),
        "tanh": torch.tanh,
        "identity": lambda x: x,
    }[activation]
    z = torch.randn(2, 5, WIDTH, generator=torch.Generator().manual_seed(2))
    gate = torch.sigmoid(z @ module.gate.weight.T + module.gate.bias).mean(1, keepdim=True)
    expected = gate * written_out(module, phi, module.scale)(z)
    assert_close(gated(module, z, z, z, None), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("scale", [1.0, 4, "learned"])
@pytest.mark.parametrize("gate", [None, "unipelt"])
@pytest.mark.parametrize("site", ["attention", "ffn", "both"])
@pytest.mark.parametrize("name", BACKBONES)
def test_count_is_what_is_built(name, site, gate, scale):
    model = BACKBONES[name]()
    method = Adapter(site=site, bottleneck=5, scale=scale, gate=gate)
    built = sum(p.numel() for p in attach(model, Architecture(method)).parameters())
    each = 2 * WIDTH * 5 + 5 + WIDTH + (scale == "learned") + (gate is not None) * (WIDTH + 1)
    assert method.count(describe(model)) == built == each * (4 if site == "both" else 2)


def test_count_on_bert_base_needs_no_weights():
    method = Adapter(site="both", bottleneck=64)
    assert method.count(describe(BertConfig())) == 24 * (2 * 768 * 64 + 64 + 768)


def test_build_draws_from_its_generator_alone():
    (placement, _) = Adapter(bottleneck=4, gate="unipelt").place(describe(bert()))
    before = torch.get_rng_state()
    one, two = (placement.build(torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(before, torch.get_rng_state())
    other = placement.build(torch.Generator().manual_seed(4))
    assert torch.equal(one.down.weight, two.down.weight)
    assert not torch.equal(one.down.weight, other.down.weight)
    bound = WIDTH**-0.5
    assert one.down.weight.abs().max() <= bound and one.down.weight.std() > 0.4 * bound
    for zero in (one.down.bias, one.up.weight, one.up.bias):
        assert not zero.any()


def test_values_by_layer_and_absent_layers():
    table = ByLayer({0: 0, 1: 7})
    (placement,) = Adapter(bottleneck=table).place(describe(bert()))
    assert (placement.site, placement.bottleneck) == ("layers[1].ffn", 7)
    assert list(Adapter(bottleneck=0).place(describe(bert()))) == []
    assert list(Adapter(layers=()).place(describe(bert()))) == []
    mixed = Adapter(bottleneck=2, activation=ByLayer({0: "relu", 1: "tanh"}), layers=(1,))
    (placement,) = mixed.place(describe(bert()))
    assert placement.activation == "tanh"


@pytest.mark.parametrize("fields", [{"layers": (0, 2)}, {"bottleneck": ByLayer({5: 8})}])
def test_layer_that_does_not_exist_is_refused(fields):
    with pytest.raises(ValueError, match=r"layers in 0\.\.1"):
        list(Adapter(**fields).place(describe(bert())))


@pytest.mark.parametrize(
    "fields",
    [
        {"site": "attention", "placement": "pfeiffer"},
        {"site": "both", "placement": "pfeiffer"},
        {"site": Choice("ffn", "attention"), "placement": Choice(None, "pfeiffer")},
        {"site": "both", "placement": "pfeiffer", "insertion": Choice("serial", "parallel")},
    ],
)
def test_pfeiffer_at_attention_is_refused(fields):
    with pytest.raises(ValueError, match="'pfeiffer' is defined for site 'ffn' only.*placement=N"):
        Adapter(**fields)


def test_placement_does_not_matter_when_parallel():
    Adapter(site="attention", insertion="parallel", placement="pfeiffer")


@pytest.mark.parametrize(
    "fields",
    [
        {"bottleneck": -1},
        {"bottleneck": Integer(-1, 3)},
        {"site": "emb"},
        {"scale": 0.0},
        {"scale": "fixed"},
        {"scale": PerLayer(Choice(1.0, 2.0))},
        {"activation": "sine"},
    ],
)
def test_wrong_values_are_refused(fields):
    with pytest.raises(ValueError, match=f"Adapter.{next(iter(fields))}"):
        Adapter(**fields)


NORMAL = [
    ("bert", {"placement": "pfeiffer"}, {}),
    ("bert", {"placement": "houlsby"}, {"placement": "houlsby"}),
    ("bert", {"placement": "after_ln"}, {"placement": "after_ln"}),
    ("llama", {"placement": "after_ln"}, {}),
    (
        "llama",
        {"placement": "after_ln", "site": "both"},
        {"placement": "after_ln", "site": "both"},
    ),
    ("bert", {"site": "both", "placement": "houlsby"}, {"site": "both"}),
    ("bert", {"parallel_input": "residual"}, {}),
    ("bert", {"insertion": "parallel", "parallel_input": "residual"}, {"insertion": "parallel"}),
    ("bert", {"insertion": "parallel", "placement": "houlsby"}, {"insertion": "parallel"}),
    (
        "llama",
        {"insertion": "parallel", "parallel_input": "residual"},
        {"insertion": "parallel", "parallel_input": "residual"},
    ),
]


@pytest.mark.parametrize(("name", "given", "normal"), NORMAL)
def test_normal_form_places_the_same_modules(name, given, normal):
    anatomy = describe(BACKBONES[name]())
    method = Adapter(**given)
    assert canonical(Architecture(method), anatomy) == Architecture(Adapter(**normal))
    assert list(method.place(anatomy)) == list(Adapter(**normal).place(anatomy))


def test_constant_scale_trains_otherwise_but_reaches_the_same_functions():
    anatomy = describe(bert())
    one, four = (next(iter(Adapter(scale=scale).place(anatomy))) for scale in (1, 4))
    assert one.identity() != four.identity()
    assert one.function() == four.function()
    assert one.identity() == next(iter(Adapter(scale=1.0).place(anatomy))).identity()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "adapter ffn serial (pfeiffer) bottleneck 64 relu"),
        (
            {"site": "both", "insertion": "parallel", "scale": 4, "layers": (0, 1, 3)},
            "adapter attention+ffn parallel (normed) bottleneck 64 relu scale 4 in layers 0-1,3",
        ),
        (
            {"bottleneck": ByLayer({0: 4, 1: 8, 2: 4}), "gate": "unipelt"},
            "adapter ffn serial (pfeiffer) bottleneck 4 (layers 0,2), 8 (layer 1) relu gated",
        ),
    ],
)
def test_words(fields, words):
    assert Adapter(**fields).words() == words
