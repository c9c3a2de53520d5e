"""Every row of a file is read, or the file is refused with the line that is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from peftnas.studies.tasks.errors import DataError
from peftnas.studies.tasks.tables import read_table

ODD = [
    'He said "hi',
    '"quoted" at the start',
    'ends with a quote"',
    '"',
    "it's , with a comma",
    "line\u2028separator and \x85 next line",
    "back\\slash \\t",
    "NA",
    "  spaces  ",
]


def write(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


def test_tsv_keeps_every_row_with_odd_characters(tmp_path: Path) -> None:
    lines = ["text\tlabel", *(f"{text}\t{i % 2}" for i, text in enumerate(ODD))]
    table = read_table(write(tmp_path / "a.tsv", "\n".join(lines) + "\n"))
    assert table.columns["text"] == ODD
    assert len(table) == len(ODD)


def test_tsv_with_windows_line_ends_and_byte_order_mark(tmp_path: Path) -> None:
    table = read_table(write(tmp_path / "a.tsv", "\ufefftext\tlabel\r\none\tx\r\n\r\ntwo\ty\r\n"))
    assert table.columns == {"text": ["one", "two"], "label": ["x", "y"]}


def test_csv_keeps_quoting(tmp_path: Path) -> None:
    text = 'text,label\n"a, ""b""\nc",1\nplain "inside" quotes,2\nNA,3\n'
    table = read_table(write(tmp_path / "a.csv", text))
    assert table.columns["text"] == ['a, "b"\nc', 'plain "inside" quotes', "NA"]
    assert table.columns["label"] == ["1", "2", "3"]


@pytest.mark.parametrize("lines", [True, False])
def test_json_list_and_lines(tmp_path: Path, lines: bool) -> None:
    rows = [{"text": text, "label": i} for i, text in enumerate(ODD)]
    text = "\n".join(map(json.dumps, rows)) if lines else json.dumps(rows)
    for suffix in (".json", ".jsonl") if lines else (".json",):
        table = read_table(write(tmp_path / f"a{suffix}", text))
        assert table.columns == {"text": ODD, "label": list(range(len(ODD)))}


def test_parquet_with_class_names(tmp_path: Path) -> None:
    from datasets import ClassLabel, Dataset, Features, Value

    features = Features({"text": Value("string"), "label": ClassLabel(names=["no", "yes"])})
    data = Dataset.from_dict({"text": ODD[:3], "label": [1, 0, 1]}, features=features)
    data.to_parquet(tmp_path / "a.parquet")
    table = read_table(tmp_path / "a.parquet")
    assert table.columns == {"text": ODD[:3], "label": [1, 0, 1]}
    assert table.class_names == {"label": ("no", "yes")}


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.tsv", "", "at least one row"),
        ("a.tsv", "text\tlabel\n", "at least one row"),
        ("a.tsv", "text\tlabel\na\tb\nlonely\n", "line 3: a row must have 2 fields"),
        ("a.tsv", "text\tlabel\na\tb\tc\n", "line 2: a row must have 2 fields"),
        ("a.tsv", "text\ttext\na\tb\n", "column names must differ"),
        ("a.csv", 'text,label\n"open,1\nb,2\n', "double the quotes"),
        ("a.csv", 'text,label\n"a"b,1\n', "line 2.*double the quotes"),
        ("a.csv", "", "at least one row"),
        ("a.json", "", "at least one row"),
        ("a.json", "[1, 2]", "entry 1: must be a JSON object"),
        ("a.jsonl", '{"a": 1}\n{"a": ', "line 2: not JSON"),
        ("a.parquet", "no parquet", "must be a parquet file"),
        ("a.xls", "x", "must end in"),
    ],
)
def test_wrong_files_are_refused(tmp_path: Path, name: str, text: str, says: str) -> None:
    with pytest.raises(DataError, match=says):
        read_table(write(tmp_path / name, text))


def test_another_encoding_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_bytes("text\tlabel\ncaf\xe9\t1\n".encode("latin-1"))
    with pytest.raises(DataError, match="must be UTF-8 text, but has the byte 0xe9"):
        read_table(tmp_path / "a.tsv")
