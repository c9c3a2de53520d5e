"""The report's HTML: complete, self-contained, safe."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from peftnas.search.report import report_html, write_report
from peftnas.search.report.facts import all_facts
from peftnas.search.results import StudyResults

EVIL = '</script><script>alert("1")</script><img src=x onerror=alert(2)> & "quotes"'
LOADING = {"src", "href", "srcset", "poster", "data", "action", "background"}


class _Page(HTMLParser):
    """Elements, attributes, and the text of cells and script elements."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.cells: list[str] = []
        self._open: list[str] | None = None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag in ("script", "td"):
            self._open = self.scripts if tag == "script" else self.cells
            self._open.append("")

    def handle_data(self, data: str) -> None:
        if self._open is not None:
            self._open[-1] += data

    def handle_endtag(self, tag: str) -> None:
        if tag in ("script", "td"):
            self._open = None

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def rows(self) -> list[dict[str, str | None]]:
        return [row for row in self.all("tr") if "id" in row]


def test_nothing_is_loaded_from_outside(searched: StudyResults) -> None:
    text = report_html(searched)
    for tag, attributes in _Page(text).elements:
        for name in LOADING & attributes.keys():
            assert (attributes[name] or "").startswith("data:"), (tag, attributes)
    style = text[text.index("<style>") : text.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style


def test_file_is_written_whole_and_small(searched: StudyResults, tmp_path: Path) -> None:
    path = write_report(searched, tmp_path / "new" / "report.html")
    assert path == tmp_path / "new" / "report.html"
    assert path.stat().st_size < 7e6
    assert path.read_text(encoding="utf-8").endswith("</html>\n")
    assert write_report(searched, path) == path
    assert [file.name for file in path.parent.iterdir()] == ["report.html"]


def test_one_row_for_each_trial_and_baseline(searched: StudyResults) -> None:
    page = _Page(report_html(searched))
    ids = [row["id"] for row in page.rows()]
    assert sorted(map(str, ids)) == sorted(
        [f"trial-{i}" for i in range(7)] + [f"baseline-{i}" for i in range(4)]
    )
    assert len(set(ids)) == len(ids)
    front = [row["id"] for row in page.rows() if "on-front" in str(row["class"])]
    assert sorted(map(str, front)) == ["trial-0", "trial-2", "trial-4"]


def test_table_says_why_trials_failed(searched: StudyResults) -> None:
    cells = _Page(report_html(searched)).cells
    assert "failed: diverged: the loss became NaN" in cells
    assert "not trained: over budget" in cells


def test_heads_are_buttons_and_say_the_order(searched: StudyResults) -> None:
    page = _Page(report_html(searched))
    orders = [head["aria-sort"] for head in page.all("th") if "aria-sort" in head]
    assert orders.count("descending") == 1
    assert set(orders) == {"descending", "none"}
    assert len(page.all("button")) == len(orders)
    scores = [float(str(c)) for c in _sort_keys(page, column=orders.index("descending")) if c]
    assert scores == sorted(scores, reverse=True)


def _sort_keys(page: _Page, column: int) -> list[str | None]:
    cells = [attributes["data-sort"] for attributes in page.all("td") if "data-sort" in attributes]
    width = len(cells) // len(page.rows())
    return cells[column::width]


def test_text_is_escaped_everywhere(row: Any, study: Any) -> None:
    trials = [row(0, 0.8, 10, words=EVIL), row(1, words=EVIL, reason=EVIL)]
    untuned = (row(0, 0.7, 5, words=EVIL, baseline=EVIL),)
    plain = _Page(report_html(study([row(0, 0.8, 10), row(1)], baselines=untuned[:0])))
    results = study(trials, baselines=untuned, task=EVIL, backbone=EVIL, machine=EVIL, data=EVIL)
    page = _Page(report_html(results))
    assert len(page.all("script")) == len(plain.all("script"))
    assert not page.all("img")
    assert EVIL in page.cells


def test_figures_are_json_in_both_themes(row: Any, study: Any) -> None:
    page = _Page(report_html(study([row(0, 0.8, 10, words=EVIL)])))
    figures = json.loads(page.scripts[0])
    assert figures.keys() == {"front", "hypervolume", "curves"}
    assert all(themes.keys() == {"light", "dark"} for themes in figures.values())
    assert "<" not in page.scripts[0]


def test_page_says_what_was_run(searched: StudyResults) -> None:
    text = report_html(searched)
    assert "<h1>tiny</h1>" in text
    assert "words on toy: maximize accuracy and minimize trainable parameters" in text
    assert "2026-01-02 03:04 to 2026-01-02 03:14 · seed 5" in text


def test_facts_of_the_run(row: Any, study: Any) -> None:
    looks = [{"when": "2026-01-03", "trial": 0}]
    facts = {"versions": {"torch": "2.13"}, "test_looks": looks, "a_new_fact": 1234567}
    text = report_html(study([row(0, 0.8, 10)], **facts))
    for words in ("torch 2.13", "when 2026-01-03, trial 0", "a new fact", "1,234,567", "50 ms"):
        assert words in text
    assert "steps 100, learning rate 0.001" in text  # the recipe, the same for all
    assert "90.0 %" in text  # training and evaluation of 9 in 10 seconds


def test_facts_of_several_runs(row: Any, study: Any) -> None:
    timing = {"train_s": 30.0, "evaluate_s": 10.0, "worker_wall_s": 50.0}
    first = {"ended": "2026-01-02T03:04:05", "workers": 2, "sampler": "tpe", "trained": 4}
    last = first | {"sampler": "gp", "timing": timing, "wall_s": 61.2, "stopped": "done"}
    facts = all_facts(study([row(0, 0.8, 10)], runs=[first, last]))
    assert facts["sampler"] == "gp"
    assert facts["busy_share"] == "80.0 %"
    assert facts["runs"][1] == "to 2026-01-02 03:04: 4 trained, 0 failed, 2 workers, 61 s, done"


def test_searched_recipe_and_what_baselines_take(row: Any, study: Any) -> None:
    results = study([row(0, 0.8, 10)])
    rates = {"real": {"low": 0.001, "high": 0.01, "log": True}}
    results.content["recipe"] = {"steps": 100, "learning_rate": rates}
    facts = all_facts(results)
    assert facts["recipe"] == "steps 100"
    assert facts["recipe_searched"] == "learning rate 0.001 to 0.01, log"
    assert "BitFit: learning rate 0.001" in facts["baseline_recipe"]


def test_best_point_in_each_budget_beside_the_baseline(searched: StudyResults) -> None:
    cells = _Page(report_html(searched)).cells
    small = cells.index("up to 0.1 % (1,000)")
    assert cells[small + 1].startswith("0.8000 trial 2")
    assert cells[small + 2].startswith("0.7000 head only")
    assert cells[small + 3] == "+0.1000"
    large = cells.index("any number")
    assert cells[large + 1].startswith("0.8500 trial 4")
    assert cells[large + 2].startswith("0.9000 full fine-tuning")
    assert cells[large + 3] == "−0.0500"


@pytest.mark.parametrize(
    ("n_trials", "objectives"),
    [
        (0, ("accuracy", "trainable_parameters")),
        (1, ("accuracy",)),
        (3, ("accuracy", "trainable_percent", "stored_bytes")),
        (2, ("trainable_parameters",)),
    ],
)
def test_every_kind_of_study_has_a_page(
    n_trials: int, objectives: tuple[str, ...], row: Any, study: Any
) -> None:
    rows = [row(i, 0.7 + i / 100, 100 * i) for i in range(n_trials)]
    page = _Page(report_html(study(rows, objectives=objectives, baselines=())))
    assert len(page.rows()) == n_trials
