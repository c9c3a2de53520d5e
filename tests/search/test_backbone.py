"""Backbone: found by folder, read once, and a clear sentence for what is wrong."""

import hashlib
import json
import pickle
import shutil
from pathlib import Path

import pytest
import torch

from peftnas.search.backbone import Backbone, BackboneError, find_backbone, weights_sha256
from peftnas.search.errors import UsageError


def test_found_by_absolute_and_relative_folder(
    bert: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent = bert.folder.parent
    monkeypatch.chdir(parent)
    found = find_backbone(str(bert.folder))
    assert found == find_backbone(bert.folder.name) == find_backbone(lambda: found.folder)
    monkeypatch.chdir("/")
    assert find_backbone(bert.folder.name, base=parent).folder == bert.folder
    assert find_backbone(bert) is bert


def test_its_sha256_is_that_of_the_weights(bert: Backbone) -> None:
    content = (bert.folder / "model.safetensors").read_bytes()
    assert bert.sha256 == hashlib.sha256(content).hexdigest()
    assert Backbone(bert.folder, sha256=bert.sha256).sha256 == bert.sha256
    with pytest.raises(BackboneError, match="sha256 .* expected 00000000"):
        Backbone(bert.folder, sha256="0" * 64)


def test_weights_in_parts_are_hashed_together(bert: Backbone, tmp_path: Path) -> None:
    content = (bert.folder / "model.safetensors").read_bytes()
    (tmp_path / "model-00001-of-00002.safetensors").write_bytes(content[:100])
    (tmp_path / "model-00002-of-00002.safetensors").write_bytes(content[100:])
    assert weights_sha256(tmp_path) == bert.sha256


def test_it_travels_to_another_process(bert: Backbone) -> None:
    assert pickle.loads(pickle.dumps(bert)) == bert


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_loaded_frozen_aligned_and_in_eval_mode(bert: Backbone, dtype: str) -> None:
    model = bert.load(dtype)
    assert not model.training
    assert model.dtype == getattr(torch, dtype)
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert {parameter.data_ptr() % 64 for parameter in model.parameters()} == {0}


def test_what_the_weights_lack_is_the_same_each_time(bert: Backbone, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = copy(bert, tmp_path)
    tensors = load_file(folder / "model.safetensors")
    kept = {name: value for name, value in tensors.items() if not name.startswith("pooler.")}
    assert len(kept) < len(tensors)
    save_file(kept, folder / "model.safetensors", {"format": "pt"})
    torch.manual_seed(1)
    first = Backbone(folder).load()
    torch.manual_seed(2)
    second = Backbone(folder).load()
    assert torch.equal(first.pooler.dense.weight, second.pooler.dense.weight)

    del kept["encoder.layer.1.attention.self.query.weight"]
    save_file(kept, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(BackboneError, match="lack 1 tensors of the config"):
        Backbone(folder).load()


def test_loading_draws_no_random_numbers_of_the_caller(bert: Backbone) -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    bert.load()
    assert torch.equal(torch.rand(1), expected)


def test_padding_token_and_length(bert: Backbone, llama: Backbone) -> None:
    assert (bert.pad_id(), bert.longest()) == (0, 40)
    assert (llama.pad_id(), llama.longest()) == (4, 64)


def copy(backbone: Backbone, folder: Path) -> Path:
    return Path(shutil.copytree(backbone.folder, folder / "copy"))


@pytest.mark.parametrize("name", ["/no/such/folder", "./here", "~/there", "a/b/c"])
def test_an_unknown_folder_is_named(name: str) -> None:
    with pytest.raises(BackboneError, match=f"{name!r} does not exist; check the path"):
        find_backbone(name)


def test_a_folder_without_config_weights_or_tokenizer(bert: Backbone, tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match=r"has no config\.json"):
        Backbone(tmp_path)
    folder = copy(bert, tmp_path)
    (folder / "model.safetensors").unlink()
    with pytest.raises(BackboneError, match="has no weights"):
        Backbone(folder)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(BackboneError, match="has no tokenizer"):
        Backbone(folder)


def test_damaged_files(bert: Backbone, tmp_path: Path) -> None:
    folder = copy(bert, tmp_path)
    (folder / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(BackboneError, match="the weights in backbone folder .* cannot be read"):
        Backbone(folder).load()
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(BackboneError, match="the tokenizer in backbone folder .* cannot be read"):
        Backbone(folder).tokenizer()
    (folder / "config.json").write_text("{")
    with pytest.raises(BackboneError, match=r"config\.json in backbone folder .* cannot be read"):
        Backbone(folder).config()


def test_an_unsupported_family_is_a_usage_error(bert: Backbone, tmp_path: Path) -> None:
    folder = copy(bert, tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "mpnet"}))
    with pytest.raises(UsageError, match="no anatomy describes backbones of type 'mpnet'"):
        Backbone(folder).anatomy()
