"""``peftnas doctor --backbone``: what a backbone has, and which methods it takes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import (
    AlbertConfig,
    CLIPConfig,
    FunnelConfig,
    GPT2Config,
    LlamaConfig,
    MambaConfig,
    PreTrainedConfig,
    T5Config,
)

from peftnas.methods import METHODS, Architecture, LoRA, count, describe
from peftnas.studies.cli import main
from peftnas.studies.site_table import site_table

CONFIGS: dict[str, Callable[[], PreTrainedConfig]] = {
    "gpt2": lambda: GPT2Config(vocab_size=60, n_embd=16, n_layer=3, n_head=4),
    "llama": lambda: LlamaConfig(
        vocab_size=60,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
    ),
    "t5": lambda: T5Config(
        vocab_size=60, d_model=16, d_kv=6, d_ff=24, num_layers=2, num_decoder_layers=3, num_heads=4
    ),
    "mamba": lambda: MambaConfig(vocab_size=60, hidden_size=16, num_hidden_layers=3, state_size=4),
    "albert": lambda: AlbertConfig(
        vocab_size=60,
        embedding_size=8,
        hidden_size=16,
        intermediate_size=24,
        num_attention_heads=4,
        num_hidden_groups=2,
        inner_group_num=2,
    ),
}


@pytest.fixture
def folder_of(tmp_path: Path) -> Callable[[str], Path]:
    """A folder with the config of a tiny backbone and nothing else."""

    def save(name: str) -> Path:
        CONFIGS[name]().save_pretrained(tmp_path / name)
        return tmp_path / name

    return save


@pytest.fixture
def ask(capfd: pytest.CaptureFixture[str]) -> Callable[[Path], dict[str, Any]]:
    def run(path: Path) -> dict[str, Any]:
        capfd.readouterr()
        assert main(["doctor", "--backbone", str(path), "--json"]) == 0
        found: dict[str, Any] = json.loads(capfd.readouterr().out)
        return found

    return run


def site(group: dict[str, Any], name: str) -> dict[str, Any]:
    [found] = [one for one in group["sites"] if one["name"] == name]
    return dict(found)


def test_a_config_without_weights_is_enough(
    folder_of: Callable[[str], Path], ask: Callable[[Path], dict[str, Any]]
) -> None:
    folder = folder_of("llama")
    assert [path.name for path in folder.iterdir()] == ["config.json"]
    table = ask(folder)
    assert table == ask(folder / "config.json")
    assert (table["name"], table["family"], table["positions"]) == ("llama", "llama", "rotary")
    [group] = table["stacks"][0]["groups"]
    assert group["layers"] == [0, 1, 2] and group["kv_heads"] == 2
    assert (site(group, "query")["n_out"], site(group, "key")["n_out"]) == (16, 8)
    assert site(group, "key")["path"] == "layers.{i}.self_attn.k_proj"
    lora = next(method for method in table["methods"] if method["kind"] == "lora")
    expected = count(Architecture(LoRA()), describe(CONFIGS["llama"]()))
    assert lora["trainable"] == expected
    assert lora["percent"] == pytest.approx(100 * expected / table["backbone_parameters"])


def test_every_method_is_counted_or_refused_with_a_sentence(
    folder_of: Callable[[str], Path], ask: Callable[[Path], dict[str, Any]]
) -> None:
    methods = {method["kind"]: method for method in ask(folder_of("mamba"))["methods"]}
    assert list(methods) == list(METHODS)
    for method in methods.values():
        assert (method["trainable"] is None) == bool(method["refusal"])
    assert "which have in_proj, x_proj, got" in methods["lora"]["refusal"]
    assert methods["full"]["percent"] == 100


def test_fused_and_transposed_linears_say_so() -> None:
    [stack] = site_table("x", describe(CONFIGS["gpt2"]())).stacks
    [group] = stack.groups
    sites = {one.name: one for one in group.sites}
    assert [(sites[name].part, sites[name].parts) for name in ("query", "value", "up")] == [
        (1, 3),
        (3, 3),
        (0, 1),
    ]
    assert all(one.transposed for one in group.sites if not one.norm)
    assert stack.entries == ("word_embeddings",) and group.prefix == ("attention",)


def test_stacks_and_the_numbers_in_their_paths() -> None:
    encoder, decoder = site_table("x", describe(CONFIGS["t5"]())).stacks
    assert (encoder.layers, decoder.layers) == ((0, 1), (2, 3, 4))
    assert encoder.entries and not decoder.entries
    [group] = decoder.groups
    assert group.sublayers == ("attention", "cross_attention", "ffn")
    assert group.path == "decoder.block.{i}" and group.numbers == ("0", "1", "2")
    albert = site_table("x", describe(CONFIGS["albert"]())).stacks[0].groups[0]
    assert albert.path == "encoder.albert_layer_groups.{i}.albert_layers.{j}"
    assert albert.numbers == ("0,0", "0,1", "1,0", "1,1")


def test_towers_of_different_widths_are_not_mixed() -> None:
    tower = {"num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 24}
    config = CLIPConfig(
        text_config=tower | {"vocab_size": 60, "hidden_size": 16},
        vision_config=tower | {"hidden_size": 20, "image_size": 12, "patch_size": 4},
    )
    anatomy = describe(config)
    table = site_table("x", anatomy)
    assert [stack.groups[0].width for stack in table.stacks] == [16, 20]
    shown = [one.path for stack in table.stacks for one in stack.outside]
    outer = [*anatomy.norms.items(), *anatomy.linears.items()]
    assert sorted(shown) == sorted(
        one.path for address, one in outer if not address.startswith("layers[")
    )


@pytest.mark.parametrize("name", list(CONFIGS))
def test_it_fits_100_columns(
    name: str,
    folder_of: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    folder = folder_of(name)
    capfd.readouterr()
    assert main(["doctor", "--backbone", str(folder)]) == 0
    printed = capfd.readouterr().out
    assert max(map(len, printed.splitlines())) <= 100
    assert "norm order" in printed and f"(model type {name})" in printed


@pytest.mark.parametrize(
    ("write", "says"),
    [
        (lambda folder: FunnelConfig().save_pretrained(folder), "no anatomy describes backbones"),
        (lambda folder: None, "has no config.json"),
        (lambda folder: (folder / "config.json").write_text("{}"), "model_type"),
    ],
)
def test_what_cannot_be_described_is_wrong_usage(
    write: Callable[[Path], object],
    says: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    write(tmp_path)
    capfd.readouterr()
    assert main(["doctor", "--backbone", str(tmp_path)]) == 2
    printed = capfd.readouterr()
    assert printed.out == "" and says in printed.err and printed.err.count("\n") == 1


def test_a_study_brings_a_family_of_its_own(
    workplace: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "backbone"
    shutil.copytree(workplace / "backbone", folder)
    config = folder / "config.json"
    config.write_text(
        config.read_text().replace('"model_type": "bert"', '"model_type": "camembert"')
    )
    study = tmp_path / "study.py"
    text = (workplace / "study.py").read_text()
    own = """
import dataclasses
from peftnas.methods.anatomies import BERT
from peftnas.search import Backbone

family = dataclasses.replace(BERT, name="mine", model_types=("camembert",))
study = dataclasses.replace(study, backbone=Backbone("FOLDER", family=family))
"""
    study.write_text(text + own.replace("FOLDER", str(folder)))
    capfd.readouterr()
    assert main(["doctor", "--backbone", str(folder)]) == 2
    assert "`peftnas doctor --backbone FILE` takes too" in capfd.readouterr().err
    assert main(["doctor", "--backbone", str(study)]) == 0
    assert "mine (model type camembert)" in capfd.readouterr().out


def test_a_study_of_a_known_family_needs_neither_weights_nor_a_tokenizer(
    workplace: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "backbone").mkdir()
    shutil.copy(workplace / "backbone" / "config.json", tmp_path / "backbone")
    study = tmp_path / "study.py"
    own = """
import dataclasses
study = dataclasses.replace(study, backbone=SOURCE)
"""
    for source in ('"backbone"', 'lambda: "backbone"'):
        study.write_text((workplace / "study.py").read_text() + own.replace("SOURCE", source))
        capfd.readouterr()
        assert main(["doctor", "--backbone", str(study)]) == 0
        assert "bert (model type bert)" in capfd.readouterr().out


def test_a_stack_without_prompts_says_where_they_enter(
    folder_of: Callable[[str], Path], capfd: pytest.CaptureFixture[str]
) -> None:
    folder = folder_of("t5")
    capfd.readouterr()
    assert main(["doctor", "--backbone", str(folder)]) == 0
    assert "none: prompts enter the encoder" in capfd.readouterr().out
