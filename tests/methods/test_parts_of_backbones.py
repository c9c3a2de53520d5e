"""Models that hold a part of their backbone alone: a decoder, an encoder of sounds."""

from __future__ import annotations

import pytest
import torch
import transformers
from torch.testing import assert_close

from peftnas.methods import (
    VPT,
    Adapter,
    Architecture,
    CrossAttentionTuning,
    LoRA,
    Prefix,
    Prompt,
    attach,
    count,
    describe,
    load,
)
from tests.methods.conftest import CONFIGS

IDS = torch.tensor([[5, 6, 7, 8, 9], [9, 8, 7, 6, 5]])
DECODERS = [("bart", "BartForCausalLM"), ("whisper", "WhisperForCausalLM")]
METHODS = [LoRA(rank=2), Adapter(bottleneck=3, site="both"), Prefix(length=2), Prompt(length=2)]


def part(name, kind):
    torch.manual_seed(0)
    config = CONFIGS[name]()
    return getattr(transformers, kind)(config).eval()


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.kind)
@pytest.mark.parametrize(("name", "kind"), DECODERS)
class TestDecoderAlone:
    def test_is_counted_trained_saved_and_taken_off(
        self, name, kind, method, disturb, digest, tmp_path
    ):
        model = part(name, kind)
        before, plain = digest(model), model(IDS).logits
        attached = attach(model, Architecture(method))
        assert attached.count == count(method, attached.anatomy)
        disturb(attached)
        assert not any(parameter.requires_grad for parameter in model.parameters())
        out = model(IDS).logits
        out.pow(2).sum().backward()
        assert all(p.grad is not None and p.grad.any() for p in attached.parameters())
        attached.save(tmp_path)
        attached.detach()
        assert digest(model) == before and torch.equal(model(IDS).logits, plain)
        load(tmp_path, model)
        assert torch.equal(model(IDS).logits, out)

    @torch.no_grad()
    def test_generates_with_a_cache_as_without(self, name, kind, method, disturb):
        model = part(name, kind)
        disturb(attach(model, Architecture(method)).eval())
        settings = {"max_new_tokens": 4, "do_sample": False, "pad_token_id": 0}
        settings |= {"eos_token_id": None, "forced_eos_token_id": None}
        without = model.generate(IDS, **settings, use_cache=False)
        assert torch.equal(model.generate(IDS, **settings), without)


@pytest.mark.parametrize(("name", "kind"), DECODERS)
def test_its_layers_attend_to_no_encoder(name, kind):
    anatomy = describe(part(name, kind))
    assert not [one for one in (*anatomy.linears, *anatomy.sublayers) if "cross" in one]
    for method in (CrossAttentionTuning(), LoRA(targets=("cross_query",))):
        with pytest.raises(ValueError, match="cross_.* not exist in"):
            attach(part(name, kind), Architecture(method))


def test_an_encoder_of_sounds_has_no_words_for_a_prompt():
    model = part("whisper", "WhisperForAudioClassification")
    sounds = torch.randn(2, 8, 40)
    plain = model(sounds).logits
    for method in (Prompt(length=2), VPT(length=2)):
        with pytest.raises(ValueError, match="whole embedding layer, .* take Prefix"):
            attach(model, Architecture(method))
    attached = attach(model, Architecture(LoRA(rank=2)))
    assert model.classifier.weight.requires_grad
    assert_close(model(sounds).logits, plain)
    attached.detach()
    attach(model, Architecture(Prefix(length=2)))
    assert not torch.equal(model(sounds).logits, plain)
