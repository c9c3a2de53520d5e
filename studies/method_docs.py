"""``docs/methods.md``: every method as its class says it and as attaching it shows."""

from __future__ import annotations

import inspect
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from peftnas.studies.method_listing import LEGEND, condition, listing, presets_listing

if TYPE_CHECKING:
    from peftnas.methods.anatomies import Family
    from peftnas.methods.base import Method
    from peftnas.methods.testing.facts import Facts, TinyBackbone

HEAD = """\
# Methods

Written by `make docs` from the code; do not edit it. What is said of identity, merging and what is
kept was measured by attaching each method to a tiny random backbone of each family and running it.

"""
WORDS = """\
## Words

- **Sites** have names of their own, the same for every backbone; `peftnas doctor --backbone
  FOLDER` shows those of one with the modules behind them. Sublayers of a layer: `attention`,
  `cross_attention` (a decoder's, over the encoder), `ffn`, and `mixer` (Mamba's only one).
  Linears: `query`, `key`, `value`, `output` of an attention, the same with `cross_` before; `up`
  (into the wide side of the FFN), `gate_proj` (the second one into it, where the FFN is gated),
  `down` (out of it); `in_proj` and `x_proj` of a mixer. Outside the layers: `embeddings_project`,
  `pooler`, `output_project`, and norms such as `embeddings_norm` and `final_norm`.
- **Layers** are numbered from 0 through all stacks of a backbone, an encoder's first.
- **PerLayer(domain)** draws a value for each active layer, **PerGroup(n, domain)** one for each of
  n groups of neighbouring layers (the first ones larger where they do not divide evenly; an
  encoder and its decoder are cut apart, each into n groups),
  **ByLayer({layer: value})** holds one for each; `from peftnas.spaces import PerLayer, PerGroup,
  ByLayer`. A field takes them where its row says PerLayer, PerGroup.
- **Canonical form**: one spelling for all architectures that are the same network on a backbone,
  without absent parts and fields that have no effect, methods in a fixed order. Two trials with
  one canonical form are one.
- **Identity**: with the modules as they start, the backbone gives what it gave before.

"""
FAMILIES_HEAD = """\
## Families

Backbones of one layout are one column of the next table. A family of your own: CONTRIBUTING.md,
"Add a backbone family".

"""
MATRIX = """\
## Which method attaches to which family

`yes`: with its defaults. `yes` with a number: with the fields in the note, where the defaults are
refused. `no`: refused; the note is the sentence that says why.

"""
PRESETS = """\
## Published combinations

`from peftnas.methods import presets`; each function gives an `Architecture`, `help(presets.mam)`
says what its arguments are. Where an `anatomy` is taken, it is `describe(model)`.

"""
SUMMARY = """\
## At a glance

With the defaults, measured on every family that takes them. *Identity*: at the start the
backbone's output is unchanged, bit for bit. *Merges*: after training it can be folded into the
weights. *Kept*: the part of the trained parameters that is kept after training; a field may change
that, see the method.

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
        WORDS,
        _families(),
        _matrix(facts, models),
        _at_a_glance(facts),
        "## The methods\n\n",
        f"{LEGEND}\n\n",
    ]
    for kind, method in METHODS.items():
        home = _home(facts[kind], backbones)
        parts += [described(method), _measured(method, facts[kind], home), fields_table(method)]
    parts.append(_presets())
    return "".join(parts).rstrip("\n") + "\n"


def _presets() -> str:
    """The published combinations."""
    rows = [
        [f"`{one['call']}`", _escaped(one["says"]), one["source"]] for one in presets_listing()
    ]
    return PRESETS + _table(["preset", "what it is", "source"], rows)


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


def _families() -> str:
    """The model types of each family, and what tells families of one model type apart."""
    from peftnas.methods.anatomies import FAMILIES

    pairs = {(name, family.name) for family in FAMILIES for name in family.model_types}
    shared = Counter(name for name, _ in pairs)
    rows = {}
    for family in FAMILIES:
        conditions = ", ".join(f"{name}={value}" for name, value in family.when.items())
        types = [
            name if shared[name] == 1 else f"{name} with `{conditions}`"
            for name in family.model_types
        ]
        rows[family.name] = [", ".join(types), family.positions, ", ".join(_stacks(family))]
    heads = ["family", "model types", "positions", "stacks"]
    return FAMILIES_HEAD + _table(heads, [[name, *row] for name, row in rows.items()]) + "\n"


def _stacks(family: Family) -> list[str]:
    return [stack.name or ("decoder" if stack.causal else "encoder") for stack in family.stacks]


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
        taken = _taken(by_family)
        try:
            trained = count(Architecture(METHODS[kind]()), base)
            share = f"{trained:,} ({100 * trained / base.backbone_parameters:.2f} %)"
        except ValueError:  # not on this backbone
            share = "-"
        rows.append(
            [
                f"[{kind}](#{kind}-{METHODS[kind].__name__.lower()})",
                _everywhere({family: one.identity for family, one in taken.items()}),
                _everywhere({family: not one.remaining for family, one in taken.items()}),
                _kept(taken.values()),
                share,
            ]
        )
    heads = ["method", "identity", "merges", "kept", "trained on BERT base"]
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

    taken = _taken(facts)
    if home is None or not taken:
        return "- measured: no family takes its defaults\n"
    usual = home.try_out(method)
    others = [home.try_out(method, **fields) for fields in single_changes(method, parts=False)]
    others = [one for one in others if not one.refusal]
    identity = [one for one in others if one.identity != usual.identity]
    merges = [one for one in others if bool(one.remaining) != bool(usual.remaining)]
    identical = _everywhere({family: one.identity for family, one in taken.items()})
    merging = _everywhere({family: not one.remaining for family, one in taken.items()})
    identical += _but("no" if usual.identity else "yes", identity)
    merging += _but("yes" if usual.remaining else "no", merges)
    text = f"- identity at the start: {identical}\n- merges into the weights: {merging}\n"
    where = f"(tiny {home.anatomy.family})"
    if usual.stored != usual.count:
        return text + f"- kept after training: {_stored(usual)} {where}\n"
    folded = [one for one in others if one.stored != one.count]
    said = "".join(f"; with {_fields(one.changed)} {_stored(one)} {where}" for one in folded[:1])
    return text + f"- kept after training: all that is trained{said}\n"


def _stored(one: Facts) -> str:
    return f"{one.stored:,} for {one.count:,} trained"


def _taken(facts: dict[str, Facts]) -> dict[str, Facts]:
    """Those that attached with the defaults, by family."""
    return {family: one for family, one in facts.items() if not one.refusal and not one.changed}


def _everywhere(held: dict[str, bool]) -> str:
    """Whether something holds, with the families in which it is otherwise."""
    if not held:
        return "-"
    yes, no = (
        [family for family, one in held.items() if one is wanted] for wanted in (True, False)
    )
    if not yes or not no:
        return "yes" if yes else "no"
    if len(yes) >= len(no):
        return f"yes, but not on {', '.join(no)}"
    return f"no, but on {', '.join(yes)}"


def _kept(taken: Iterable[Facts]) -> str:
    """How what is kept compares with what is trained, with the defaults."""
    signs = {(one.stored > one.count) - (one.stored < one.count) for one in taken}
    words = {0: "all", -1: "fewer", 1: "more"}
    return " or ".join(words[sign] for sign in sorted(signs)) or "-"


def _but(said: str, differ: Sequence[Facts]) -> str:
    """The smallest changes of fields under which it is otherwise."""
    changes = [one.changed for one in differ]
    smallest = [
        _fields(change)
        for change in changes
        if not any(other.items() < change.items() for other in changes)
    ]
    return f"; {said} with {' or '.join(dict.fromkeys(smallest))}" if smallest else ""


def _fields(changed: dict[str, Any]) -> str:
    return ", ".join(f"`{name}={value!r}`" for name, value in changed.items())


def _escaped(text: str) -> str:
    """Text of a cell: no bar in it, and no star that is no multiplication sign."""
    code = re.split(r"(`+.*?`+)", text.replace("|", "\\|"))
    return "".join(part if i % 2 else part.replace("*", "\\*") for i, part in enumerate(code))


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
