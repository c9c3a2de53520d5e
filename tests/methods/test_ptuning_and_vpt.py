"""P-tuning: HF peft's prompt encoder; VPT: shallow and deep in closed form."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from peftnas.methods import (
    VPT,
    Adapter,
    Architecture,
    Prompt,
    PTuning,
    attach,
    count,
    describe,
)
from peftnas.methods.canonical import canonical
from peftnas.methods.layers import layer_of
from peftnas.spaces import ByLayer, Choice, PerLayer, SearchSpace, Subset
from peftnas.spaces.enumerate import walks
from peftnas.spaces.sizes.assign import Unstructured
from peftnas.spaces.sizes.census import Census
from peftnas.spaces.sizes.counting import Listing


@pytest.mark.parametrize("encoder", ["mlp", "lstm"])
@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated")
@pytest.mark.filterwarnings("ignore:for LSTM, the `encoder_num_layers`")
def test_equals_the_prompt_encoder_of_hf_peft(encoder, build_backbone, batch, disturb):
    peft = pytest.importorskip("peft")
    ours = build_backbone("bert")
    attached = attach(ours, Architecture(PTuning(length=3, encoder=encoder, hidden=6)))
    disturb(attached)
    [(_, module)] = attached.placed
    config = peft.PromptEncoderConfig(
        task_type="FEATURE_EXTRACTION",
        num_virtual_tokens=3,
        encoder_hidden_size=6,
        encoder_reparameterization_type=encoder.upper(),
    )
    theirs = peft.get_peft_model(build_backbone("bert"), config).eval()
    network = theirs.prompt_encoder["default"]
    trained = sum(p.numel() for p in network.parameters())
    assert trained == count(attached.architecture, attached.anatomy) == attached.count
    network.embedding.weight.data.copy_(module.embedding.detach())
    linears = [layer for layer in network.mlp_head if isinstance(layer, torch.nn.Linear)]
    for theirs_one, own in zip(linears, module.mlp, strict=True):
        theirs_one.load_state_dict(own.state_dict())
    if encoder == "lstm":
        network.lstm_head.load_state_dict(module.lstm.state_dict())
    out, expected = (model(**batch).last_hidden_state for model in (ours, theirs))
    real = torch.cat([torch.ones(3, 3), batch["attention_mask"]], dim=1).bool()
    assert_close(out[real], expected[real], atol=1e-5, rtol=1e-5)


def test_p_tuning_folds_into_a_prompt(build_backbone, batch, disturb):
    model = build_backbone("bert")
    attached = attach(model, Architecture(PTuning(length=3, hidden=6)))
    disturb(attached)
    [(placement, module)] = attached.placed
    expected, vectors = model(**batch).last_hidden_state, module().detach()
    attached.detach()
    plain = attach(model, Architecture(Prompt(length=3)))
    assert placement.stored() == plain.count
    plain.load_state_dict({"embeddings.prompt.embedding": vectors})
    assert_close(model(**batch).last_hidden_state, expected)


def test_shallow_is_a_bare_prompt_after_the_first_token(build_backbone, inputs_of, disturb):
    model = build_backbone("vit")
    attached = attach(model, Architecture(VPT(length=3, deep=False)))
    disturb(attached)
    expected = model(**inputs_of(model)).last_hidden_state
    vectors = attached.placed[0][1].vectors.detach()
    attached.detach()
    plain = attach(model, Architecture(Prompt(length=3, entry="hidden", position="after_first")))
    plain.load_state_dict({"embeddings.prompt.embedding": vectors})
    assert torch.equal(model(**inputs_of(model)).last_hidden_state, expected)


@pytest.mark.parametrize("active", [None, (0, 2)])
def test_deep_replaces_the_prompts_of_a_layer(active, build_backbone, inputs_of, disturb):
    """Layer by layer by hand."""
    model = build_backbone("vit")
    attached = attach(model, Architecture(VPT(length=2, layers=active)))
    disturb(attached)
    inputs = inputs_of(model)
    actual = model(**inputs).last_hidden_state
    vectors = [module.vectors.detach() for _, module in attached.placed]
    attached.detach()
    hidden = model.embeddings(inputs["pixel_values"])
    hidden = torch.cat([hidden[:, :1], vectors[0].expand(3, -1, -1), hidden[:, 1:]], dim=1)
    layers = active or (0, 1, 2)
    for number, layer in enumerate(model.layers):
        if number in layers:
            new = vectors[layers.index(number)].expand(3, -1, -1)
            hidden = torch.cat([hidden[:, :1], new, hidden[:, 3:]], dim=1)
        hidden = layer(hidden)
    assert_close(actual, model.layernorm(hidden))


def test_deep_counts_each_layer_and_always_the_first(build_backbone):
    anatomy = describe(build_backbone("vit"))
    assert count(Architecture(VPT(length=5)), anatomy) == 3 * 5 * 16
    assert count(Architecture(VPT(length=5, layers=(0, 1))), anatomy) == 2 * 5 * 16
    without, with_first = (Architecture(VPT(length=5, layers=at)) for at in ((2,), (0, 2)))
    assert count(without, anatomy) == count(with_first, anatomy) == 2 * 5 * 16
    assert canonical(without, anatomy) == canonical(with_first, anatomy) == with_first
    assert canonical(Architecture(VPT(length=5, layers=(1, 2))), anatomy) == Architecture(
        VPT(length=5)
    )
    assert not canonical(Architecture(VPT(length=5, layers=())), anatomy).methods


def test_every_subset_of_layers_is_a_draw(build_backbone):
    method = VPT(length=Choice(2, 5), layers=Subset.of_layers())
    space = SearchSpace(method).bind(describe(build_backbone("vit")))
    drawn = {space.sample(seed) for seed in range(300)}
    # two lengths, each in the first layer and any of the two others
    assert len(drawn) == space.size().low == space.size().high == 2 * 4


LENGTHS = {
    "growing": {0: 1, 1: 3, 2: 4},
    "shrinking": {0: 4, 2: 1},
    "first not named": {1: 3, 2: 2},
    "none in one": {0: 2, 1: 0, 2: 3},
}


def _by_hand(anatomy, lengths, modules, hidden, masks, run):
    """Layer by layer; ``run(layer, hidden, mask)``, masks (B, T) of the real tokens."""
    vectors, here = {layer_of(p.site): m.vectors.detach() for p, m in modules}, 0
    for layer in range(anatomy.n_layers):
        if layer in vectors:
            new = vectors[layer].expand(len(hidden), -1, -1)
            hidden = torch.cat([hidden[:, :1], new, hidden[:, 1 + here :]], dim=1)
            here = len(vectors[layer])
        ones = masks.new_ones(len(masks), here)
        hidden = run(layer, hidden, torch.cat([masks[:, :1], ones, masks[:, 1:]], dim=1))
    return hidden, here


@pytest.mark.parametrize("name", LENGTHS)
@pytest.mark.parametrize("family", ["vit", "bert"])
def test_lengths_by_layer_equal_layers_run_by_hand(
    family, name, build_backbone, inputs_of, disturb
):
    model = build_backbone(family, "eager")
    anatomy, inputs = describe(model), inputs_of(model)
    length = ByLayer(LENGTHS[name])
    attached = attach(model, Architecture(VPT(length=length)))
    disturb(attached)
    actual = model(**inputs).last_hidden_state
    real = attached.real(actual)
    modules = list(attached.placed)
    attached.detach()
    if family == "vit":
        hidden, layers = model.embeddings(inputs["pixel_values"]), model.layers
        masks = torch.ones(3, hidden.shape[1])
    else:
        hidden, layers = model.embeddings(inputs["input_ids"]), model.encoder.layer
        masks = inputs["attention_mask"].float()

    def run(layer, hidden, mask):
        added = (1 - mask[:, None, None, :]) * torch.finfo(torch.float32).min
        return layers[layer](hidden, None if family == "vit" else added)

    hidden, here = _by_hand(anatomy, LENGTHS[name], modules, hidden, masks, run)
    expected = model.layernorm(hidden) if family == "vit" else hidden
    wide = torch.cat([masks[:, :1], masks.new_ones(3, here), masks[:, 1:]], dim=1).bool()
    assert actual.shape == expected.shape
    assert_close(actual[wide], expected[wide], atol=1e-5, rtol=1e-5)
    kept = torch.cat([expected[:, :1], expected[:, 1 + here :]], dim=1)
    assert_close(real[masks.bool()], kept[masks.bool()], atol=1e-5, rtol=1e-5)


def test_lengths_by_layer_reach_gates_and_checkpoints(build_backbone, batch, disturb):
    """A gate behind the prompts reads the mask of as many tokens as there are."""
    model = build_backbone("bert")
    gated = Adapter(bottleneck=2, gate="unipelt", gate_tokens="unmasked")
    attached = attach(model, Architecture(VPT(length=ByLayer({0: 3, 1: 1, 2: 2})), gated))
    disturb(attached)
    attached.train()
    model(**batch).last_hidden_state.pow(2).sum().backward()
    expected = [parameter.grad.clone() for parameter in attached.parameters()]
    alone = {name: value[1:2, :5] for name, value in batch.items()}
    with torch.no_grad():
        both, one = (attached.real(model(**given).last_hidden_state) for given in (batch, alone))
    assert_close(both[1:2, :5], one, atol=1e-5, rtol=1e-5)
    attached.zero_grad()
    model.activation_checkpointing_enable()
    model.train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    model(**batch).last_hidden_state.pow(2).sum().backward()
    for parameter, grad in zip(attached.parameters(), expected, strict=True):
        assert_close(parameter.grad, grad, atol=1e-4, rtol=1e-4)


def test_lengths_by_layer_count_and_their_normal_form(build_backbone):
    anatomy = describe(build_backbone("vit"))
    method = VPT(length=ByLayer({1: 3, 2: 2}))
    assert count(Architecture(method), anatomy) == (3 + 3 + 2) * 16
    [normal] = canonical(Architecture(method), anatomy).methods
    assert normal == VPT(length=ByLayer({0: 3, 1: 3, 2: 2}))
    same = VPT(length=ByLayer({0: 5, 1: 0, 2: 5}))
    assert canonical(Architecture(same), anatomy).methods == (VPT(length=5, layers=(0, 2)),)
    [first] = canonical(Architecture(VPT(length=ByLayer({0: 4, 1: 0}))), anatomy).methods
    assert first == VPT(length=4, deep=False)


@pytest.mark.parametrize("family", ["llama", "t5", "qwen3"])
def test_lengths_by_layer_need_tokens_without_positions_in_layers(family, build_backbone):
    anatomy = describe(build_backbone(family))
    with pytest.raises(ValueError, match="hold one length"):
        count(Architecture(VPT(length=ByLayer({0: 1, 1: 2}))), anatomy)


def test_sizes_of_lengths_by_layer_are_exact(build_backbone):
    sizes = Choice(1, 2, 3)
    some = Choice((0,), (0, 1), (0, 1, 2))
    method = VPT(length=PerLayer(sizes), layers=some)
    bound = SearchSpace(method).bind(describe(build_backbone("vit")))
    listed = Listing(bound, walks(bound.draw))
    structured = Census(bound)
    assert bound.size() == bound.raw_size() == 3 + 9 + 27
    for budget in (None, 40, 100):
        assert structured.distinct(budget) == listed.distinct(budget)
        assert structured.raw(budget) == listed.raw(budget)


def test_a_first_layer_that_follows_others_is_not_counted_by_structure(build_backbone):
    anatomy = describe(build_backbone("vit"))
    for length in (2, PerLayer(Choice(1, 2))):
        bound = SearchSpace(VPT(length=length, layers=Subset.of_layers())).bind(anatomy)
        with pytest.raises(Unstructured):
            Census(bound)


def test_one_kind_of_prompt_alone():
    with pytest.raises(ValueError, match="only prompt"):
        Architecture(VPT(), Prompt())
    with pytest.raises(ValueError, match="share their position"):
        Architecture(PTuning(position="after_first"), Prompt())
