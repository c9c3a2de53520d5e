"""Every block of the guides runs as it stands, in order, in one namespace a guide."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import pytest

from peftnas.search.recipe import Recipe
from peftnas.spaces.fields import default_of, settings

DOCS = Path(__file__).parents[1] / "docs"
GUIDES = [DOCS / f"{name}.md" for name in ("python", "spaces", "tasks", "tune")]
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


def test_the_table_of_the_recipe() -> None:
    text = (DOCS / "spaces.md").read_text(encoding="utf-8")
    rows = [
        f"| `{name}` | `{default_of(Recipe, name)!r}` | {one.values.words}: {one.help} |"
        for name, one in settings(Recipe).items()
    ]
    assert "\n".join(["|---|---|---|", *rows]) in text
