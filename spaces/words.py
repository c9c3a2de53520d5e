"""A space as a tree in words."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from peftnas.spaces.domains import Choice, Integer, Real, Subset
from peftnas.spaces.fields import Configurable, default_of, settings
from peftnas.spaces.grouped import Grouped
from peftnas.spaces.space_checks import ties
from peftnas.spaces.structure import ByGroup, Maybe, PerGroup, PerLayer
from peftnas.spaces.ties import Shared, Switch

if TYPE_CHECKING:
    from peftnas.spaces.space import SearchSpace


_GROUPS = "groups of layers"


def tree(space: SearchSpace, max_parameters: int | None, stacks: tuple[int, ...] = ()) -> str:
    """The space, one line for each method and field that is drawn or differs from its default.

    Args:
        space: the space as defined.
        max_parameters: its budget on the backbone; ``None``: no limit.
        stacks: how many layers each stack of the backbone has.
    """
    lines = ["search space"]
    told = {tie.name: tie for tie in ties(space.items)}
    blocks = [[f"{name}, drawn once: {domain_words(tie.domain)}"] for name, tie in told.items()]
    blocks += [_item(item, told) for item in space.items]
    if space.gate is not None:
        gate = domain_words(space.gate, told)
        blocks.append([f"gate: {gate}, one for all methods that can carry it"])
    if len(stacks) > 1 and any(_GROUPS in line for block in blocks for line in block):
        layers = " and ".join(map(str, stacks))
        blocks.append([f"{_GROUPS}: stacks of {layers} layers are cut apart, each into so many"])
    limits = []
    if max_parameters is not None:
        percent = f" ({space.max_parameters} of the backbone)"
        note = percent if isinstance(space.max_parameters, str) else ""
        limits.append(f"at most {max_parameters:,} trainable parameters{note}")
    if space.at_least_one_method:
        limits.append("at least one method")
    limits += [constraint.words() for constraint in space.constraints]
    blocks += [[limit] for limit in limits]
    return "\n".join(lines + _branches(blocks))


def domain_words(value: Any, told: Collection[str] = ()) -> str:
    """A domain, or a held value, in words.

    Args:
        value: to be told.
        told: names of shared draws whose domain is told elsewhere.
    """
    match value:
        case Integer(low, high, log, step):
            notes = [", log scale"] if log else [f", step {step}"] if step > 1 else []
            return f"{low} to {high}{''.join(notes)}"
        case Real(low, high, log):
            return f"{low:g} to {high:g} (real{', log scale' if log else ''})"
        case Choice(options=options):
            return "one of " + ", ".join(_each(options, told))
        case Subset():
            of = "the layers" if value.layers else ", ".join(map(str, value.items))
            most = "" if value.max_size is None else f", at most {value.max_size}"
            return f"a subset of {of}, at least {value.min_size}{most}"
        case PerLayer(inner):
            return f"for each layer {domain_words(inner, told)}"
        case PerGroup(n, inner, grouping):
            cut = _grouping_words(grouping, told)
            return f"for each of {n} {_GROUPS}{cut} {domain_words(inner, told)}"
        case ByGroup(values=values, grouping=grouping):
            cut = _grouping_words(grouping, told)
            return f"{', '.join(map(str, values))} by {_GROUPS}{cut}"
        case Shared(name, inner):
            return name if name in told else f"{name}, shared: {domain_words(inner)}"
        case Switch(on=on, cases=cases):
            parts = [
                f"{domain_words(held, told)} where {on.name} is {option}" for option, held in cases
            ]
            return "; ".join(parts)
        case None:
            return "none"
        case tuple():
            return "(" + ", ".join(map(str, value)) + ")"
        case _:
            return str(value)


def _each(options: Iterable[Any], told: Collection[str]) -> Iterator[str]:
    return (domain_words(option, told) for option in options)


def _grouping_words(grouping: Any, told: Collection[str]) -> str:
    return "" if grouping == "uniform" else f" ({domain_words(grouping, told)})"


def _item(item: Any, told: Collection[str]) -> list[str]:
    match item:
        case None:
            return ["no method"]
        case Maybe(Configurable() as method):
            return [f"{method.kind}, or absent", *_branches(_fields(method, told))]
        case Maybe(Choice(options=options)):
            blocks = [_item(option, told) for option in (None, *options)]
            return ["one of", *_branches(blocks)]
        case Choice(options=options):
            return ["one of", *_branches([_item(option, told) for option in options])]
        case Grouped():
            most = "" if item.max_size is None else f", at most {item.max_size}"
            where = "layer" if item.n is None else f"of {item.n} {_GROUPS}"
            note = f"at least {item.min_size}{most} of these in each {where}"
            blocks = [_item(method, told) for method in item.methods]
            if item.tuned is not None:
                blocks.insert(0, [f"tuned groups: {domain_words(item.tuned, told)}"])
            return [f"{note}{_grouping_words(item.grouping, told)}", *_branches(blocks)]
        case Maybe(content):
            head, *rest = _item(content, told)
            return [f"{head}, or absent", *rest]
        case _:
            return [item.kind, *_branches(_fields(item, told))]


def _fields(method: Configurable, told: Collection[str]) -> list[list[str]]:
    cls = type(method)
    lines = []
    for name, declared in settings(cls).items():
        value = getattr(method, name)
        if value == default_of(cls, name):
            continue
        conditions = [
            f"{field} is {' or '.join(map(domain_words, allowed))}"
            for field, allowed in declared.when.items()
        ]
        when = f" (when {' and '.join(conditions)})" if conditions else ""
        if isinstance(value, Switch):
            cases = [[f"{option}: {domain_words(held, told)}"] for option, held in value.cases]
            lines.append([f"{name} depends on {value.on.name}{when}", *_branches(cases)])
        else:
            lines.append([f"{name}: {domain_words(value, told)}{when}"])
    return lines


def _branches(blocks: list[list[str]]) -> list[str]:
    lines = []
    for i, block in enumerate(blocks):
        last = i == len(blocks) - 1
        lines.append(("└─ " if last else "├─ ") + block[0])
        lines += [("   " if last else "│  ") + line for line in block[1:]]
    return lines
