"""The spaces of the literature: published cardinalities, brute force on small ones, studies."""

from __future__ import annotations

import importlib
import math
import random
from pathlib import Path

import pytest

from peftnas.methods import describe
from peftnas.methods.testing.tiny import CONFIGS
from peftnas.search.study import Study
from peftnas.spaces.enumerate import walks
from peftnas.spaces.sizes.census import Census
from peftnas.spaces.sizes.counting import Listing
from peftnas.studies.cli.main import main
from peftnas.studies.literature import peftnas_default, table
from peftnas.studies.literature.autopeft import autopeft
from peftnas.studies.literature.llm_adapters import llm_adapters
from peftnas.studies.literature.nas_for_peft import nas_for_peft
from peftnas.studies.literature.nas_pet import nas_pet_bitfit, nas_pet_lora
from peftnas.studies.literature.noah import noah
from peftnas.studies.literature.s3pet import s3pet_lora, s3pet_mix
from peftnas.studies.literature.s4 import s4
from peftnas.studies.literature.unipelt import unipelt, unipelt_central
from peftnas.studies.weights import package_folder

DOCS = Path(table.__file__).resolve().parents[2] / "docs" / "literature.md"
FILES = (
    "autopeft",
    "llm_adapters",
    "nas_for_peft",
    "nas_pet",
    "noah",
    "peftnas_default",
    "s3pet",
    "s4",
    "unipelt",
)
# what the default does not fit -> how its docstring says so
UNFIT = {
    "albert": "not fit albert",
    "deberta": "nor deberta-v2",
    "mamba": "backbones with attention and FFN",
    # of these the tiny ones have stacks of two layers
    **dict.fromkeys(("t5", "t5_gated", "bart", "whisper"), "three layers or more in a stack"),
}
# tiny backbones have 3 layers, T5 2 + 2; the number of points
SMALL = {
    "autopeft": (autopeft((0, 1, 3)), "bert", (3**3 - 1) * (2**3 - 1)),
    "s3pet, lora": (s3pet_lora(linears=("query", "up", "down")), "bert", 2**9),
    "noah": (noah((1, 2), depths=(1, 2)), "vit", (2 + 4) ** 3),
    "unipelt": (unipelt(3, (1, 2), 2, 3), "bert", (1 + 2 * 3 * 2) * 3 * 3 * 2),
    "unipelt, central": (unipelt_central(3, (1, 2), 2, 3), "bert", 2 * 3 * 3 * 2),
    "llm_adapters": (llm_adapters((1, 2), (2, 3), (1, 2)), "llama", 2 + 3 * 3 * 2),
    "nas_pet, biases": (nas_pet_bitfit(("key", "up"), ("pooler",)), "bert", 2**7),
    "nas_pet, lora": (nas_pet_lora(1, ("query", "up", "down")), "bert", 2**9),
    "s4": (s4(2, ("uniform", "increasing"), 1, 1, 1, ("up",)), "bert", 2 * 3 * 3 * 15**2),
    "nas_for_peft": (nas_for_peft((4,), depth=1), "bert", 2 * (3 * 14**2 + 14**3)),
}


@pytest.mark.parametrize("row", table.ROWS, ids=lambda row: row.name)
def test_points_are_as_many_as_published(row):
    raw, size, seconds = table.measure(row)
    print(f"{row.name}: {size} architectures of {raw} points, {seconds:.1f} s")
    assert raw.exact
    if row.published is not None:
        assert raw.low == row.published
    assert 0 < size.low <= size.high <= raw.low
    # all figures of the page but the seconds, which stand last
    written = table.line(row, raw, size, seconds).rsplit("|", 2)[0]
    assert written in DOCS.read_text(encoding="utf-8")


def test_formulas_are_those_of_the_papers():
    published = {row.name: row.published for row in table.ROWS}
    layers = sum(math.comb(12, k) * (14 * 155) ** k for k in range(2, 13))
    assert published["NAS_for_PEFT"] == 2 * layers
    assert published["NOAH, few-shot"] == (4**3 + 4**6 + 4**9 + 4**12) ** 3
    assert published["AutoPEFT, large"] == (11**3 - 1) * (2**24 - 1)


@pytest.mark.parametrize("name", SMALL)
def test_small_ones_equal_brute_force(name):
    space, family, points = SMALL[name]
    bound = space.bind(describe(CONFIGS[family]()))
    listed = Listing(bound, walks(bound.draw))
    assert listed.raw(None) == (points, points)
    assert (bound.raw_size(), bound.size()) == (points, listed.distinct(None)[0])
    counted = Census(bound)
    most = listed.parameters(False)[1]
    for budget in (None, most // 3, most // 2):
        assert counted.distinct(budget) == listed.distinct(budget)
        assert counted.raw(budget) == listed.raw(budget)


def test_mix_of_s3pet_has_a_choice_for_each_place_of_a_small_t5():
    bound = s3pet_mix(2, 2).bind(describe(CONFIGS["t5"]()))
    places = 4 * 6 + (4 * 6 + 4 * 2 + 2 + 2) + (4 * 2 + 2 + 2) + 4 * 2
    assert bound.raw_size() == 2**places
    assert bound.size() == 2**places


@pytest.mark.parametrize("file", FILES)
def test_studies_draw_on_the_default_backbone(file):
    module = importlib.import_module(f"peftnas.studies.literature.{file}")
    assert isinstance(module.study, Study)
    from transformers import AutoConfig

    bound = module.study.space.bind(describe(AutoConfig.from_pretrained(package_folder())))
    for seed in range(3):
        drawn = bound.sample(seed)
        assert bound.count(drawn) > 0
    assert bound.draw_valid(random.Random(0), 200) is not None


@pytest.mark.parametrize("file", FILES)
def test_docstring_says_what_a_reader_needs(file):
    module = importlib.import_module(f"peftnas.studies.literature.{file}")
    text = module.__doc__
    assert f"peftnas run studies/literature/{file}.py" in text and "SearchSpace" in text
    if file != "peftnas_default":
        assert all(word in text for word in ("Source: ", "Published", "Differences"))


def test_one_is_shown_by_its_path(capsys):
    path = Path(table.__file__).with_name("llm_adapters.py")
    assert main(["space", str(path)]) == 0
    assert "40" in capsys.readouterr().out


def test_the_docs_have_a_line_for_each_row_and_no_other():
    lines = [line for line in DOCS.read_text(encoding="utf-8").splitlines() if "](../" in line]
    assert [line.split("]")[0].removeprefix("| [") for line in lines] == [
        row.name for row in table.ROWS
    ]


@pytest.mark.parametrize("family", CONFIGS)
def test_the_default_fits_the_backbones_that_it_says(family):
    anatomy = describe(CONFIGS[family]())
    if family in UNFIT:
        assert UNFIT[family] in peftnas_default.__doc__.replace("\n", " ")
        with pytest.raises(ValueError):
            peftnas_default.peftnas_default().bind(anatomy)
    else:
        bound = peftnas_default.peftnas_default(budget=None).bind(anatomy)
        assert bound.count(bound.sample(0)) > 0


@pytest.mark.parametrize("file", FILES)
def test_what_runs_on_the_default_backbone_is_said(file):
    module = importlib.import_module(f"peftnas.studies.literature.{file}")
    other = module.study.space.to_dict() != module.space.to_dict()
    assert other == ("The default backbone" in module.__doc__)
