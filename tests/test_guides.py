"""Every block of the guides runs as it stands, in order, in one namespace a guide."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import pytest

GUIDES = [Path(__file__).parents[1] / f"docs/{name}.md" for name in ("python", "tasks")]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.stem)
def test_every_block_runs(guide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    text = guide.read_text(encoding="utf-8")
    blocks = list(BLOCK.finditer(text))
    assert len(blocks) == text.count("```python")
    namespace: dict[str, object] = {"__name__": f"{guide.stem}_guide"}
    for block in blocks:
        # line numbers of an error are those of the guide
        padding = "\n" * text.count("\n", 0, block.start(1))
        exec(compile(padding + block[1], str(guide), "exec"), namespace)
