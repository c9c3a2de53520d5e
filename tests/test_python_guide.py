"""Every block of ``docs/python.md`` runs as it stands, in order, in one namespace."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import pytest

GUIDE = Path(__file__).parents[1] / "docs/python.md"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def test_every_block_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    text = GUIDE.read_text(encoding="utf-8")
    blocks = list(BLOCK.finditer(text))
    assert len(blocks) == text.count("```python")
    namespace: dict[str, object] = {"__name__": "python_guide"}
    for block in blocks:
        # line numbers of an error are those of the guide
        padding = "\n" * text.count("\n", 0, block.start(1))
        exec(compile(padding + block[1], str(GUIDE), "exec"), namespace)
