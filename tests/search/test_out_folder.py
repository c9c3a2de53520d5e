"""One folder belongs to one study."""

from pathlib import Path

import pytest

from peftnas.search import UsageError
from peftnas.search.out_folder import claim


def test_a_folder_is_claimed_once_and_kept(tmp_path: Path) -> None:
    claim(tmp_path / "out", "a", {"seed": 0})
    claim(tmp_path / "out", "a", {"seed": 0})


@pytest.mark.parametrize(
    ("name", "seed", "words"),
    [("b", 0, "holds those of study 'a'"), ("a", 1, "holds those of another study of this name")],
)
def test_another_study_is_refused(tmp_path: Path, name: str, seed: int, words: str) -> None:
    claim(tmp_path, "a", {"seed": 0})
    with pytest.raises(UsageError, match=f"{words}; name another --out"):
        claim(tmp_path, name, {"seed": seed})


def test_a_torn_mark_is_written_again(tmp_path: Path) -> None:
    claim(tmp_path, "one", {"seed": 1})
    (tmp_path / ".study.json").write_text("")
    claim(tmp_path, "one", {"seed": 1})
    with pytest.raises(UsageError, match="holds those of"):
        claim(tmp_path, "two", {"seed": 1})
