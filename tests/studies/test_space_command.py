"""``peftnas space``: facts that agree with the listed space, in text, JSON and HTML."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from peftnas.spaces import BoundSpace
from peftnas.spaces.enumerate import walks
from peftnas.studies.cli import main
from tests.studies.conftest import STUDY

Write = Callable[..., str]

WIDE = STUDY.replace(
    "SearchSpace(Maybe(LoRA(rank=Integer(1, 4))), Maybe(IA3()), max_parameters=800)",
    """SearchSpace(
        Maybe(
            LoRA(
                rank=Shared("size", Integer(1, 6)),
                targets=Subset("query", "key", "value"),
                layers=Subset.of_layers(),
                alpha=Choice(None, 8.0),
                learning_rate=Choice(0.01, 0.1),
            )
        ),
        Adapter(site=Choice("attention", "ffn"), bottleneck=PerLayer(Integer(1, 3))),
        Maybe(Prefix(length=Shared("size", Integer(1, 6)))),
        Maybe(BitFit(targets=Choice(("query",), ("up",)))),
        Maybe(IA3()),
        gate=Choice(None, "unipelt"),
        constraints=["lora.rank != 5", at_least(2, "layers")],
        max_parameters="40%",
    )""",
).replace(
    "from peftnas.methods import IA3, LoRA",
    "from peftnas import PerLayer, Subset\n"
    "from peftnas.methods import IA3, Adapter, BitFit, LoRA, Prefix\n"
    "from peftnas.spaces import Shared, at_least",
)
# a relation across items that depend on each other layer by layer: sizes are bounds
ENTANGLED = STUDY.replace(
    "SearchSpace(Maybe(LoRA(rank=Integer(1, 4))), Maybe(IA3()), max_parameters=800)",
    """SearchSpace(
        LoRA(rank=PerLayer(Integer(1, 64)), targets=Subset("query", "key", "value", "up")),
        Adapter(bottleneck=PerLayer(Integer(1, 64))),
        constraints=["lora.rank <= adapter.bottleneck", max_stored_bytes("90kB")],
    )""",
).replace(
    "from peftnas.methods import IA3, LoRA",
    "from peftnas import PerLayer, Subset\n"
    "from peftnas.methods import Adapter, LoRA\n"
    "from peftnas.spaces import max_stored_bytes",
)


@pytest.fixture
def shown(capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """What ``peftnas space`` prints."""

    def run(*arguments: str) -> str:
        capfd.readouterr()
        assert main(["space", *arguments]) == 0
        return capfd.readouterr().out

    return run


def bound_of(file: str) -> BoundSpace:
    from peftnas.search.backbone import find_backbone
    from peftnas.studies.study_file import load_study

    loaded = load_study(file)
    anatomy = find_backbone(loaded.study.backbone, base=loaded.base).anatomy()
    return loaded.study.space.bind(anatomy)


def listed_counts(bound: BoundSpace) -> list[int]:
    """Trainable parameters of every distinct architecture, one by one."""
    found = {}
    for point in walks(bound.draw):
        if bound.broken_constraint(point.architecture) is None:
            found[bound.train_key(point.architecture)] = bound.count(point.architecture)
    return list(found.values())


def test_budgets_and_bins_are_those_of_the_listed_space(
    shown: Callable[..., str], study_file: Write
) -> None:
    file = study_file(("max_parameters=800", 'max_parameters="60%"'), ("1, 4)", "1, 40)"))
    facts = json.loads(shown(file, "--json"))
    counts = listed_counts(bound_of(file))
    assert facts["size"]["low"] == len(counts) and facts["size"]["exact"]
    assert len(facts["budgets"]) >= 3 and facts["budgets"][-1]["percent"] is None
    for row in facts["budgets"]:
        within = sum(count <= row["max_parameters"] for count in counts)
        assert row["size"] == {"low": within, "high": within, "exact": True, "words": f"{within}"}
    bins = facts["histogram"]["bins"]
    assert facts["histogram"]["of"] == "architectures" and len(bins) >= 5
    assert (bins[0]["low"], bins[0]["high"], bins[0]["size"]["low"]) == (0, 0, 1)
    for one in bins:
        inside = sum(one["low"] <= count <= one["high"] for count in counts)
        assert (one["size"]["low"], one["size"]["exact"]) == (inside, True)
    assert sum(one["size"]["low"] for one in bins) == len(counts)


def test_how_fields_are_drawn(shown: Callable[..., str], study_file: Write) -> None:
    file = study_file(text=WIDE)
    facts = json.loads(shown(file, "--json"))
    assert facts["draws"] == {
        "once": ["lora.alpha", "lora.targets", "adapter.site", "bitfit.targets"],
        "layers": ["lora.layers"],
        "training": ["lora.learning_rate"],
        "per_layer": ["adapter.bottleneck"],
        "per_group": {},
        "tied": {"size": ["lora.rank", "prefix.length"]},
        "switched": {},
        "gated": ["lora", "adapter", "prefix"],
        "choices": ["lora", "prefix", "bitfit", "ia3"],
        "grouped": {},
    }
    assert facts["constraints"] == ["lora.rank != 5", "at least 2 layers"]
    assert list(facts["recipe_domains"]) == ["recipe.learning_rate"]
    bound = bound_of(file)
    samples = facts["samples"]
    assert len(samples) == 10
    counts = [sample["trainable_parameters"] for sample in samples]
    assert counts == sorted(counts) and counts[0] < counts[-1] <= facts["max_parameters"]
    from peftnas.spaces import Architecture

    assert all(bound.contains(Architecture.from_dict(one["architecture"])) for one in samples)


def test_the_text_says_the_same(shown: Callable[..., str], study_file: Write) -> None:
    file = study_file(text=WIDE)
    facts, text = json.loads(shown(file, "--json")), shown(file)
    assert facts["tree"] in text and facts["size"]["words"] in text
    for line in (
        r"one draw, size +shared by lora.rank and prefix.length",
        r"one gate +shared by lora, adapter and prefix",
        r"for each layer anew +adapter.bottleneck",
        r"learning_rate: one of 0.01, 0.001",
    ):
        assert re.search(line, text), line
    for row in facts["budgets"]:
        assert f"{row['max_parameters']:,}" in text and row["size"]["words"] in text
    assert "█" in text and "10 samples, spread over the range" in text


def test_full_fine_tuning_beside_what_folds_into_it(
    shown: Callable[..., str], study_file: Write
) -> None:
    space = "LoRA(rank=2), FullFineTuning(), Prompt(length=2)"
    file = study_file(
        ("Maybe(LoRA(rank=Integer(1, 4))), Maybe(IA3()), max_parameters=800", space),
        ("import IA3, LoRA", "import FullFineTuning, LoRA, Prompt"),
    )
    assert json.loads(shown(file, "--json"))["beside_full"] == ["lora"]
    text = " ".join(shown(file).split())
    assert "note: full fine-tuning trains every weight, and lora beside it folds into" in text
    assert " 1 sample " in text and "10 samples" not in text
    assert json.loads(shown(study_file(), "--json"))["beside_full"] == []


def test_a_space_that_cannot_be_counted(shown: Callable[..., str], study_file: Write) -> None:
    file = study_file(text=ENTANGLED)
    facts = json.loads(shown(file, "--json"))
    assert not facts["size"]["exact"] and facts["size"]["low"] < facts["size"]["high"]
    assert facts["histogram"]["of"] == "samples"
    assert sum(one["size"]["low"] for one in facts["histogram"]["bins"]) == 200
    text = shown(file)
    assert "between" in text and "as far as samples reached" in text
    assert "too entangled to count" in text


def test_a_constraint_on_memory_is_predicted_without_data(
    shown: Callable[..., str], study_file: Write
) -> None:
    file = study_file(
        ("max_parameters=800", "constraints=[max_train_memory_bytes('1GB')]"),
        (
            "from peftnas.methods",
            "from peftnas.spaces import max_train_memory_bytes\nfrom peftnas.methods",
        ),
    )
    assert "at most 1GB of memory to train" in shown(file)


def test_the_plot_is_one_file_without_a_request(
    shown: Callable[..., str], study_file: Write, tmp_path: Path
) -> None:
    path = tmp_path / "space.html"
    text = shown(study_file(text=WIDE), "--plot", str(path))
    assert f"figures: {path}" in text
    page = path.read_text()
    own = page.replace(_script(page), "")
    assert not re.search(r"(src|href)=[\"'](?!data:)", own) and "http" not in own
    figures = json.loads(re.findall(r'id="figures">(.*?)</script>', page, re.S)[0])
    assert set(figures) == {"histogram", "budgets"}
    for themes in figures.values():
        assert set(themes) == {"light", "dark"} and themes["light"]["data"]
    curve, samples = figures["budgets"]["light"]["data"]
    assert curve["x"] == sorted(curve["x"]) and len(samples["x"]) == 10
    assert page.count("<tr><td>") == 10


def test_a_plot_that_cannot_be_written(
    study_file: Write, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = study_file()
    for arguments, says in (
        (["--plot", str(tmp_path)], "--plot must name a file"),
        (["--plot", str(tmp_path / "no/a.html")], "--plot must lie in an existing folder"),
        ([file, "--plot", str(tmp_path / "a.html")], "--plot takes one space, got two files"),
    ):
        assert main(["space", file, *arguments]) == 2
        assert says in capfd.readouterr().err


def _script(page: str) -> str:
    """The text of plotly.js inside a page."""
    return max(re.findall(r"<script>(.*?)</script>", page, re.S), key=len)


def difference(shown: Callable[..., str], one: str, other: str) -> Any:
    return json.loads(shown(one, other, "--json"))


def test_how_two_spaces_differ(shown: Callable[..., str], study_file: Write) -> None:
    one = study_file()
    other = study_file(
        ("Maybe(LoRA(rank=Integer(1, 4)))", "LoRA(rank=Integer(1, 8), layers=(0,))"),
        ("Maybe(IA3())", 'Maybe(Prompt(length=2)), gate=Choice(None, "unipelt")'),
        ("import IA3, LoRA", "import LoRA, Prompt"),
        ("800", "900"),
        ("1e-2, 1e-3", "1e-2, 1e-4"),
    )
    found = difference(shown, one, other)
    assert [space["max_parameters"] for space in found["spaces"]] == [800, 900]
    assert found["only"] == [["ia3"], ["prompt"]]
    assert found["changed"] == {
        "lora": ["present or absent", "always present"],
        "lora.rank": ["1 to 4", "1 to 8"],
        "lora.layers": ["all layers", "(0)"],
        "gate": ["none", "one of none, unipelt"],
        "max_parameters": ["800", "900"],
        "recipe.learning_rate": ["one of 0.01, 0.001", "one of 0.01, 0.0001"],
    }
    assert [overlap["inside"] for overlap in found["overlaps"]] == [0, 0]
    text = shown(one, other)
    assert "only in A\n└─ ia3, or absent" in text and "they look disjoint" in text


def test_a_space_beside_a_part_of_it(shown: Callable[..., str], study_file: Write) -> None:
    one = study_file()
    other = study_file(("Integer(1, 4)", "Integer(2, 3)"))
    found = difference(shown, one, other)
    bounds = bound_of(one), bound_of(other)
    drawn = bounds[0].uniform(200, 0)
    inside = sum(map(bounds[1].contains, drawn))
    assert [overlap["inside"] for overlap in found["overlaps"]] == [inside, 200]
    assert 0 < inside < 200 and found["overlaps"][1]["why_not"] is None
    assert found["changed"] == {"lora.rank": ["1 to 4", "2 to 3"]}
    text = shown(one, other)
    assert "B looks like a part of A" in text and f"{inside} lie in B" in text
    assert "the same in both: lora, ia3, max_parameters, recipe.learning_rate" in text


def test_a_space_beside_itself(shown: Callable[..., str], study_file: Write) -> None:
    file = study_file(text=WIDE)
    found = difference(shown, file, file)
    assert found["only"] == [[], []] and found["changed"] == {}
    assert {"prefix.length", "adapter.site", "constraints", "gate"} <= set(found["same"])
    assert [overlap["inside"] for overlap in found["overlaps"]] == [200, 200]
    assert "they are equal" in shown(file, file)
