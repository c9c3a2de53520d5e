"""P-tuning: HF peft's prompt encoder; VPT: shallow and deep in closed form."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from peftnas.methods import VPT, Architecture, Prompt, PTuning, attach, count, describe
from peftnas.methods.canonical import canonical
from peftnas.spaces import Choice, SearchSpace, Subset


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
    vectors = attached.placed[0][1].vectors[0].detach()
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
    vectors = [vector.detach() for vector in attached.placed[0][1].vectors]
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


def test_one_kind_of_prompt_alone():
    with pytest.raises(ValueError, match="only prompt"):
        Architecture(VPT(), Prompt())
    with pytest.raises(ValueError, match="share their position"):
        Architecture(PTuning(position="after_first"), Prompt())
