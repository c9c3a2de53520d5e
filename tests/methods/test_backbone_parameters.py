"""A task head that lies in the base model is no part of the backbone."""

from __future__ import annotations

import pytest
import torch
import transformers

from peftnas.methods import Architecture, FullFineTuning, LoRA, attach, count, describe
from peftnas.methods.backbone_parameters import backbone_parameters
from tests.methods.conftest import CONFIGS

WITHIN = ["T5ForConditionalGeneration", "T5ForQuestionAnswering", "T5EncoderModel", "T5Model"]


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("kind", WITHIN)
def test_the_head_is_left_alone(kind, tied):
    torch.manual_seed(0)
    config = CONFIGS["t5"]()
    config.tie_word_embeddings = tied
    model = getattr(transformers, kind)(config)
    names = {"lm_head.weight", "qa_outputs.weight", "qa_outputs.bias"}
    head = [p for name, p in model.named_parameters() if name in names]
    anatomy = describe(model)
    if kind != "T5EncoderModel" and tied:  # a config of t5 always says so
        assert describe(config).backbone_parameters == anatomy.backbone_parameters
    attached = attach(model, Architecture(LoRA()))
    assert all(parameter.requires_grad for parameter in head)
    attached.detach()
    full = Architecture(FullFineTuning())
    attached = attach(model, full)
    assert attached.count == count(full, anatomy)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    trained = [parameter.detach().clone() for parameter in head]
    attached.detach()
    assert all(torch.equal(now, then) for now, then in zip(head, trained, strict=True))


def test_everything_of_a_bare_model_belongs_to_it(any_backbone):
    assert list(backbone_parameters(any_backbone)) == [
        n for n, _ in any_backbone.named_parameters()
    ]
