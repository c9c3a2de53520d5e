"""The way back from a model to what is attached to it."""

from __future__ import annotations

import copy
import gc
import pickle

import pytest
from transformers import BertForSequenceClassification

from peftnas.methods import LoRA, attach, attach_side_by_side, attached_to
from peftnas.methods.testing.tiny import CONFIGS


def test_a_handle_that_nobody_kept(build_backbone, digest):
    model = build_backbone("bert")
    before, tree = digest(model), [name for name, _ in model.named_modules()]
    attach(model, LoRA(rank=2))
    gc.collect()
    with pytest.raises(ValueError, match=r"detach it first \(attached_to\(model\).detach\(\)\)"):
        attach(model, LoRA())
    assert [name for name, _ in model.named_modules()] == tree
    attached_to(model).detach()
    assert digest(model) == before
    with pytest.raises(ValueError, match="this BertModel carries none; attach some"):
        attached_to(model)
    attach(model, LoRA(rank=2))


def test_it_is_the_one_that_attach_returned():
    model = BertForSequenceClassification(CONFIGS["bert"]())
    attached = attach(model, LoRA(rank=2))
    assert attached_to(model) is attached_to(model.bert) is attached
    assert attached.model is model
    attached.detach()
    several = attach_side_by_side(model, [LoRA(rank=2), LoRA(rank=3)])
    assert attached_to(model) is several
    several.detach()
    several.detach()
    attach(model, LoRA(rank=2))
    several.detach()  # again: no effect on what came later
    assert attached_to(model).architecture.methods == (LoRA(rank=2),)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_a_copy_has_a_handle_of_its_own(build_backbone, copied):
    model = build_backbone("bert")
    attached = attach(model, LoRA(rank=2))
    twin = copied(model)
    other = attached_to(twin)
    assert other is not attached and other.base is twin
    other.detach()
    assert attached_to(model) is attached and attached.count > 0
    attach(twin, LoRA(rank=3))


def test_what_is_no_model():
    with pytest.raises(TypeError, match="needs a transformers model, got 'bert'"):
        attached_to("bert")
