"""Wrong definitions in a study's file: rule, value, remedy, and the line they stand on."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from peftnas.studies.cli import main

HEAD = """\
from peftnas import Choice, Integer, Maybe, PerGroup, PerLayer, Real, Recipe, SearchSpace, Study
from peftnas import Subset, spaces
from peftnas.methods import IA3, Adapter, CrossAttentionTuning, LoRA, Prompt
from peftnas.spaces import ByGroup, ByLayer, Grouped, Shared, Switch, at_least, forbid
from peftnas.spaces import max_stored_bytes, max_train_memory_bytes
from peftnas.studies.tasks import TextClassification

WIDE = Shared("wide", Choice(False, True))
"""

STUDY = """\
study = Study(
    name="wrong",
    backbone="backbone",
    task=TextClassification("task"),
    space=SearchSpace(
        {items}
    ),
    {fields}
)
"""


class Wrong(NamedTuple):
    """A wrong definition; the line it is about ends in ``# <``.

    Attributes:
        rule, value, remedy: what the sentence has to say, as regular expressions.
        items: of the space.
        fields: of the study, after the space.
        top: the whole file below the imports, in place of both.
    """

    rule: str
    value: str
    remedy: str
    items: str = "LoRA(),"
    fields: str = ""
    top: str = ""


WRONG = {
    # domains
    "bounds crossed": Wrong(
        "Integer needs low <= high",
        "low=64, high=1",
        "swap them",
        """Maybe(LoRA()),
        Maybe(
            Adapter(
                site="ffn",
                bottleneck=Integer(64, 1),  # <
            )
        ),""",
    ),
    "bounds that are no numbers": Wrong(
        "Integer needs whole numbers", "low=0.5", "use Real", "LoRA(rank=Integer(0.5, 4)),  # <"
    ),
    "log from zero": Wrong(
        "Integer with log=True needs low >= 1",
        "low=0",
        "start at 1",
        """LoRA(
            rank=Integer(0, 64, log=True),  # <
            targets=("query",),
        ),""",
    ),
    "a step off the grid": Wrong(
        "step >= 1 that divides",
        "step=3 for 1..8",
        "change",
        "LoRA(rank=Integer(1, 8, step=3)),  # <",
    ),
    "a real of one value": Wrong(
        "Real needs finite low < high",
        "low=1.0, high=1.0",
        "hold the value",
        "LoRA(alpha=Real(1.0, 1.0)),  # <",
    ),
    "a log of nothing": Wrong(
        "Real with log=True needs low > 0",
        "low=0.0",
        "raise it",
        fields="""recipe=Recipe(
        steps=10,
        learning_rate=Real(0.0, 1e-2, log=True),  # <
    ),""",
    ),
    "no option": Wrong(
        "Choice needs at least one option", "none", "name", "LoRA(rank=Choice()),  # <"
    ),
    "an option twice": Wrong(
        "Choice needs distinct options", "8 twice", "drop one", "LoRA(rank=Choice(4, 8, 8)),  # <"
    ),
    "a subset of a list": Wrong(
        "Subset needs names or layer numbers",
        r"\['query', 'key'\]",
        "list them one by one",
        'LoRA(targets=Subset(["query", "key"])),  # <',
    ),
    "a subset with too many": Wrong(
        r"Subset needs 0 <= min_size <= 2 \(its items\)",
        "3",
        "lower",
        'LoRA(targets=Subset("query", "key", min_size=3)),  # <',
    ),
    # methods
    "a negative rank": Wrong(
        "LoRA.rank must be a whole number >= 0",
        "-4",
        "raise it to 0",
        """Maybe(IA3()),
        Maybe(
            LoRA(
                targets=("query", "value"),
                rank=-4,  # <
            ),
        ),""",
    ),
    "a range as a tuple": Wrong(
        "LoRA.rank must be a whole number >= 0",
        r"\(1, 8\)",
        r"write Integer\(1, 8\)",
        """LoRA(
            alpha=16.0,
            rank=(1, 8),  # <
        ),""",
    ),
    "a real rank": Wrong(
        "LoRA.rank must be a whole number",
        "Real",
        r"use Integer\(1, 8\)",
        "LoRA(rank=Real(1, 8)),  # <",
    ),
    "another library's name of a linear": Wrong(
        "LoRA.targets must be some of 'query'",
        r"\('q_proj', 'value'\)",
        "did you mean 'query'",
        """LoRA(
            rank=4,
            targets=(
                "q_proj",  # <
                "value",
            ),
        ),""",
    ),
    "another library's name in a subset": Wrong(
        "LoRA.targets must be some of 'query'",
        r"Subset\('query', 'v_proj'\)",
        "did you mean 'value'",
        """LoRA(
            targets=Subset("query", "v_proj"),  # <
        ),""",
    ),
    "a text for a tuple": Wrong(
        "LoRA.targets must be a tuple of names",
        "'query'",
        r"write \('query',\)",
        'LoRA(targets="query"),  # <',
    ),
    "another library's field": Wrong(
        "LoRA has the fields rank",
        "'r'",
        "did you mean 'rank'",
        """LoRA(
            targets=("query",),
            r=8,  # <
        ),""",
    ),
    "a field without a name": Wrong(
        "LoRA takes its fields by name", "8", r"write LoRA\(rank=8\)", "LoRA(8),  # <"
    ),
    "a site that is none": Wrong(
        "Adapter.site must be one of",
        "'mlp'",
        "did you mean 'ffn'",
        """Adapter(
            bottleneck=Integer(1, 8),
            site=Choice("attention", "mlp"),  # <
        ),""",
    ),
    "an undefined placement": Wrong(
        "Adapter: placement 'pfeiffer' is defined for site 'ffn'",
        "site 'attention'",
        "or 'houlsby'",
        """Adapter(
            site="attention",  # <
            placement="pfeiffer",
        ),""",
    ),
    "a learning rate of zero": Wrong(
        "Recipe.learning_rate must be a number > 0",
        "0",
        "raise it above 0",
        fields="""recipe=Recipe(
        steps=100,
        learning_rate=0,  # <
    ),""",
    ),
    "another library's field of a recipe": Wrong(
        "Recipe has the fields steps",
        "'lr'",
        "did you mean 'learning_rate'",
        fields="""recipe=Recipe(
        steps=100,
        lr=1e-3,  # <
    ),""",
    ),
    # structure
    "absent twice": Wrong(
        r"Maybe\(Maybe\(...\)\) says absent twice",
        r"Maybe\(.*LoRA",
        "keep one",
        "Maybe(Maybe(LoRA())),  # <",
    ),
    "a value for each layer": Wrong(
        "PerLayer needs an Integer",
        "8",
        "a fixed value needs no PerLayer",
        "LoRA(rank=PerLayer(8)),  # <",
    ),
    "layer by layer where it cannot be": Wrong(
        "Adapter.site is one value for the whole backbone",
        "PerLayer",
        "drop the per-layer wrapper",
        """Adapter(
            bottleneck=8,
            site=PerLayer(Choice("attention", "ffn")),  # <
        ),""",
    ),
    "a grouping that is none": Wrong(
        "PerGroup needs a grouping of uniform",
        "'spindel'",
        "did you mean 'spindle'",
        """LoRA(
            rank=PerGroup(
                2,
                Integer(1, 8),
                grouping="spindel",  # <
            ),
        ),""",
    ),
    "groups of nothing": Wrong(
        "PerGroup needs n >= 1 groups",
        "0",
        "take 1 or more",
        "LoRA(rank=PerGroup(0, Integer(1, 8))),  # <",
    ),
    "a shared name of two domains": Wrong(
        r"Shared\('size'\) must draw from one domain",
        r"Integer\(.*high=4",
        "rename one",
        """LoRA(rank=Shared("size", Integer(1, 4))),  # <
        Adapter(bottleneck=Shared("size", Integer(1, 8))),""",
    ),
    "a switch without a case": Wrong(
        "Switch needs one case for each option of 'wide'",
        "no case for False",
        "add it",
        "LoRA(rank=Switch(WIDE, {True: 8})),  # <",
    ),
    "a group that chooses layers": Wrong(
        "Grouped chooses the layers",
        r"layers=\(0,\) in LoRA",
        "leave them out",
        """Grouped(
            IA3(),
            LoRA(layers=(0,)),  # <
            n=2,
        ),""",
    ),
    "groups without a number": Wrong(
        "Grouped needs",
        "no 'n'",
        "add it",
        "Grouped(LoRA(), IA3()),  # <",
    ),
    "a class in groups": Wrong(
        "Grouped takes methods that act in layers",
        "class 'peftnas.methods.lora.LoRA'",
        r"write LoRA\(\.\.\.\)",
        "Grouped(LoRA, IA3(), n=2),  # <",
    ),
    "a list in groups": Wrong(
        "Grouped takes methods that act in layers",
        r"\[LoRA",
        r"unpack it: Grouped\(\*methods, n=\.\.\.\)",
        "Grouped([LoRA(), IA3()], n=2),  # <",
    ),
    "an absence in groups": Wrong(
        "Grouped takes methods that act in layers",
        r"Maybe\(content=LoRA",
        "name the methods themselves",
        "Grouped(Maybe(LoRA()), n=2),  # <",
    ),
    "groups in a choice": Wrong(
        "a Choice takes methods and None",
        r"Choice\(Grouped\(LoRA",
        r"Maybe\(Grouped\(\.\.\.\)\)",
        "Choice(Grouped(LoRA(), n=2), None),  # <",
    ),
    "groupings in a list": Wrong(
        "PerGroup needs a grouping of uniform",
        r"\['uniform', 'spindle'\]",
        r"write Choice\('uniform', 'spindle'\)",
        """LoRA(
            rank=PerGroup(2, Integer(1, 8), ["uniform", "spindle"]),  # <
        ),""",
    ),
    "layer by layer twice": Wrong(
        "LoRA.rank must have one PerLayer, PerGroup or ByGroup",
        "PerLayer",
        "drop one",
        """LoRA(
            rank=PerLayer(Choice(Shared("q", PerLayer(Integer(1, 2))), 3)),  # <
        ),""",
    ),
    "a switch of equal options": Wrong(
        "Switch needs options of 'w' that are not equal",
        "1 and True",
        "name one of them otherwise",
        'LoRA(rank=Switch(Shared("w", Choice(1, True)), {1: 2, True: 3})),  # <',
    ),
    "a switch of a list": Wrong(
        "Switch needs its cases by option of 'wide'",
        r"\[2, 3\]",
        r"write {False: \.\.\., True: \.\.\.}",
        "LoRA(rank=Switch(WIDE, [2, 3])),  # <",
    ),
    # the space
    "a list for the methods": Wrong(
        "SearchSpace takes methods",
        r"\[LoRA",
        r"unpack it: SearchSpace\(\*methods\)",
        "[LoRA(), IA3()],  # <",
    ),
    "a budget in quotes": Wrong(
        "max_parameters must be a whole number >= 1 or a percentage",
        "'200'",
        'write 200 without quotes, or "200%"',
        """LoRA(),
        max_parameters="200",  # <""",
    ),
    "a class for a method": Wrong(
        "SearchSpace takes methods",
        "class 'peftnas.methods.lora.LoRA'",
        r"write LoRA\(\.\.\.\)",
        """IA3(),
        LoRA,  # <""",
    ),
    "a domain for a method": Wrong(
        "SearchSpace takes methods",
        r"Integer\(low=1",
        "drop it",
        """LoRA(),
        Integer(1, 8),  # <""",
    ),
    "nothing to search": Wrong(
        "SearchSpace needs at least one item",
        "none",
        "add a method",
        top="""study = Study(
    "wrong",
    "backbone",
    TextClassification("task"),
    SearchSpace(),  # <
)
""",
    ),
    "a budget as a fraction": Wrong(
        "max_parameters must be a whole number >= 1 or a percentage",
        "0.02",
        'write max_parameters="2%"',
        """LoRA(),
        max_parameters=0.02,  # <""",
    ),
    "a metric in a constraint": Wrong(
        "a constraint bounds a cost, but accuracy is a metric of the task",
        "'accuracy >= 0.8'",
        "make accuracy an objective",
        fields="""constraints=(
        "stored_bytes <= 1MB",
        "accuracy >= 0.8",  # <
    ),""",
    ),
    "a study without a task": Wrong(
        "Study needs name, backbone, task, space",
        "no 'task'",
        "add it",
        top="""study = Study(  # <
    name="wrong", backbone="backbone", space=SearchSpace(LoRA())
)
""",
    ),
    "a method of the wrong package": Wrong(
        "peftnas has no 'LoRA'",
        "",
        "write from peftnas.methods import LoRA",
        top="from peftnas import LoRA  # <",
    ),
    "a domain of the wrong package": Wrong(
        "peftnas.methods has no 'Shared'",
        "",
        "write from peftnas import Shared",
        top="from peftnas.methods import Shared  # <",
    ),
    "a task of the wrong package": Wrong(
        "peftnas has no 'TextRegression'",
        "",
        "write from peftnas.studies.tasks import TextRegression",
        top="from peftnas import TextRegression  # <",
    ),
    "a budget of nothing": Wrong(
        "max_parameters must be a whole number >= 1 or a percentage",
        "'0%'",
        "leave it out",
        """LoRA(),
        max_parameters="0%",  # <""",
    ),
    "a gate that is none": Wrong(
        "LoRA.gate must be one of",
        "'unipeld'",
        "did you mean 'unipelt'",
        """LoRA(),
        gate=Choice(None, "unipeld"),  # <""",
    ),
    "a gate for no method": Wrong(
        "gate needs a method that can carry one",
        "gate='unipelt' and none",
        "drop it",
        """Prompt(),
        gate="unipelt",  # <""",
    ),
    "two gates": Wrong(
        "the gate is drawn once for the whole space",
        r"LoRA\(gate='unipelt'\)",
        "drop one of them",
        """LoRA(gate="unipelt"),  # <
        gate=Choice(None, "unipelt"),""",
    ),
    "an argument that is none": Wrong(
        "SearchSpace takes .*max_parameters",
        "'max_params'",
        "did you mean 'max_parameters'",
        """LoRA(),
        max_params="1%",  # <""",
    ),
    # constraints
    "a relation that does not read": Wrong(
        "a relation must read FIELD SIGN FIELD",
        "'lora.rank'",
        "write both sides",
        """LoRA(),
        constraints=[
            at_least(2, "layers"),
            "lora.rank",  # <
        ],""",
    ),
    "a relation with a method that is not there": Wrong(
        r"constraint 'lora.rank <= adaptor.bottleneck' must name methods of the space",
        "'adaptor'",
        "did you mean 'adapter'",
        """LoRA(),
        Adapter(),
        constraints=(
            "lora.rank <= adaptor.bottleneck",  # <
        ),""",
    ),
    "a relation with a field that is not there": Wrong(
        "must name fields of lora",
        "'ranks'",
        "did you mean 'rank'",
        """LoRA(),
        constraints="lora.ranks  <=  8",  # <""",
    ),
    "a combination of what is not there": Wrong(
        "forbid names methods of the space",
        "'prefix'",
        "take one of these",
        """LoRA(),
        IA3(),
        constraints=[
            forbid("lora", "prefix"),  # <
        ],""",
    ),
    "at least no layer": Wrong(
        "at_least needs a whole number >= 1",
        "0",
        "raise it",
        'LoRA(), constraints=[at_least(0, "layers")],  # <',
    ),
    "a unit that is none": Wrong(
        "max_stored_bytes must be .*unit",
        "'1 XB'",
        "write it so",
        """LoRA(),
        constraints=[
            max_stored_bytes("1 XB"),  # <
        ],""",
    ),
    "a constraint that is none": Wrong(
        "constraints must be such as at_least",
        "3",
        "take one of",
        """LoRA(),
        constraints=[3],  # <""",
    ),
    "a comparison with a word": Wrong(
        "constraint .*lora.rank <= 'eight'.* must compare with a number or a field",
        "'eight'",
        "write a number, or METHOD.FIELD",
        """LoRA(),
        constraints=[
            at_least(1, "layers"),
            "lora.rank <= eight",  # <
        ],""",
    ),
    "a comparison with a method": Wrong(
        "must compare with a field or a value",
        "'adapter', a method",
        r"as in adapter\.bottleneck",
        """LoRA(),
        Adapter(),
        constraints=[
            "lora.rank <= adapter",  # <
        ],""",
    ),
    "a comparison with arithmetic": Wrong(
        "a relation must read FIELD SIGN FIELD",
        r"'lora.rank <= 2 \* adapter.bottleneck'",
        "without arithmetic",
        """LoRA(),
        Adapter(),
        constraints=[
            "lora.rank <= 2 * adapter.bottleneck",  # <
        ],""",
    ),
    "two comparisons in one": Wrong(
        "a relation must read FIELD SIGN FIELD",
        "'lora.rank <= 4 <= adapter.bottleneck'",
        "compare once",
        """LoRA(),
        Adapter(),
        constraints=[
            "lora.rank <= 4 <= adapter.bottleneck",  # <
        ],""",
    ),
    "an order of what has none": Wrong(
        "constraint 'lora.targets <= 4' must compare numbers by <=",
        "'lora.targets', which is some of",
        "use == or != or forbid",
        """LoRA(),
        constraints=[
            "lora.targets <= 4",  # <
        ],""",
    ),
    "equal to what it cannot be": Wrong(
        "constraint .*: lora.gate must be one of",
        "'unipeld'",
        "did you mean 'unipelt'",
        """LoRA(),
        constraints=[
            "lora.gate != unipeld",  # <
        ],""",
    ),
    "a comparison with a set": Wrong(
        "constraint 'lora.rank != {1, 2}' must compare with a field, a number",
        "{1, 2}",
        "rule out several by forbid",
        """LoRA(),
        constraints=["lora.rank != {1, 2}"],  # <""",
    ),
    "a class ruled out": Wrong(
        'forbid takes methods such as "lora"',
        "class 'peftnas.methods.lora.LoRA'",
        'write "lora"',
        """LoRA(),
        Adapter(),
        constraints=[
            forbid(LoRA, "adapter"),  # <
        ],""",
    ),
    "a list ruled out": Wrong(
        'forbid takes methods such as "lora"',
        r"\['adapter'\]",
        "one by one",
        """LoRA(),
        Adapter(),
        constraints=[
            forbid("lora", ["adapter"]),  # <
        ],""",
    ),
    "a field ruled out without a value": Wrong(
        "forbid takes a field together with its value",
        "'lora.rank'",
        'write {"lora.rank": VALUE}',
        """LoRA(),
        constraints=[
            forbid("lora.rank"),  # <
        ],""",
    ),
    "a value of a method ruled out": Wrong(
        "forbid takes the values of METHOD.FIELD",
        "'lora'",
        "name the field too",
        """LoRA(),
        constraints=[
            forbid({"lora": 8}),  # <
        ],""",
    ),
    "a field ruled out twice": Wrong(
        "forbid names each field once",
        r"'lora.rank' for \(1,\) and for \(2,\)",
        r'write {"lora.rank": \(1, 2\)}',
        """LoRA(),
        constraints=[
            forbid({"lora.rank": 1}, {"lora.rank": 2}),  # <
        ],""",
    ),
    "a tuple ruled out": Wrong(
        "forbid lora.targets takes a value or a tuple of such values",
        r"\('query', 'value'\), which is one value",
        r'write {"lora.targets": \(\(\'query\', \'value\'\),\)}',
        """LoRA(),
        constraints=[
            forbid({"lora.targets": ("query", "value")}),  # <
        ],""",
    ),
    "a value ruled out that cannot be": Wrong(
        "forbid: lora.rank must be a whole number >= 0",
        "'eight'",
        "without quotes",
        """LoRA(),
        constraints=[
            forbid({"lora.rank": "eight"}),  # <
        ],""",
    ),
    "a unit of another case": Wrong(
        "max_stored_bytes must be .*unit",
        "'1 mb'",
        "did you mean '1MB'",
        """LoRA(),
        constraints=[
            max_stored_bytes("1 mb"),  # <
        ],""",
    ),
    "constraints of nothing": Wrong(
        "constraints must be a list",
        "None",
        "leave it out for none",
        """LoRA(),
        constraints=None,  # <""",
    ),
    "more methods than there are": Wrong(
        "constraints ask for at least 2 methods",
        "a space of 1 at most",
        "lower the number, or add items",
        """LoRA(rank=4),
        constraints=[
            at_least(2, "methods"),  # <
        ],""",
    ),
    "at least as many layers as there are not": Wrong(
        "constraints ask for at least 9 layers",
        "a backbone of 2",
        "lower the number",
        """LoRA(rank=2),
        constraints=[
            at_least(9, "layers"),  # <
        ],""",
    ),
    # the study
    "a space that is none": Wrong(
        "a study's space must be a SearchSpace",
        r"LoRA\(",
        "put its methods into SearchSpace",
        top="""study = Study(
    name="wrong",
    backbone="backbone",
    task=TextClassification("task"),
    space=LoRA(rank=Integer(1, 8)),  # <
)
""",
    ),
    "an objective that is none": Wrong(
        "objective must be one of accuracy",
        "'speed'",
        "take one",
        fields="""objectives=(
        "accuracy",
        "speed",  # <
    ),""",
    ),
    "a bound on what is no cost": Wrong(
        "a constraint must read NAME <= VALUE",
        "'memory <= 8GB'",
        "did you mean 'train_memory_bytes'|take one of these",
        fields="""constraints=(
        "stored_bytes <= 1MB",
        "memory <= 8GB",  # <
    ),""",
    ),
    "a bound of another unit": Wrong(
        "constraint 'stored_bytes <= 1s': the unit must be one of B",
        "'s'",
        "take one of these",
        fields="""constraints=(
        "stored_bytes <= 1s",  # <
    ),""",
    ),
    # the backbone, which has two layers, six linears each and 64 units at most
    "a layer beyond": Wrong(
        r"lora.layers must name layers 0\.\.1 of this backbone",
        "7",
        "drop it",
        """Maybe(IA3()),
        Maybe(
            LoRA(
                rank=4,
                layers=(0, 7),  # <
            )
        ),""",
    ),
    "more groups than layers": Wrong(
        "lora.rank must have at most 2 groups",
        r"PerGroup\(3",
        "lower n",
        """LoRA(
            rank=PerGroup(3, Integer(1, 8)),  # <
        ),""",
    ),
    "more layers than there are": Wrong(
        "Subset.of_layers needs min_size <= 2",
        "5",
        "lower it",
        """LoRA(
            layers=Subset.of_layers(min_size=5),  # <
        ),""",
    ),
    "a linear that the backbone lacks": Wrong(
        r"targets \['gate_proj'\] do not exist in bert backbones, which have query, key, value",
        r"\('query', 'gate_proj'\)",
        "take some of these",
        """LoRA(
            rank=4,
            targets=Subset("query", "gate_proj"),  # <
        ),""",
    ),
    "a sublayer that the backbone lacks": Wrong(
        r"sublayers \['cross_attention'\] do not exist in bert backbones",
        "",
        "take attention|leave the method out",
        """Maybe(LoRA()),
        Choice(
            None,
            Adapter(
                bottleneck=4,
                site="cross_attention",  # <
            ),
        ),""",
    ),
    "a method for other backbones": Wrong(
        r"sublayers \['cross_attention'\] do not exist in bert backbones",
        "",
        "leave the method out",
        """Maybe(LoRA()),
        Maybe(
            CrossAttentionTuning(),  # <
        ),""",
    ),
    "a budget that nothing meets": Wrong(
        "no architecture of the space was found that meets its budget",
        r"\d+ at the smallest point",
        "raise max_parameters",
        """LoRA(rank=4),
        max_parameters=10,  # <""",
    ),
    "constraints that nothing meets": Wrong(
        "no architecture of the space .* meets its constraints",
        "",
        "loosen",
        """LoRA(rank=4),
        constraints=[
            "lora.rank != 4",  # <
        ],""",
    ),
    # Python
    "a method of another case": Wrong(
        "name 'Lora' is not defined", "", "did you mean 'LoRA'", "Lora(rank=4),  # <"
    ),
    "an import that is not there": Wrong(
        "peftnas.methods has no 'Adaptor'",
        "",
        "did you mean 'Adapter'",
        top="from peftnas.methods import Adaptor  # <\n",
    ),
    "a bound too few": Wrong(
        "Integer needs low, high", "no 'high'", "add it", "LoRA(rank=Integer(4)),  # <"
    ),
    "an attribute that is not there": Wrong(
        "has no attribute 'Integr'",
        "",
        "did you mean 'Integer'",
        "LoRA(rank=spaces.Integr(1, 4)),  # <",
    ),
}


def write(wrong: Wrong, folder: Path) -> tuple[Path, int]:
    """The file, and the number of the line that is wrong."""
    text = HEAD + (wrong.top or STUDY.format(items=wrong.items, fields=wrong.fields))
    path = folder / "my_study.py"
    path.write_text(text)
    [line] = [number for number, one in enumerate(text.splitlines(), 1) if one.endswith("# <")]
    return path, line


def check(sentence: str, wrong: Wrong, path: Path, line: int) -> None:
    prefix = f"peftnas: {path}, line {line}: "
    assert sentence.startswith(prefix), sentence
    said = sentence.removeprefix(prefix)
    assert re.search(f"{wrong.rule}.*{wrong.value}.*; (.* )?({wrong.remedy})", said), said


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_definition(
    name: str, workplace: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path, line = write(WRONG[name], tmp_path)
    assert main(["space", str(path), "--backbone", str(workplace / "backbone")]) == 2
    printed = capfd.readouterr()
    assert printed.out == "" and printed.err.count("\n") == 1
    check(printed.err.rstrip("\n"), WRONG[name], path, line)


@pytest.mark.parametrize("name", ["a layer beyond", "a budget that nothing meets", "a real rank"])
def test_a_search_says_the_same(
    name: str, workplace: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path, line = write(WRONG[name], tmp_path)
    places = ["--backbone", str(workplace / "backbone"), "--data", str(workplace / "data")]
    assert main(["run", str(path), *places, "--out", str(tmp_path / "out")]) == 2
    check(capfd.readouterr().err.rstrip("\n"), WRONG[name], path, line)


def test_a_wrong_definition_in_a_process_of_its_own(workplace: Path, tmp_path: Path) -> None:
    wrong = WRONG["a layer beyond"]
    path, line = write(wrong, tmp_path)
    code = "from peftnas.studies.cli import main; raise SystemExit(main())"
    command = [sys.executable, "-c", code, "space", str(path)]
    done = subprocess.run(
        [*command, "--backbone", str(workplace / "backbone")], capture_output=True, text=True
    )
    assert done.returncode == 2 and done.stdout == ""
    check(done.stderr.rstrip("\n"), wrong, path, line)
