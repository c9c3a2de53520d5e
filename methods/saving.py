"""Attached modules on disk: ``adapter.safetensors`` beside ``architecture.json``."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from peftnas.methods.attach import AttachedModules, attach, check_attached
from peftnas.methods.costs import count, stored_parameters
from peftnas.spaces.architecture import Architecture

if TYPE_CHECKING:
    from peftnas.methods.anatomy import Anatomy

FORMAT = 1
TENSORS = "adapter.safetensors"
DESCRIPTION = "architecture.json"


def save(
    attached: AttachedModules,
    folder: str | Path,
    *,
    backbone: str | None = None,
    sha256: str | None = None,
) -> None:
    """Write attached (or just detached) modules; the files appear complete or not at all.

    Everything that is trained is written, so that a training can go on; what is needed to run
    (``stored_bytes``) is less where a method has parts for the training alone.

    Args:
        attached: the modules; merged ones are written as modules.
        folder: made when missing; other files in it stay.
        backbone: name of the backbone, for the reader.
        sha256: of the backbone's weights, for the reader.
    Raises:
        TypeError: if ``attached`` is something else.
        ValueError: if there is a file in the folder's place.
    """
    check_attached(attached, "save")
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"save writes into a folder, got the file {folder}; name another place")
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: value.detach().cpu() for name, value in attached.state_dict().items()}
    description = {
        "format": FORMAT,
        "architecture": attached.architecture.to_dict(),
        "backbone": {"name": backbone, "sha256": sha256} | _shape(attached.anatomy),
        "trainable_parameters": count(attached.architecture, attached.anatomy),
        "stored_parameters": stored_parameters(attached.architecture, attached.anatomy),
    }
    scratch = Path(tempfile.mkdtemp(prefix=".saving-", dir=folder))
    try:
        save_file({name: value.contiguous() for name, value in tensors.items()}, scratch / TENSORS)
        (scratch / DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n")
        for name in (TENSORS, DESCRIPTION):
            os.replace(scratch / name, folder / name)
    finally:
        shutil.rmtree(scratch)


def load(
    folder: str | Path, model: PreTrainedModel, *, anatomy: Anatomy | None = None
) -> AttachedModules:
    """Attach what was saved in a folder, with its exact values.

    In evaluation mode, as transformers' ``from_pretrained``; to train on, call ``train()``.

    Raises:
        FileNotFoundError: if the folder lacks one of the files.
        ValueError: if a file is damaged, of a newer format, or the model is another backbone.
    """
    folder = Path(folder)
    description = _description(folder)
    tensors = _tensors(folder)
    architecture = Architecture.from_dict(description["architecture"])
    attached = attach(model, architecture, anatomy=anatomy)
    try:
        _check_shape(description["backbone"], attached.anatomy)
        _copy_in(attached, tensors)
    except ValueError:
        attached.detach()
        raise
    return attached.eval()


def _shape(anatomy: Anatomy) -> dict[str, Any]:
    layers = anatomy.layers
    return {
        "model_type": anatomy.model_type,
        "n_layers": anatomy.n_layers,
        "width": layers[0].width,
        "ffn_width": layers[0].ffn_width,
        "kv_heads": layers[0].kv_heads,
        "head_width": layers[0].head_width,
    }


def _check_shape(saved: dict[str, Any], anatomy: Anatomy) -> None:
    here = _shape(anatomy)
    differing = [
        f"{name} {saved[name]} there, {here[name]} here"
        for name in here
        if saved[name] != here[name]
    ]
    if differing:
        called = f" ({saved['name']})" if saved["name"] else ""
        raise ValueError(
            f"the checkpoint was made for another backbone{called}: "
            f"{'; '.join(differing)}; load it into a model of that shape"
        )


def _description(folder: Path) -> dict[str, Any]:
    path = folder / DESCRIPTION
    if not path.is_file():
        what = f"has no {DESCRIPTION}" if folder.is_dir() else "is no folder"
        raise FileNotFoundError(
            f"load reads a folder that save wrote, but {folder} {what}; name the one given to save"
        )
    try:
        description: dict[str, Any] = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is damaged ({error}); save the modules again") from error
    if description.get("format") != FORMAT:
        raise ValueError(
            f"{path} must have format {FORMAT}, got {description.get('format')!r}; "
            "read it with the version of peftnas that wrote it"
        )
    return description


def _tensors(folder: Path) -> dict[str, torch.Tensor]:
    path = folder / TENSORS
    if not path.is_file():
        raise FileNotFoundError(f"{folder} has no {TENSORS}; name the folder given to save")
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged ({error}); save the modules again") from error


def _copy_in(attached: AttachedModules, tensors: dict[str, torch.Tensor]) -> None:
    expected = {name: tuple(value.shape) for name, value in attached.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in tensors.items()}
    wrong = [name for name in sorted({*expected, *found}) if expected.get(name) != found.get(name)]
    if wrong:
        raise ValueError(
            f"{TENSORS} does not fit its {DESCRIPTION} on this model: {', '.join(wrong[:3])} "
            f"({len(wrong)} tensors missing, left over or of another shape); "
            "save the modules again"
        )
    attached.load_state_dict(tensors)
