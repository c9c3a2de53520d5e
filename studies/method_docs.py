"""``docs/methods.md``: every method as its class says it and as attaching it shows."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from peftnas.studies.method_listing import LEGEND, condition, listing

if TYPE_CHECKING:
    from peftnas.methods.base import Method
    from peftnas.methods.testing.facts import Facts, TinyBackbone

HEAD = """\
# Methods

Written by `make docs` from the code; do not edit it. What is said of identity, merging and what is
kept was measured by attaching each method to a tiny random backbone of each family and running it.

"""
MATRIX = """\
## Which method attaches to which family

`yes`: with its defaults. `yes` with a number: with the fields in the note, where the defaults are
refused. `no`: refused; the note is the sentence that says why.

"""
SUMMARY = """\
## At a glance

With the defaults, measured on every family that takes them. *Identity*: at the start the
backbone's output is unchanged, bit for bit. *Merges*: after training it can be folded into the
weights. *Training only*: other parameters are kept after training than are trained.

"""


def markdown() -> str:
    """The whole text; takes some seconds. The same for the same code."""
    from peftnas.methods import METHODS
    from peftnas.methods.testing.facts import TinyBackbone, families

    backbones = {family: TinyBackbone(name) for family, name in families().items()}
    facts = {
        kind: {family: tiny.attach_somehow(method) for family, tiny in backbones.items()}
        for kind, method in METHODS.items()
    }
    models = {family: tiny.anatomy.model_type for family, tiny in backbones.items()}
    parts = [
        HEAD,
        _matrix(facts, models),
        _at_a_glance(facts),
        "## The methods\n\n",
        f"{LEGEND}\n\n",
    ]
    for kind, method in METHODS.items():
        home = _home(facts[kind], backbones)
        parts += [described(method), _measured(method, facts[kind], home), fields_table(method)]
    return "".join(parts).rstrip("\n") + "\n"


def described(method: type[Method]) -> str:
    """Heading, docstring, source and count of a method."""
    said = listing(method)
    return (
        f"### {said['kind']}: `{said['name']}`\n\n{_docstring(method)}\n\n"
        f"- parameters: {_escaped(said['formula'])}\n- source: {said['source']}\n"
    )


def fields_table(method: type[Method]) -> str:
    """The fields of a method."""
    rows = [
        [
            f"`{field['name']}`",
            _escaped(field["takes"]) + ("; PerLayer, PerGroup" if field["by_layer"] else ""),
            f"`{field['default']!r}`",
            _escaped(field["help"]),
            condition(field["when"]) or "always",
        ]
        for field in listing(method)["fields"]
    ]
    if not rows:
        return "\nNo fields.\n\n"
    heads = ["field", "takes", "default", "meaning", "matters when"]
    return "\n" + _table(heads, rows) + "\n"


def _docstring(method: type[Method]) -> str:
    """The docstring without its source, which has a line of its own."""
    text = re.sub(r":\w+:`~?([\w.]+)`", r"`\1`", inspect.cleandoc(method.__doc__ or ""))
    paragraphs = text.split("\n\n")
    kept = [text for text in paragraphs if not text.startswith("Source:")]
    return "\n\n".join(_simple_table(text) if text.startswith("==") else text for text in kept)


def _simple_table(text: str) -> str:
    """A simple table of reStructuredText as one of Markdown."""
    rule, *lines = text.splitlines()
    columns = [match.span() for match in re.finditer("=+", rule)]
    rows = [
        [_escaped(line[start:end].strip()) for start, end in columns]
        for line in lines
        if not line.startswith("==")
    ]
    return _table(rows[0], rows[1:]).rstrip()


def _matrix(facts: dict[str, dict[str, Facts]], models: dict[str, str]) -> str:
    """``models``: the model type of each family, as refusals name it."""
    notes: dict[str, int] = {}
    names = list(next(iter(facts.values())))
    rows = [
        [kind, *(_cell(of[family], models[family], notes) for family in names)]
        for kind, of in facts.items()
    ]
    lines = [f"{number}. {note}" for note, number in notes.items()]
    return MATRIX + _table(["", *names], rows) + "\n" + "\n".join(lines) + "\n\n"


def _cell(facts: Facts, model: str, notes: dict[str, int]) -> str:
    if not facts.refusal and not facts.changed:
        return "yes"
    if facts.refusal:  # one note for all families that are refused alike
        note = re.sub(rf"(?:this |an? )?{model} backbones", "these backbones", facts.refusal)
        note = re.sub(rf"(?:this |an? )?{model} backbone", "this backbone", note)
    elif "layers" in facts.changed:
        note = "with `layers`: those of the encoder"
    else:
        note = f"with {_fields(facts.changed)}"
    number = notes.setdefault(_escaped(note), len(notes) + 1)
    return f"{'no' if facts.refusal else 'yes'} ({number})"


def _at_a_glance(facts: dict[str, dict[str, Facts]]) -> str:
    from transformers import BertConfig

    from peftnas.methods import METHODS, Architecture, count, describe

    base = describe(BertConfig())
    rows = []
    for kind, by_family in facts.items():
        taken = _taken(by_family.values())
        try:
            trained = count(Architecture(METHODS[kind]()), base)
            share = f"{trained:,} ({100 * trained / base.backbone_parameters:.2f} %)"
        except ValueError:  # not on this backbone
            share = "-"
        rows.append(
            [
                f"[{kind}](#{kind}-{METHODS[kind].__name__.lower()})",
                _everywhere(one.identity for one in taken),
                _everywhere(not one.remaining for one in taken),
                _everywhere(one.stored != one.count for one in taken),
                share,
            ]
        )
    heads = ["method", "identity", "merges", "training only", "trained on BERT base"]
    return SUMMARY + _table(heads, rows) + "\n"


def _home(facts: dict[str, Facts], backbones: dict[str, TinyBackbone]) -> TinyBackbone | None:
    """The first backbone that takes a method's defaults."""
    for family, one in facts.items():
        if not one.refusal and not one.changed:
            return backbones[family]
    return None


def _measured(method: type[Method], facts: dict[str, Facts], home: TinyBackbone | None) -> str:
    """What attaching showed: with the defaults everywhere, with one field changed at home."""
    from peftnas.methods.testing.facts import single_changes

    taken = _taken(facts.values())
    if home is None or not taken:
        return "- measured: no family takes its defaults\n"
    usual = home.try_out(method)
    others = [home.try_out(method, **fields) for fields in single_changes(method, parts=False)]
    others = [one for one in others if not one.refusal]
    identity = [one for one in others if one.identity != usual.identity]
    merges = [one for one in others if bool(one.remaining) != bool(usual.remaining)]
    folded = [one for one in others if one.stored != one.count][:1]
    lines = [
        ("identity at the start", _everywhere(one.identity for one in taken), identity),
        ("merges into the weights", _everywhere(not one.remaining for one in taken), merges),
    ]
    text = "".join(f"- {name}: {said}{_unless(differ)}\n" for name, said, differ in lines)
    kept = [one for one in (usual, *folded) if one.stored != one.count]
    said = "; ".join(
        f"of {one.count:,} trained {one.stored:,} are kept"
        + (f" with {_fields(one.changed)}" if one.changed else "")
        for one in kept[:1]
    )
    where = f" (tiny {home.anatomy.family})" if kept else ""
    return text + f"- kept after training: {said or 'all that is trained'}{where}\n"


def _taken(facts: Iterable[Facts]) -> list[Facts]:
    """Those that attached with the defaults."""
    return [one for one in facts if not one.refusal and not one.changed]


def _everywhere(values: Iterable[bool]) -> str:
    held = list(values)
    if not held:
        return "-"
    if len(set(held)) == 1:
        return "yes" if held[0] else "no"
    return f"on {sum(held)} of {len(held)} families"


def _unless(differ: Sequence[Facts]) -> str:
    """The changes under which it is otherwise."""
    if not differ:
        return ""
    return "; otherwise with " + " or ".join(dict.fromkeys(_fields(one.changed) for one in differ))


def _fields(changed: dict[str, Any]) -> str:
    return ", ".join(f"`{name}={value!r}`" for name, value in changed.items())


def _escaped(text: str) -> str:
    """Text of a cell: no bar in it, and no star that is no multiplication sign."""
    code = re.split(r"(`+.*?`+)", text.replace("|", "\\|"))
    return "".join(part if i % 2 else part.replace("*", "\\*") for i, part in enumerate(code))


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
