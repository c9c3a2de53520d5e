"""The folder of a study's files: checkpoints, report, log. One folder belongs to one study."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from peftnas.search.errors import UsageError

MARK = ".study.json"


def claim(out: Path, name: str, content: Mapping[str, Any]) -> None:
    """Make the folder this study's own, or check that it is.

    Checkpoints are found by trial number, so those of another study would be taken for this one's.

    Raises:
        UsageError: if the folder belongs to another study, or to one of other content.
    """
    text = json.dumps(content, sort_keys=True)
    owner = {"name": name, "content": hashlib.sha256(text.encode()).hexdigest()}
    mark = out / MARK
    if not mark.exists():
        out.mkdir(parents=True, exist_ok=True)
        _write(mark, owner)
        return
    try:
        found = json.loads(mark.read_text(encoding="utf-8"))
    except json.JSONDecodeError:
        _write(mark, owner)  # torn by a machine that went down; the storage knows the study too
        return
    if found != owner:
        what = (
            f"study {found['name']!r}" if found["name"] != name else "another study of this name"
        )
        raise UsageError(
            f"a folder holds the files of one study, {out} holds those of {what}; "
            "name another --out, or remove the folder"
        )


def _write(mark: Path, owner: Mapping[str, Any]) -> None:
    draft = mark.with_name(f"{mark.name}.part")
    draft.write_text(json.dumps(owner) + "\n", encoding="utf-8")
    os.replace(draft, mark)
