"""A trained point as a folder of its own, and the way back: ``load_exported``.

adapter.safetensors   the attached modules, named by site
architecture.json     what they are and how large
head.safetensors      the head
export.json           backbone (name, sha256), label names, pooling, lengths, scores
tokenizer/            of the backbone
README.md             the three lines that load it

For other libraries: ``export_other.py``.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peftnas.search.backbone import Backbone, BackboneError, find_backbone
from peftnas.search.errors import UsageError
from peftnas.studies import weights
from peftnas.studies.export_check import check_form
from peftnas.studies.export_lines import loading_lines, readme
from peftnas.studies.export_other import HEAD, write_merged, write_peft
from peftnas.studies.hub import offline_when_unreachable
from peftnas.studies.study_file import load_study

if TYPE_CHECKING:
    from peftnas.studies.answer import Answerer
    from peftnas.studies.restore import TrainedTrial

FORMAT = 1
DESCRIPTION = "export.json"
ARCHITECTURE = "architecture.json"
TOKENIZER = "tokenizer"


def check_target(folder: Path) -> None:
    """Refuse to export over something that is there.

    Raises:
        UsageError: if the folder is a file, not empty, or cannot be made.
    """
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise UsageError(
            f"--to must be a new or an empty folder, but {folder} is not; name another"
        )
    place = next(place for place in folder.absolute().parents if place.exists())
    if not place.is_dir() or not os.access(place, os.W_OK):
        raise UsageError(
            f"--to must lie in a folder that can be written, but {place} is not; name another"
        )


def export(
    trained: TrainedTrial,
    study: str,
    folder: Path,
    methods: Path | None = None,
    form: str = "peftnas",
) -> str:
    """Write a trained trial to a folder, which appears whole or not at all.

    Args:
        trained: the trial with its tensors.
        study: name of the study.
        folder: new or empty.
        methods: FILE of the study, if the architecture has methods that are defined there.
        form: "peftnas"; "peft", an adapter of HF peft; "merged", a plain transformers model.
    Returns:
        The lines of Python that load it.
    Raises:
        UsageError: if the format cannot hold the architecture; it names the part and why.
    """
    check_target(folder)
    check_form(trained.row, trained.bench, form)
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        with trained.answerer() as answerer:
            facts = _facts(trained, study, answerer) | {"layout": form}
            facts |= _WRITERS[form](draft, trained, answerer)
        facts["backbone"]["load"] = facts.pop("load", facts["backbone"]["folder"])
        lines = loading_lines(folder, facts, methods)
        (draft / DESCRIPTION).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
        (draft / "README.md").write_text(readme(facts, lines), encoding="utf-8")
        draft.chmod(0o755)
        os.replace(draft, folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return lines


def _write_own(draft: Path, trained: TrainedTrial, answerer: Answerer) -> dict[str, Any]:
    from safetensors.torch import save_file

    classifier = answerer.classifier
    classifier.attached.save(draft)
    _name_backbone(draft, trained.bench.backbone)
    head = {name: tensor.cpu() for name, tensor in classifier.head.state_dict().items()}
    save_file(head, draft / HEAD)
    if answerer.tokenizer is not None:
        answerer.tokenizer.save_pretrained(draft / TOKENIZER)
    return {}


_WRITERS = {"peftnas": _write_own, "peft": write_peft, "merged": write_merged}


def load_exported(
    folder: str | Path, backbone: str | Path | None = None, *, methods: str | Path | None = None
) -> Answerer:
    """An exported point on its backbone, ready to answer.

    Args:
        folder: written by ``peftnas export``.
        backbone: folder of the backbone's weights; by default they are looked for where they were,
            in the installed package, and on the hub. They must have the recorded sha256.
        methods: the study's FILE, where the architecture has methods of its own; it is run.
    Returns:
        A callable: texts (and their pairs) -> logits (n, n_outputs), with ``labels`` for names; of
        other forms: examples -> predictions, see ``Answerer``.
    Raises:
        UsageError: if the folder is no export, or the backbone or one of its methods is not found.
    """
    from safetensors.torch import load_file
    from transformers import AutoTokenizer

    from peftnas.methods import load
    from peftnas.search.trial.classifier import Classifier
    from peftnas.search.trial.forms.form import made_form
    from peftnas.studies.answer import Answerer

    folder = Path(folder).expanduser()
    facts = _read(folder)
    if methods is not None:
        load_study(str(methods))
    _check_methods(folder, methods)
    found = _find(facts["backbone"], backbone)
    form = made_form(facts.get("form", {"kind": "text"}))
    base = form.load(found, facts["dtype"], "cpu")
    causal = found.anatomy().causal
    head = form.head(
        base, facts["n_outputs"], facts["pooling"], causal=causal, dropout=0.0, seed=0
    )
    head.load_state_dict(load_file(folder / HEAD))
    classifier = Classifier(base, load(folder, base), head, form)
    words = (folder / TOKENIZER).is_dir()
    tokenizer = AutoTokenizer.from_pretrained(folder / TOKENIZER) if words else None
    return Answerer(classifier, found, tokenizer, facts["max_length"], facts["label_names"])


def _facts(trained: TrainedTrial, study: str, answerer: Answerer) -> dict[str, Any]:
    from peftnas.search.trial.forms.form import form_to_dict

    backbone, row = trained.bench.backbone, trained.row
    return {
        "format": FORMAT,
        "study": study,
        "trial": row.number,
        "architecture": row.words,
        "trainable_parameters": row.trainable_parameters,
        "costs": row.costs,
        "backbone": {
            "name": backbone.name,
            "sha256": backbone.sha256,
            "folder": str(backbone.folder),
        },
        "task": trained.bench.task.name,
        "label_names": list(answerer.label_names),
        "n_outputs": trained.bench.data.n_outputs,
        "pairs": getattr(trained.bench.data.train, "pairs", None) is not None,
        "form": form_to_dict(trained.bench.form),
        "usage": trained.bench.form.usage,
        "pooling": row.recipe["pooling"],
        "max_length": answerer.max_length,
        "prompt_length": answerer.classifier.attached.prompt_length,
        "token_types": getattr(backbone.config(), "type_vocab_size", 1) > 1,
        "dtype": row.recipe["dtype"],
        "validation": row.metrics,
    }


def _name_backbone(folder: Path, backbone: Backbone) -> None:
    """Write name and sha256 of the backbone into architecture.json."""
    path = folder / ARCHITECTURE
    description = json.loads(path.read_text(encoding="utf-8"))
    description["backbone"] |= {"name": backbone.name, "sha256": backbone.sha256}
    path.write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")


def _read(folder: Path) -> dict[str, Any]:
    path = folder / DESCRIPTION
    if not path.is_file():
        raise UsageError(
            f"{folder} must be a folder that peftnas export wrote; it has no {path.name}"
        )
    facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if facts.get("format") != FORMAT:
        raise UsageError(
            f"{path} must have format {FORMAT}, got {facts.get('format')!r}; "
            "read it with the version of peftnas that wrote it"
        )
    if (layout := facts.get("layout", "peftnas")) != "peftnas":
        raise UsageError(
            f"load_exported reads folders of --format peftnas, but {folder} was written with "
            f"--format {layout}; load it with the lines in its README.md"
        )
    return facts


def _check_methods(folder: Path, given: str | Path | None) -> None:
    """Refuse methods that no loaded class has, with what to do about it."""
    from peftnas.spaces.fields import kind_named

    description = json.loads((folder / ARCHITECTURE).read_text(encoding="utf-8"))
    for method in description["architecture"]["methods"]:
        kind = method["kind"]
        try:
            kind_named(kind)
        except ValueError:
            there = "does not come with peftnas" if given is None else f"is not in {given} either"
            raise UsageError(
                f"{folder} holds the method {kind!r}, which {there}; name the study's FILE that "
                "defines it: load_exported(..., methods=FILE)"
            ) from None  # which names modules to import, where one is not at hand


def _find(recorded: dict[str, str], given: str | Path | None) -> Backbone:
    """The backbone with the recorded weights."""
    name, sha256 = recorded["name"], recorded["sha256"]
    if given is not None:
        return Backbone(find_backbone(given).folder, name=name, sha256=sha256)
    for folder in (Path(recorded["folder"]), weights.package_folder()):
        if folder is not None and folder.is_dir():
            try:
                return Backbone(folder, name=name, sha256=sha256)
            except BackboneError:
                continue  # other weights lie there by now
    if "/" in name:
        with offline_when_unreachable():
            return Backbone(find_backbone(name).folder, name=name, sha256=sha256)
    raise BackboneError(
        f"backbone {name!r} (sha256 {sha256[:8]}...) is no longer in {recorded['folder']}; "
        "name its folder: load_exported(..., backbone=FOLDER)"
    )
