"""Export for other libraries: the lines of the README give the trial's logits elsewhere."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import LlamaConfig, MambaConfig

from peftnas.methods import (
    IA3,
    AdaLoRA,
    Adapter,
    Architecture,
    BitFit,
    CoDA,
    DoRA,
    LlamaAdapter,
    LNTuning,
    LoRA,
    Prefix,
    Prompt,
    PTuning,
)
from peftnas.search.backbone import Backbone
from peftnas.search.errors import UsageError
from peftnas.search.jobs import TrialJob
from peftnas.search.recipe import Recipe
from peftnas.search.results import TrialRow
from peftnas.search.trial.bench import Bench
from peftnas.search.trial.fine_tune import run_trial
from peftnas.studies.export import export, load_exported
from peftnas.studies.export_check import check_form
from peftnas.studies.restore import TrainedTrial
from peftnas.studies.tasks import TextClassification
from tests.backbones import BAD, GOOD, bert_config, save_backbone

TEXTS = ["good0 good1", "bad2", "good2 bad0 bad0 bad1 bad1"]

# runs the lines of each folder on several texts, one folder after the other
SCRIPT = """
import json, pathlib, re, sys, warnings
warnings.simplefilter("ignore")
place, texts, library = pathlib.Path(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3]
found = {}
for folder in sorted(place.iterdir()):
    [lines] = re.findall(r"```python\\n(.*?)```", (folder / "README.md").read_text(), re.S)
    lines = lines.replace('["a text"], ["its pair"]', f"{texts!r}, {texts[::-1]!r}")
    names = {}
    exec(lines.replace('["a text"]', repr(texts)), names)
    labels = names["model"].config.id2label
    found[folder.name] = [names["logits"].tolist(), list(labels.values())]
assert "peftnas" not in sys.modules and ("peft" in sys.modules) == (library == "peft")
print(json.dumps(found))
"""


def llama_config() -> LlamaConfig:
    return LlamaConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=48,
        initializer_range=0.3,
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., TrainedTrial]:
    """``trained(backbone, pooling, *methods, pairs=False)``: a trial of two steps."""
    place = tmp_path_factory.mktemp("trials")
    save_backbone(place / "bert", bert_config())
    save_backbone(place / "llama", llama_config(), pad=False)
    mamba = MambaConfig(hidden_size=16, num_hidden_layers=2, state_size=4, initializer_range=0.3)
    save_backbone(place / "mamba", mamba, pad=False)
    (place / "task").mkdir()
    words = (*GOOD, *BAD)
    for split, seconds in (("train", words), ("dev", (BAD[0],) * 3)):
        rows = [f"{one} {two}\t{one}\t{one in GOOD}" for two in seconds for one in words]
        (place / f"task/{split}.tsv").write_text("\n".join(["text\tother\tlabel", *rows]) + "\n")
    benches: dict[Any, Bench] = {}

    def train(backbone: str, pooling: str, *methods: Any, pairs: bool = False) -> TrainedTrial:
        if (backbone, pairs) not in benches:
            task = TextClassification("task", text_pair="other" if pairs else None)
            data = task.open(place, place, 0)
            benches[backbone, pairs] = Bench(Backbone(place / backbone), data, task)
        bench = benches[backbone, pairs]
        recipe = Recipe(
            steps=2, batch_size=8, learning_rate=0.05, max_length=16, pooling=pooling
        ).to_dict()
        folder = place / f"{len(list(place.iterdir()))}"
        architecture = Architecture(*methods).to_dict()
        result = run_trial(bench, TrialJob(0, architecture, recipe, 1, "key", str(folder)))
        assert result.status == "complete", result.error
        return TrainedTrial(row_of(architecture, recipe, result.metrics), bench, folder, "")

    return train


def row_of(architecture: Any, recipe: Any, metrics: Any) -> TrialRow:
    return TrialRow(
        number=3,
        state="complete",
        values=metrics,
        words="what it is",
        architecture=architecture,
        recipe=recipe,
        params={},
        metrics=metrics,
        curve=[],
        losses=[],
        timing={},
        trainable_parameters=10,
        stored_bytes=40,
        head_parameters=4,
        reason="",
        error="",
        seed=1,
        train_key="",
        machine_losses=0,
        baseline=None,
        started="",
        finished="",
    )


CASES: dict[str, dict[str, tuple[Any, ...]]] = {
    "peft": {
        "mean": ("bert", "mean", LoRA(rank=2)),
        "dora": ("bert", "native", DoRA(rank=2)),
        "biases": ("bert", "native", LoRA(rank=2), BitFit()),
        "prompt": ("bert", "first", Prompt(length=3)),
        "native": ("bert", "native", Prompt(length=3)),
        "prefix": ("llama", "last", Prefix(length=3)),
        "causal": ("llama", "native", IA3()),
        "norms": ("bert", "native", LoRA(rank=2), LNTuning()),
        "bitfit": ("bert", "first", BitFit()),
        "adaption": ("llama", "native", LlamaAdapter(length=2, gate_form="per_layer")),
        "ptuning": ("bert", "mean", PTuning(length=2, hidden=8)),
    },
    "merged": {
        "first": ("bert", "first", BitFit()),
        "native": ("bert", "native", LoRA(rank=2), IA3()),
        "causal": ("llama", "native", LoRA(rank=2)),
        "mean": ("llama", "mean", LoRA(rank=2)),
        "no_class": ("mamba", "native", LoRA(rank=2, targets=("in_proj",))),
    },
}


@pytest.fixture(scope="module", params=["peft", "merged"])
def elsewhere(request: Any, trained: Any, tmp_path_factory: Any) -> Any:
    """The format, what another process made of each case, and what the trial answers."""
    if request.param == "peft":
        pytest.importorskip("peft")
    place, expected = tmp_path_factory.mktemp(request.param), {}
    for name, case in CASES[request.param].items():
        for pairs in (False, True):
            if pairs and name != "mean":
                continue
            folder = place / (f"{name}_pairs" if pairs else name)
            trial = trained(*case, pairs=pairs)
            export(trial, "tiny", folder, form=request.param)
            with trial.answerer() as answerer:
                expected[folder.name] = answerer(TEXTS, TEXTS[::-1] if pairs else None)
    arguments = [str(place), json.dumps(TEXTS), request.param]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return request.param, json.loads(done.stdout.splitlines()[-1]), expected, place


def test_the_lines_give_the_logits_of_the_trial(elsewhere: Any) -> None:
    form, found, expected, _ = elsewhere
    assert set(found) == set(expected) >= set(CASES[form])
    for name, (logits, _) in found.items():
        np.testing.assert_allclose(logits, expected[name], atol=1e-5, rtol=1e-5, err_msg=name)


def test_what_lies_in_the_folder(elsewhere: Any) -> None:
    form, found, _, place = elsewhere
    usual = {"README.md", "export.json"}
    if form == "peft":
        usual |= {"adapter_config.json", "adapter_model.safetensors", "head.safetensors"}
        assert {path.name for path in (place / "mean").iterdir()} == usual | {"tokenizer"}
        config = json.loads((place / "mean/adapter_config.json").read_text())
        assert Path(config["base_model_name_or_path"]).name == "bert"
        return
    for name in found:
        files = {path.name for path in (place / name).iterdir()}
        assert files >= usual | {"config.json", "model.safetensors", "tokenizer.json"}
        whole = name in ("native", "causal")
        assert ("head.safetensors" in files) != whole
        assert not whole or found[name][1] == ["False", "True"]


def test_load_exported_names_the_right_way(elsewhere: Any) -> None:
    form, _, _, place = elsewhere
    with pytest.raises(UsageError, match=rf"written with --format {form}; load it with the lines"):
        load_exported(place / "mean")


REFUSALS = [
    ("peft", (Adapter(bottleneck=2),), r"adapter at layers\[0\].* no bottleneck adapters"),
    ("peft", (LoRA(rank=2), IA3()), "ia3 with lora cannot go into one"),
    ("merged", (Adapter(bottleneck=2),), r"adapter at layers\[0\].* after a sublayer"),
    ("merged", (CoDA(bottleneck=2),), r"coda at layers\[0\].* has a factor for each token"),
]


@pytest.mark.parametrize(("form", "methods", "why"), REFUSALS)
def test_a_refused_export_leaves_nothing(
    form: str, methods: Any, why: str, trained: Any, tmp_path: Path
) -> None:
    trial = trained("bert", "mean", *methods)
    with pytest.raises(UsageError, match=rf"--format {form}: .*{why}.*\(--format peftnas\)"):
        export(trial, "tiny", tmp_path / "e", form=form)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("form", "methods", "why"), REFUSALS)
def test_a_format_is_refused_without_any_tensors(
    form: str, methods: Any, why: str, trained: Any
) -> None:
    bench = trained("bert", "mean", LoRA(rank=2)).bench
    before = {name: value.clone() for name, value in bench.model().state_dict().items()}
    row = row_of(Architecture(*methods).to_dict(), {"dtype": "float32"}, {})
    with pytest.raises(UsageError, match=rf"--format {form}: .*{why}.*\(--format peftnas\)"):
        check_form(row, bench, form)
    assert bench.model().state_dict().keys() == before.keys()
    for name, value in bench.model().state_dict().items():
        assert value.equal(before[name])


@pytest.mark.parametrize("form", ["peft", "merged"])
def test_ranks_that_start_at_zero_are_no_reason(form: str, trained: Any) -> None:
    bench = trained("bert", "mean", LoRA(rank=2)).bench
    row = row_of(Architecture(AdaLoRA(rank=3, target_rank=2)).to_dict(), {"dtype": "float32"}, {})
    check_form(row, bench, form)


def test_a_method_that_is_not_loaded_is_refused_with_the_remedy(
    trained: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "e"
    export(trained("bert", "mean", LoRA(rank=2)), "tiny", folder)
    path = folder / "architecture.json"
    path.write_text(path.read_text().replace('"kind": "lora"', '"kind": "murmur"'))
    with pytest.raises(UsageError, match=r"'murmur', which does not .* methods=FILE\)$"):
        load_exported(folder)
    (tmp_path / "other.py").write_text(
        "from peftnas import Recipe, SearchSpace, Study\n"
        "from peftnas.methods import LoRA\n"
        "from peftnas.studies.tasks import TextClassification\n"
        "study = Study(name='other', backbone='b', task=TextClassification('t'),\n"
        "    space=SearchSpace(LoRA()), recipe=Recipe())\n"
    )
    with pytest.raises(UsageError, match=r"'murmur', which is not in .*other\.py either"):
        load_exported(folder, methods=tmp_path / "other.py")


def test_a_prompt_on_pairs_is_refused(trained: Any, tmp_path: Path) -> None:
    trial = trained("bert", "mean", Prompt(length=2), pairs=True)
    with pytest.raises(UsageError, match="HF peft drops the token types"):
        export(trial, "tiny", tmp_path / "e", form="peft")
    assert list(tmp_path.iterdir()) == []


def test_in_bfloat16(trained: Any, tmp_path: Path) -> None:
    trial = trained("bert", "native", LoRA(rank=2))
    trial.row.recipe["dtype"] = "bfloat16"
    export(trial, "tiny", tmp_path / "merged", form="merged")
    export(trial, "tiny", tmp_path / "peft", form="peft")
    assert json.loads((tmp_path / "merged/config.json").read_text())["dtype"] == "bfloat16"
