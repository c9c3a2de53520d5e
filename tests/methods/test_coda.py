"""CoDA: the soft selection, layer by layer in closed form, ratio 1 as a parallel adapter."""

from __future__ import annotations

import math

import pytest
import torch
from torch.testing import assert_close

from peftnas.methods import Adapter, Architecture, CoDA, attach, count, describe
from peftnas.methods.coda import select
from peftnas.spaces.keys import train_key


class TestSelection:
    @pytest.mark.parametrize("keep", [0.2, 0.5, 0.9])
    def test_weights_are_those_of_the_best_tokens(self, keep):
        scores = torch.randn(3, 10, generator=torch.Generator().manual_seed(1))
        weights = select(scores, keep)
        number = math.ceil(keep * 10)
        assert weights.min() >= 0 and weights.max() <= 1
        for row, weight in zip(scores, weights, strict=True):
            assert set(weight.nonzero()[:, 0].tolist()) == set(row.topk(number).indices.tolist())
            assert float(weight.sum()) == pytest.approx(number, rel=0.2)

    def test_weights_solve_the_problem(self):
        """Their sum is k where all tokens keep theirs; each is 1 or exp((score + a) / eps)."""
        scores = torch.randn(4, 8, generator=torch.Generator().manual_seed(2))
        weights = select(scores, 1 - 1e-6)
        assert_close(weights.sum(1), torch.full((4,), 8.0), atol=1e-4, rtol=0)
        soft = select(torch.tensor([[0.02, 0.01, 0.0, -0.01, -0.02]]), 0.6)[0]
        inner = soft[(soft > 0) & (soft < 1)].log()
        eps = 0.1 * torch.tensor([0.02, 0.01, 0.0, -0.01, -0.02]).std(correction=0)
        assert_close(inner.diff(), torch.full_like(inner[1:], -0.01) / eps, atol=1e-3, rtol=1e-3)

    def test_far_apart_scores_are_taken_whole(self):
        weights = select(torch.tensor([[9.0, -9.0, 8.0, -8.0]]), 0.5)
        assert_close(weights, torch.tensor([[1.0, 0.0, 1.0, 0.0]]), atol=1e-3, rtol=0)

    def test_padding_is_never_taken_and_changes_nothing(self):
        scores = torch.randn(1, 5, generator=torch.Generator().manual_seed(1))
        padded = torch.cat([scores, torch.full((1, 3), -math.inf)], dim=1)
        weights = select(padded, 0.4)
        assert not weights[:, 5:].any()
        assert torch.equal(weights[:, :5], select(scores, 0.4))

    def test_a_row_of_padding_alone_has_finite_weights(self):
        assert not select(torch.full((1, 4), -math.inf), 0.5).any()

    def test_gradient_reaches_the_scores(self):
        scores = torch.randn(2, 6, generator=torch.Generator().manual_seed(1), requires_grad=True)
        (select(scores, 0.5) * torch.arange(6.0)).sum().backward()
        assert scores.grad.isfinite().all() and scores.grad.abs().sum() > 0


def test_one_layer_in_closed_form(build_backbone, disturb):
    """Post-LN: LN(x + w F(x)), LN(y + w G(y) + A(y)), w from the layer's input."""
    model = build_backbone("bert")
    layer = model.encoder.layer[0]
    hidden = torch.randn(2, 6, 16)
    attended = layer.attention.self(hidden)[0]
    attached = attach(model, Architecture(CoDA(bottleneck=3, token_keep_ratio=0.5, layers=(0,))))
    disturb(attached)
    with torch.no_grad():
        attached.placed[0][1].router.mul_(5)
    actual = layer(hidden)
    actual = actual[0] if isinstance(actual, tuple) else actual
    module = attached.placed[0][1]
    weights = select(hidden @ module.router, 0.5).unsqueeze(-1)
    assert int((weights > 0).sum()) == 6
    adapter = module.parts[2]
    attached.detach()
    out, ffn = layer.attention.output, layer.output
    y = out.LayerNorm(hidden + weights * out.dense(attended))
    inner = ffn.dense(layer.intermediate(y))
    expected = ffn.LayerNorm(y + weights * inner + adapter(y, None))
    assert_close(actual, expected, atol=1e-5, rtol=1e-5)


def test_a_padded_row_is_what_it_is_alone(build_backbone, batch, disturb):
    model = build_backbone("bert")
    disturb(attach(model, Architecture(CoDA(bottleneck=3))))
    together = model(**batch).last_hidden_state
    for row, mask in enumerate(batch["attention_mask"]):
        real = mask.bool()
        alone = {name: value[row : row + 1, real] for name, value in batch.items()}
        assert_close(together[row : row + 1, real], model(**alone).last_hidden_state)


def test_an_adapter_after_the_norm_reads_what_it_reads_alone(build_backbone, batch, disturb):
    model, read = build_backbone("bert"), []
    adapter = Adapter(site="attention", bottleneck=3, placement="after_ln", layers=(0,))
    for methods in ((adapter,), (adapter, CoDA(bottleneck=3, layers=(0,)))):
        attached = attach(model, Architecture(*methods))
        disturb(attached)
        module = attached.at("layers[0].attention", "adapter")
        module.register_forward_pre_hook(lambda module, args: read.append(args[0].clone()))
        model(**batch)
        attached.detach()
    assert_close(*read)


def test_count_and_ratio_1(build_backbone):
    anatomy = describe(build_backbone("bert"))
    assert count(Architecture(CoDA(bottleneck=4)), anatomy) == 3 * (16 + 2 * 16 * 4 + 4 + 16)
    keys = [
        train_key(anatomy.place(anatomy.canonical(Architecture(method))))
        for method in (
            CoDA(bottleneck=4, token_keep_ratio=1.0),
            Adapter(insertion="parallel", bottleneck=4),
        )
    ]
    assert keys[0] == keys[1]


@pytest.mark.parametrize("name", ["gpt2", "llama", "bart"])
def test_refused_where_tokens_see_no_future(name, build_backbone):
    with pytest.raises(ValueError, match="name layers of an encoder"):
        attach(build_backbone(name), Architecture(CoDA(bottleneck=4)))


def test_encoder_of_an_encoder_decoder(build_backbone, inputs_of):
    model = build_backbone("bart")
    bare = model(**inputs_of(model)).last_hidden_state
    attach(model, Architecture(CoDA(bottleneck=4, layers=(0, 1))))
    assert not torch.equal(model(**inputs_of(model)).last_hidden_state, bare)
