"""Artifact: what a complete trial leaves in its folder: modules, head, and what they are.

``result.json`` comes last, so a folder that holds it is that of a finished trial; until then
there may be a snapshot (``snapshot.py``)::

    modules/           what methods/saving.py writes
    head.safetensors   the head, by its parameters' names
    result.json        the job, its result, and what one has to know to load the tensors
"""

from __future__ import annotations

import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from peftnas.methods.describe import describe
from peftnas.methods.saving import load, save
from peftnas.search.backbone import Backbone
from peftnas.search.errors import CannotSaveError
from peftnas.search.jobs import TrialJob, TrialResult
from peftnas.search.trial.classifier import Classifier
from peftnas.search.trial.forms.form import made_form
from peftnas.search.trial.snapshot import remove_snapshot

if TYPE_CHECKING:
    from transformers import PreTrainedModel

MODULES = "modules"
HEAD = "head.safetensors"
RESULT = "result.json"
_FORMAT = 1
_STALE_S = 3600.0


def write_tensors(folder: Path, classifier: Classifier, backbone: Backbone) -> Path:
    """Write modules and head beside where the artifact will be; see :func:`commit`.

    Args:
        folder: of the artifact; its parent is made.
        classifier: trained.
        backbone: what it was trained on, named in the files.
    Returns:
        The folder that was written.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    for stale in folder.parent.glob(".*.part"):
        # a young one may belong to a worker that is writing, even to one whose driver is gone
        if time.time() - stale.stat().st_mtime > _STALE_S:
            shutil.rmtree(stale)
    draft = folder.parent / f".{folder.name}.{uuid.uuid4().hex[:8]}.part"
    with _kept_whole(draft):
        draft.mkdir()
        save(classifier.attached, draft / MODULES, backbone=backbone.name, sha256=backbone.sha256)
        head = {name: tensor.cpu() for name, tensor in classifier.head.state_dict().items()}
        save_file(head, draft / HEAD)
    return draft


def commit(
    draft: Path, folder: Path, job: TrialJob, result: TrialResult, facts: dict[str, Any]
) -> None:
    """Make a written draft the artifact of a trial, and remove the trial's snapshot.

    When it is killed on the way, the artifact is there, or else the snapshot.

    Args:
        draft: from :func:`write_tensors`.
        folder: of the artifact; an artifact that is there is replaced.
        job: the trial's job.
        result: its result, complete.
        facts: see ``Bench.facts``.
    """
    content = {
        "format": _FORMAT,
        "key": job.key,
        "seed": job.seed,
        "job": job.to_dict(),
        "result": result.to_dict(),
        **facts,
    }
    with _kept_whole(draft):
        (draft / RESULT).write_text(json.dumps(content, indent=1), encoding="utf-8")
        if folder.exists():
            _move_into(draft, folder)
        else:
            os.replace(draft, folder)
    remove_snapshot(folder)


def _move_into(draft: Path, folder: Path) -> None:
    """Put the files of a draft in place of those of an older artifact, the result last."""
    (folder / RESULT).unlink(missing_ok=True)
    for name in (MODULES, HEAD, RESULT):
        if (folder / name).is_dir():
            shutil.rmtree(folder / name)
        os.replace(draft / name, folder / name)
    draft.rmdir()


@contextmanager
def _kept_whole(draft: Path) -> Iterator[None]:
    """Removes a draft that cannot be written.

    Raises:
        CannotSaveError: in place of what went wrong, which is the machine's fault (a full disk).
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        shutil.rmtree(draft, ignore_errors=True)
        raise CannotSaveError(f"the checkpoint cannot be written: {error}") from error


def finished_result(folder: Path | str, key: str) -> TrialResult | None:
    """The result of the trial whose artifact lies in ``folder``.

    Args:
        folder: of the artifact.
        key: of the job that it must come from.
    Returns:
        ``None`` if there is no artifact, or one of another key.
    """
    content = read_result(folder)
    if content is None or content["key"] != key:
        return None
    return TrialResult.from_dict({**content["result"], "checkpoint": str(folder)})


def read_result(folder: Path | str) -> dict[str, Any] | None:
    """The content of ``result.json``; ``None`` if there is none that can be read."""
    try:
        content: dict[str, Any] = json.loads((Path(folder) / RESULT).read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return content if content.get("format") == _FORMAT else None


def load_artifact(folder: Path | str, base: PreTrainedModel) -> Classifier:
    """The trained classifier of an artifact, on a backbone; detach it after use.

    Args:
        folder: of the artifact.
        base: what it was trained on, as ``Form.load`` gives it; for texts the backbone without a
            task head.
    Raises:
        ValueError: if there is no artifact in the folder.
    """
    content = read_result(folder)
    if content is None:
        raise ValueError(f"no checkpoint lies in {str(folder)!r}; train the trial again")
    form = made_form(content.get("form", {"kind": "text"}))
    head = form.head(
        base,
        content["n_outputs"],
        content["job"]["recipe"]["pooling"],
        causal=describe(base).causal,
        dropout=0.0,
        seed=0,
    )
    head.load_state_dict(load_file(Path(folder) / HEAD))
    modules = load(Path(folder) / MODULES, base)
    classifier = Classifier(base, modules, head.to(base.device), form)
    classifier.train(False)
    return classifier
