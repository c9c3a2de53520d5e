"""save and load: exact values, and clear refusals."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from peftnas.methods import AdaMix, Adapter, Architecture, DyLoRA, LoRA, Prefix, attach, load
from peftnas.methods.hooks import is_attached
from peftnas.methods.saving import DESCRIPTION, TENSORS, save
from peftnas.spaces.structure import ByLayer

ARCHITECTURE = Architecture(
    LoRA(rank=ByLayer({0: 1, 2: 3}), gate="unipelt"),
    Adapter(bottleneck=2, scale="learned"),
    Prefix(length=2, mlp=3),
)


@pytest.fixture
def saved(build_backbone, disturb, tmp_path):
    attached = attach(build_backbone("bert"), ARCHITECTURE)
    disturb(attached)
    save(attached, tmp_path, backbone="tiny", sha256="ab" * 32)
    return tmp_path, attached


def test_round_trip(saved, build_backbone):
    folder, attached = saved
    loaded = load(folder, build_backbone("bert"))
    assert loaded.architecture == ARCHITECTURE
    state = attached.state_dict()
    assert state.keys() == loaded.state_dict().keys()
    assert all(torch.equal(state[name], value) for name, value in loaded.state_dict().items())
    description = json.loads((folder / DESCRIPTION).read_text())
    assert description["trainable_parameters"] == attached.count
    assert description["stored_parameters"] < attached.count
    assert description["backbone"]["name"] == "tiny"
    assert sorted(path.name for path in folder.iterdir()) == [TENSORS, DESCRIPTION]


@pytest.mark.parametrize("method", [DyLoRA(rank=4, used=1), AdaMix(bottleneck=4), LoRA(rank=2)])
def test_loaded_is_ready_to_evaluate(method, build_backbone, batch, disturb, tmp_path):
    model = build_backbone("bert")
    attached = attach(model, Architecture(method), dropout=0.5)
    disturb(attached)
    attached.eval()
    expected = model(**batch).last_hidden_state
    attached.save(tmp_path)
    attached.detach()
    loaded = load(tmp_path, model)
    assert not loaded.training
    assert torch.equal(model(**batch).last_hidden_state, expected)


def test_saving_again_replaces(saved, disturb):
    folder, attached = saved
    disturb(attached)
    attached.save(folder)
    assert all(
        torch.equal(attached.state_dict()[name], value)
        for name, value in load_file(folder / TENSORS).items()
    )


def test_merged_modules_are_saved_as_modules(saved, build_backbone):
    folder, attached = saved
    attached.merge()
    attached.save(folder)
    attached.unmerge()
    loaded = load(folder, build_backbone("bert"))
    state = attached.state_dict()
    assert all(torch.equal(state[name], value) for name, value in loaded.state_dict().items())


def test_another_backbone_is_refused(saved, build_backbone):
    folder, _ = saved
    model = build_backbone("llama")
    with pytest.raises(ValueError, match="another backbone .tiny.: model_type bert there, llama"):
        load(folder, model)
    assert not is_attached(model)


def test_damage_is_named(saved, build_backbone):
    folder, _ = saved
    model = build_backbone("bert")
    tensors = load_file(folder / TENSORS)
    name = next(iter(tensors))
    save_file({key: value for key, value in tensors.items() if key != name}, folder / TENSORS)
    with pytest.raises(ValueError, match="does not fit its architecture.json"):
        load(folder, model)
    assert not is_attached(model)
    (folder / TENSORS).write_bytes(b"nothing")
    with pytest.raises(ValueError, match="is damaged"):
        load(folder, model)
    (folder / TENSORS).unlink()
    with pytest.raises(FileNotFoundError, match=f"has no {TENSORS}"):
        load(folder, model)
    (folder / DESCRIPTION).write_text("{")
    with pytest.raises(ValueError, match="is damaged"):
        load(folder, model)
    (folder / DESCRIPTION).write_text('{"format": 99}')
    with pytest.raises(ValueError, match="must have format 1, got 99"):
        load(folder, model)
