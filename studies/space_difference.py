"""How two search spaces differ: what only one of them has, and what both draw otherwise."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from peftnas.spaces.domains import Choice
from peftnas.spaces.fields import Configurable, default_of, settings
from peftnas.spaces.grouped import Grouped
from peftnas.spaces.space import SearchSpace
from peftnas.spaces.structure import Maybe
from peftnas.spaces.tree_nodes import item_names
from peftnas.spaces.words import domain_words, tree
from peftnas.studies.space_facts import SpaceFacts, size_dict

N_DRAWN = 200


@dataclass(frozen=True)
class _Entry:
    """What a space says of one thing; ``usual``: what it need not have said."""

    words: str
    usual: bool = False


Named = tuple[str, _Entry]
_NOT_THERE = _Entry("-")


@dataclass(frozen=True)
class Overlap:
    """How many architectures drawn from one space lie in the other.

    Attributes:
        drawn: how many were drawn.
        inside: how many of them lie in the other space.
        uniformly: whether all were equally likely.
        why_not: the commonest rule by which the others are outside, in one sentence, if any are.
    """

    drawn: int
    inside: int
    uniformly: bool
    why_not: str | None

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return dict(vars(self))


@dataclass(frozen=True)
class Difference:
    """Two spaces beside each other.

    Attributes:
        only: of each, the names of the items that the other does not have.
        changed: name of an item or a field -> what it is in each, in words.
        same: names of what is the same in both, but for fields that both leave at their default.
        overlaps: of draws from the first in the second, and the other way round.
    """

    only: tuple[tuple[str, ...], tuple[str, ...]]
    changed: dict[str, tuple[str, str]]
    same: tuple[str, ...]
    overlaps: tuple[Overlap, Overlap]


def difference(one: SpaceFacts, other: SpaceFacts) -> Difference:
    """How two spaces differ, each on its study's backbone."""
    spaces = [facts.bound.space for facts in (one, other)]
    items = [dict(zip(item_names(space.items), space.items, strict=True)) for space in spaces]
    only = [
        tuple(name for name in mine if name not in theirs) for mine, theirs in (items, items[::-1])
    ]
    left, right = (_entries(facts, items[0].keys() & items[1].keys()) for facts in (one, other))
    # of the recipe, what neither searches is no matter of the spaces
    searched = one.recipe_domains.keys() | other.recipe_domains.keys()
    names = [
        name
        for name in dict.fromkeys([*left, *right])
        if name in searched or not name.startswith("recipe.")
    ]
    pairs = {name: (left.get(name, _NOT_THERE), right.get(name, _NOT_THERE)) for name in names}
    return Difference(
        (only[0], only[1]),
        {name: (a.words, b.words) for name, (a, b) in pairs.items() if a.words != b.words},
        tuple(name for name, (a, b) in pairs.items() if a.words == b.words and not a.usual),
        (_overlap(one, other), _overlap(other, one)),
    )


def items_tree(facts: SpaceFacts, names: tuple[str, ...]) -> str:
    """Some items of a space, drawn."""
    items = facts.bound.space.items
    some = [item for name, item in zip(item_names(items), items, strict=True) if name in names]
    _, *lines = tree(SearchSpace(*some), None).splitlines()
    return "\n".join(lines)


def difference_dict(one: SpaceFacts, other: SpaceFacts, found: Difference) -> dict[str, Any]:
    """All of it, as JSON values; pairs are in the order of the two spaces."""
    return {
        "spaces": [
            {
                "study": facts.study.name,
                "backbone": facts.backbone.name,
                "backbone_parameters": facts.backbone_parameters,
                "size": size_dict(facts.size),
                "raw_size": size_dict(facts.raw_size),
                "max_parameters": facts.bound.max_parameters,
                "trainable_parameters": list(facts.trainable_parameters),
            }
            for facts in (one, other)
        ],
        "only": [list(names) for names in found.only],
        "changed": {name: list(pair) for name, pair in found.changed.items()},
        "same": list(found.same),
        "overlaps": [overlap.to_dict() for overlap in found.overlaps],
    }


def _overlap(one: SpaceFacts, other: SpaceFacts) -> Overlap:
    bound, seed = one.bound, one.study.seed
    uniformly = one.size.exact
    if uniformly:
        drawn = bound.uniform(N_DRAWN, seed)
    else:
        drawn = [bound.sample(seed + number) for number in range(N_DRAWN)]
    reasons = [other.bound.why_not(architecture) for architecture in drawn]
    outside = [reason for reason in reasons if reason is not None]
    # the same rule is said with other values each time
    rules = Counter(reason.partition(", got ")[0] for reason in outside)
    commonest = rules.most_common(1)[0][0] if rules else None
    example = next((one for one in outside if one.partition(", got ")[0] == commonest), None)
    return Overlap(len(drawn), len(drawn) - len(outside), uniformly, example)


def _entries(facts: SpaceFacts, names: set[str]) -> dict[str, _Entry]:
    """What a space says of each item and field, by the name of its dimension."""
    space = facts.bound.space
    found: dict[str, _Entry] = {}
    for name, item in zip(item_names(space.items), space.items, strict=True):
        if name in names:
            found |= dict(_of_item(name, item))
    found["gate"] = _Entry(domain_words(space.gate), space.gate is None)
    limit = facts.bound.max_parameters
    given = f" ({space.max_parameters})" if isinstance(space.max_parameters, str) else ""
    words = "no limit" if limit is None else f"{limit:,}{given}"
    found["max_parameters"] = _Entry(words, limit is None)
    constraints = "; ".join(facts.constraints)
    found["constraints"] = _Entry(constraints or "none", not constraints)
    return found | dict(_fields("recipe", facts.study.recipe))


def _of_item(path: str, item: Any, presence: str = "always present") -> Iterator[Named]:
    match item:
        case Configurable():
            yield path, _Entry(presence)
            yield from _fields(path, item)
        case Grouped():
            most = "" if item.max_size is None else f", at most {item.max_size}"
            groups = "layer" if item.n is None else f"of {item.n} groups of layers"
            methods = ", ".join(item.labels)
            yield path, _Entry(f"at least {item.min_size}{most} of {methods} in each {groups}")
            yield f"{path}.grouping", _Entry(domain_words(item.grouping))
            yield f"{path}.tuned", _Entry(domain_words(item.tuned) if item.tuned else "all groups")
            for label, method in zip(item.labels, item.methods, strict=True):
                yield from _fields(f"{path}.{label}", method)
        case Maybe(Configurable() as content):
            yield from _of_item(path, content, "present or absent")
        case Maybe(content):
            inner = content.options if isinstance(content, Choice) else (content,)
            yield from _of_options(path, (None, *inner))
        case Choice(options=options):
            yield from _of_options(path, options)


def _of_options(path: str, options: tuple[Any, ...]) -> Iterator[Named]:
    labels = item_names(options)
    yield path, _Entry(f"one of {', '.join(labels)}")
    for label, option in zip(labels, options, strict=True):
        if option is not None:
            inside = list(_of_item(f"{path}.{label}", option))
            yield from inside if not isinstance(option, Configurable) else inside[1:]


def _fields(path: str, config: Configurable) -> Iterator[Named]:
    for name in settings(type(config)):
        held = getattr(config, name)
        words = "all layers" if name == "layers" and held is None else domain_words(held)
        yield f"{path}.{name}", _Entry(words, held == default_of(type(config), name))
