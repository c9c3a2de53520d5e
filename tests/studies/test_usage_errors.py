"""Wrong usage: one sentence on stderr, exit code 2, nothing on stdout, no worker started."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from peftnas.studies.cli import main
from tests.backbones import save_tokenizer

Write = Callable[..., str]


@pytest.fixture(autouse=True)
def no_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(*_: object, **__: object) -> None:
        raise AssertionError("workers were started")

    monkeypatch.setattr("peftnas.search.runner._ray", start)


@pytest.fixture
def refused(
    workplace: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Runs ``peftnas run FILE`` with further arguments; its one sentence."""

    def run(file: str, *arguments: str, command: str = "run") -> str:
        capfd.readouterr()
        given = [command, file, "--data", str(workplace / "data"), "--out", str(tmp_path / "out")]
        assert main([*given, *arguments]) == 2
        printed = capfd.readouterr()
        assert printed.out == ""
        sentence = printed.err.rstrip("\n")
        assert "\n" not in sentence and "Traceback" not in sentence
        assert sentence.startswith("peftnas")
        return sentence

    return run


def test_file_errors(refused: Callable[..., str], study_file: Write, tmp_path: Path) -> None:
    assert "there is no file none.py" in refused("none.py")
    assert "there is no file" in refused(str(tmp_path))
    assert "must have a module-level study = Study(...), got none" in refused(
        study_file(text="x = 1")
    )
    assert "got int" in refused(study_file(text="study = 3"))
    broken = study_file(text="a = 1\nstudy = Study(\n")
    assert f"{broken}, line 2: '(' was never closed" in refused(broken)
    wrong = study_file(text="import os\n\nstudy = Study()")
    assert f"{wrong}, line 3: NameError" in refused(wrong)
    assert ": ModuleNotFoundError: No module named 'nowhere'" in refused(
        study_file(text="import nowhere")
    )
    other = tmp_path / "study.txt"
    other.write_text("study = 1")
    assert "must end in .py" in refused(str(other))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (('"backbone"', '"./nowhere"'), "backbone folder './nowhere' does not exist"),
        (
            ('TextClassification("task")', 'TextClassification("none.tsv")'),
            "'none.tsv' must exist",
        ),
        (('"task")', '"task", label="class")'), "label='class' must be a column of train.tsv"),
        (('"task")', '"task", text="words")'), "text='words' must be a column of train.tsv"),
        (('"task")', '"task", metrics="auc")'), "metric must be one of accuracy"),
        (("max_parameters=800", "max_parameters=1, at_least_one_method=True"), "max_parameters"),
        (("max_length=16)", "max_length=16), objectives=('speed',)"), "objective must be one of"),
        (("rank=Integer(1, 4)", "rank=Integer(4, 1)"), "Integer needs low <= high"),
        (("rank=Integer(1, 4)", "targets=('q_proj',)"), "LoRA.targets must be some of"),
        (("rank=Integer(1, 4)", "targets=('gate_proj',)"), "gate_proj"),
        (('name="tiny"', 'name="a/b"'), "a study's name must be"),
        (('name="tiny"', "name=3"), "a study's name must be"),
        (('backbone="backbone"', "backbone=3"), "a study's backbone must be a folder, a name on"),
        (('backbone="backbone"', "backbone=lambda: None"), "a study's backbone must be a folder"),
        (('TextClassification("task")', '"task"'), "a study's task must have name, metrics, "),
    ],
)
def test_study_errors(
    refused: Callable[..., str], study_file: Write, change: tuple[str, str], says: str
) -> None:
    assert says in refused(study_file(change))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "at least one row"),
        ("text\tlabel\n", "at least one row"),
        (
            "text\tkind\na\tb\n",
            "label='label' must be a column of train.tsv, which has",
        ),
        ("text\tlabel\na\tpos\nb\tpos\n", "at least two classes, got only 'pos'"),
        ("text\tlabel\na\n", "line 2: a row must have 2 fields"),
    ],
)
def test_data_errors(
    refused: Callable[..., str], workplace: Path, tmp_path: Path, content: str, says: str
) -> None:
    shutil.copytree(workplace / "data", tmp_path / "data")
    (tmp_path / "data/task/train.tsv").write_text(content)
    assert says in refused(str(workplace / "study.py"), "--data", str(tmp_path / "data"))


def test_backbone_errors(refused: Callable[..., str], workplace: Path, tmp_path: Path) -> None:
    file = str(workplace / "study.py")
    assert "does not exist" in refused(file, "--backbone", str(tmp_path / "nowhere"))
    assert "has no config.json" in refused(file, "--backbone", str(tmp_path))
    foreign = tmp_path / "foreign"
    shutil.copytree(workplace / "backbone", foreign)
    config = foreign / "config.json"
    config.write_text(config.read_text().replace('"model_type": "bert"', '"model_type": "fnet"'))
    assert "no anatomy describes backbones of type 'fnet'" in refused(
        file, "--backbone", str(foreign)
    )
    empty = tmp_path / "empty"
    shutil.copytree(workplace / "backbone", empty)
    (empty / "model.safetensors").unlink()
    assert "has no weights" in refused(file, "--backbone", str(empty))
    (empty / "model.safetensors").write_text("no tensors")
    assert "the weights in backbone folder" in refused(file, "--backbone", str(empty))
    shutil.copy(workplace / "backbone/model.safetensors", empty)
    (empty / "tokenizer.json").write_text("{")
    assert "the tokenizer in backbone folder" in refused(file, "--backbone", str(empty))
    (empty / "config.json").write_text("{")
    assert "config.json in backbone folder" in refused(file, "--backbone", str(empty))


def test_a_text_without_tokens(
    refused: Callable[..., str], workplace: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "bare"
    shutil.copytree(workplace / "backbone", folder)
    save_tokenizer(folder, pad=False)  # adds no token of its own, as many decoders' do
    shutil.copytree(workplace / "data", tmp_path / "data")
    with (tmp_path / "data/task/train.tsv").open("a") as file:
        file.write("\tpos\n")
    arguments = ("--backbone", str(folder), "--data", str(tmp_path / "data"))
    says = refused(str(workplace / "study.py"), *arguments)
    assert "at least one token, got none for text number 60: ''; drop empty texts" in says


def test_a_folder_to_export_to_that_cannot_be_made(
    refused: Callable[..., str], workplace: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    arguments = ("--trial", "0", "--to", str(tmp_path / "file/deep/e"))
    says = refused(str(workplace / "study.py"), *arguments, command="export")
    assert f"--to must lie in a folder that can be written, but {tmp_path}/file is not" in says


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--workers", "0"], "argument --workers: must be a whole number >= 1, got '0'"),
        (["--trials", "0"], "argument --trials: must be a whole number >= 1, got '0'"),
        (["--trials", "many"], "got 'many'"),
        (["--minutes", "-1"], "argument --minutes: must be a number of minutes > 0"),
        (["--minutes", "nan"], "got 'nan'"),
        (["--seed", "-1"], "argument --seed: must be a whole number >= 0, got '-1'"),
        (["--sampler", "magic"], "sampler must be one of tpe"),
        (["--data", "/nowhere/at/all"], "there is no folder /nowhere/at/all"),
        (["--storage", "nonsense"], "storage must be a database URL"),
        (["--storage", "sqlite:////proc/none/study.db"], "cannot be opened"),
        (["--set", "recipe.steps"], "--set takes FIELD=VALUE"),
        (["--set", "recipe.stepps=3"], "a recipe has no field 'stepps'; its fields: steps,"),
        (["--set", "recipe.steps=0"], "--set recipe.steps: Recipe.steps must be a whole number"),
        (["--set", "recipe.pooling=max"], "Recipe.pooling must be one of 'mean'"),
        (["--set", "seed=3"], "--set can change recipe.FIELD and name, got 'seed'"),
        (["--frobnicate"], "unrecognized arguments: --frobnicate"),
    ],
)
def test_option_errors(
    refused: Callable[..., str], workplace: Path, arguments: list[str], says: str
) -> None:
    assert says in refused(str(workplace / "study.py"), *arguments)


def test_a_sampler_that_cannot_take_the_domains(
    refused: Callable[..., str], study_file: Write
) -> None:
    file = study_file(("Choice(1e-2, 1e-3)", "Real(1e-3, 1e-2)"), ("Recipe,", "Real, Recipe,"))
    assert "takes no Real, got recipe.learning_rate" in refused(file, "--sampler", "bruteforce")


def test_commands_on_what_is_not_there(refused: Callable[..., str], workplace: Path) -> None:
    file = str(workplace / "study.py")
    for command in ("status", "front", "report"):
        for form in ((), ("--json",)):
            assert "no study is stored" in refused(file, *form, command=command)
    assert "there is no file" in refused("none.py", "--json", command="space")
    assert "no study is stored" in refused(file, "--trial", "0", command="evaluate")
    assert "--trial: must be a whole number >= 0" in refused(
        file, "--trial", "x", command="evaluate"
    )
    missing = refused(file, "--trial", "1", command="export")
    assert "the following arguments are required: --to" in missing
    assert "must be a new or an empty folder" in refused(
        file, "--trial", "1", "--to", str(workplace), command="export"
    )


def test_a_folder_that_cannot_be_made(
    refused: Callable[..., str], workplace: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    options = ("--out", str(tmp_path / "file/out"), "--storage", f"sqlite:///{tmp_path}/study.db")
    assert "--out" in refused(str(workplace / "study.py"), *options)


def test_no_command_and_unknown_command(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["fly"], ["methods", "magic"]):
        assert main(arguments) == 2
        printed = capsys.readouterr()
        assert printed.out == "" and printed.err.count("\n") == 1


LINES = """\
from peftnas import Recipe, SearchSpace, Study
from peftnas.methods import LoRA
from peftnas.studies.tasks import LanguageModelling, TextClassification

task = TextClassification(
    "task",
    text="text",
)
study = Study(
    name="lines",
    backbone="backbone",
    task=task,
    space=SearchSpace(LoRA()),
    recipe=Recipe(
        steps=2,
    ),
)
"""


@pytest.mark.parametrize(
    ("change", "line", "says"),
    [
        (('"backbone"', '"./nope"'), 11, "backbone folder './nope' does not exist"),
        (('"backbone"', 'lambda: "./nope"'), 11, "backbone folder './nope' does not exist"),
        (('text="text"', 'text="words"'), 7, "text='words' must be a column of train.tsv"),
        (('"task"', '"none.tsv"'), 6, "'none.tsv' must exist"),
        (("task=task", 'task=LanguageModelling("task")'), 12, "needs a decoder"),
    ],
)
def test_what_data_and_backbone_show_is_said_of_its_line(
    refused: Callable[..., str],
    study_file: Write,
    change: tuple[str, str],
    line: int,
    says: str,
) -> None:
    file = study_file(change, text=LINES)
    sentence = refused(file)
    assert f"{file}, line {line}: " in sentence and says in sentence


def test_what_an_option_replaced_is_on_no_line(
    refused: Callable[..., str], study_file: Write, tmp_path: Path
) -> None:
    sentence = refused(study_file(text=LINES), "--backbone", str(tmp_path / "nope"))
    assert sentence.startswith("peftnas: backbone folder ")


def test_quickstart_is_a_backbone_in_a_file_too(study_file: Write, workplace: Path) -> None:
    from peftnas.studies import weights
    from peftnas.studies.study_file import load_study

    file = study_file(('"backbone"', '"quickstart"'), text=LINES)
    assert load_study(file).study.backbone is weights.backbone
    file = study_file(('"backbone"', '"./quickstart"'), text=LINES)
    assert load_study(file).study.backbone == "./quickstart"  # a folder
