"""Prompts that start from words, prefixes that start from keys and values of words."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from peftnas.methods import Architecture, Prefix, Prompt, PTuning, attach, describe

WORDS = ("bert", "electra", "gemma", "llama", "gpt2", "t5", "bart")


@pytest.mark.parametrize("name", WORDS)
def test_prompt_of_given_tokens(name, build_backbone):
    model = build_backbone(name)
    attached = attach(model, Architecture(Prompt(length=5, start="tokens", tokens=(7, 9))))
    expected = model.get_input_embeddings()(torch.tensor([7, 9, 7, 9, 7]))
    [(_, module)] = attached.placed
    assert torch.equal(module.embedding, expected)
    assert module.embedding.requires_grad


def test_prompt_from_the_vocabulary_depends_on_the_seed(build_backbone):
    model, starts = build_backbone("bert"), []
    table = model.get_input_embeddings().weight
    for seed in (1, 1, 2):
        attached = attach(model, Architecture(Prompt(length=6, start="vocabulary")), seed=seed)
        starts.append(attached.placed[0][1].embedding.detach().clone())
        attached.detach()
    assert torch.equal(starts[0], starts[1]) and not torch.equal(starts[0], starts[2])
    for vector in starts[0]:
        assert (table == vector).all(dim=1).any()


@pytest.mark.parametrize("name", ["bert", "distilbert", "gpt2", "gpt_neox", "opt", "t5", "bart"])
def test_prefix_starts_as_keys_and_values_of_the_tokens(name, build_backbone, digest):
    """As long as the first layer reads the same: its projections of the embedded tokens."""
    model = build_backbone(name)
    before, training = digest(model), model.training
    attached = attach(model, Architecture(Prefix(length=3, tokens=(7, 9, 4))))
    assert digest(model) == before and model.training is training
    anatomy, ids = attached.anatomy, torch.tensor([[7, 9, 4]])
    seen = {}
    attached.detach()
    layer = len(anatomy.layers) - 1
    sites = {name: anatomy.linear(layer, name) for name in ("key", "value")}
    for part, site in sites.items():
        module = model.get_submodule(site.path)
        module.register_forward_hook(lambda m, args, out, part=part: seen.__setitem__(part, out))
    extra = {"decoder_input_ids": ids} if len(anatomy.stacks) > 1 else {}
    model(input_ids=ids, **extra)
    kept = attached.at(f"layers[{layer}].attention.core", "prefix")
    for part, values in (("key", kept.keys), ("value", kept.values)):
        out, site = seen[part].reshape(3, -1), sites[part]
        if site.rows is not None:
            out = out[:, site.rows.indices(out.shape[1])]
        assert_close(values.reshape(3, -1).detach(), out.detach())


def test_a_prefix_of_tokens_is_close_to_the_tokens_themselves(build_backbone):
    """What attention finds in it is what it finds in these tokens, where positions are no part."""
    model = build_backbone("bert")
    core = model.encoder.layer[0].attention.self
    attached = attach(model, Architecture(Prefix(length=2, tokens=(7, 9), layers=(0,))))
    prefix = attached.at("layers[0].attention.core", "prefix")
    hidden = model.embeddings(torch.tensor([[7, 9]]))
    assert_close(prefix.keys.reshape(2, -1), core.key(hidden)[0])
    assert_close(prefix.values.reshape(2, -1), core.value(hidden)[0])


@pytest.mark.parametrize(("name", "first"), [("whisper", 2), ("clip", 0)])
def test_a_stack_that_reads_words_beside_one_that_does_not(name, first, build_backbone, digest):
    """The decoder of whisper, the text tower of clip: they read the tokens alone."""
    model = build_backbone(name)
    before, layers = digest(model), describe(model).stacks[first // 2].layers
    assert layers[0] == first
    attached = attach(model, Architecture(Prefix(length=2, tokens=(7, 9), layers=layers)))
    anatomy = attached.anatomy
    prefix = attached.at(f"layers[{first}].attention.core", "prefix")
    attached.detach()
    block = model.get_submodule(anatomy.layers[first].path)
    norm = block.self_attn_layer_norm if name == "whisper" else block.layer_norm1
    table, positions = (
        (model.decoder.embed_tokens, model.decoder.embed_positions.weight)
        if name == "whisper"
        else (
            model.text_model.embeddings.token_embedding,
            model.text_model.embeddings.position_embedding.weight,
        )
    )
    read = norm(table(torch.tensor([7, 9])) + positions[:2])
    assert_close(prefix.keys.reshape(2, -1), block.self_attn.k_proj(read))
    assert_close(prefix.values.reshape(2, -1), block.self_attn.v_proj(read))
    assert digest(model) == before


class TestRefusals:
    @pytest.mark.parametrize(
        ("name", "method"),
        [
            ("whisper", Prefix(tokens=(1,))),
            ("whisper", Prefix(tokens=(1,), layers=(2,), sublayers=("cross_attention",))),
            ("clip", Prefix(tokens=(1,))),
        ],
    )
    def test_layers_that_read_no_words(self, name, method, build_backbone):
        with pytest.raises(ValueError, match=r"reads no words; .* take layers=\(.*\)"):
            list(method.place(describe(build_backbone(name))))

    def test_no_tokens(self):
        with pytest.raises(ValueError, match="needs token ids"):
            Prompt(start="tokens")

    def test_words_enter_as_words(self):
        with pytest.raises(ValueError, match="entry='word_embeddings'"):
            Prompt(entry="hidden", start="vocabulary")

    def test_beyond_the_vocabulary(self, build_backbone):
        model = build_backbone("bert")
        for method in (Prompt(start="tokens", tokens=(99,)), Prefix(tokens=(99,))):
            with pytest.raises(ValueError, match="0 to 59"):
                attach(model, Architecture(method))

    def test_images_have_no_words(self, build_backbone):
        anatomy = describe(build_backbone("vit"))
        for method in (Prompt(start="vocabulary"), Prefix(tokens=(1,))):
            with pytest.raises(ValueError, match="no words"):
                list(method.place(anatomy))

    def test_p_tuning_starts_at_random(self):
        with pytest.raises(TypeError, match="start"):
            PTuning(start="vocabulary")
