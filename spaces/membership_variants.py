"""A method of a space by the options that its fields choose between, where some differ by layer.

``rank=Choice(PerLayer(Integer(0, 8)), 4)`` gives one variant that draws layer by layer and one
that holds 4; each is inverted for itself.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from peftnas.spaces.domains import Choice
from peftnas.spaces.fields import settings
from peftnas.spaces.membership_ties import NO_TIES, Ties
from peftnas.spaces.structure import ByGroup, PerGroup, PerLayer
from peftnas.spaces.ties import Shared, Switch, unshared
from peftnas.spaces.tree import Primitive
from peftnas.spaces.tree_nodes import Leaf, label_options


@dataclass(frozen=True)
class Variant:
    """One variant of a leaf.

    Attributes:
        leaf: the leaf, its fields holding the options themselves.
        chosen: the answers that choose these options.
        paths: path of each field that holds an option of a choice.
    """

    leaf: Leaf
    chosen: Mapping[str, Primitive]
    paths: Mapping[str, str]

    def path(self, name: str) -> str:
        """Where the questions of a field begin."""
        return self.paths.get(name, f"{self.leaf.path}.{name}")


def variants(leaf: Leaf, n_layers: int, ties: Ties = NO_TIES) -> Iterator[Variant]:
    """All variants of a leaf; the leaf itself where no field chooses its structure.

    Args:
        leaf: a method of a space.
        n_layers: layers of the backbone.
        ties: shared draws that are known.
    """
    method = leaf.method
    choosing = [name for name in settings(type(method)) if _branches(getattr(method, name))]
    found = [
        list(_options(f"{leaf.path}.{name}", getattr(method, name), n_layers, ties))
        for name in choosing
    ]
    for combination in itertools.product(*found):
        chosen: dict[str, Primitive] = {}
        if not all(merge(chosen, answers) for answers, _, _ in combination):
            continue
        options = dict(zip(choosing, combination, strict=True))
        held = {name: option for name, (_, _, option) in options.items()}
        yield Variant(
            Leaf(leaf.path, method.replace(**held)),
            chosen,
            {name: path for name, (_, path, _) in options.items()},
        )


def merge(values: dict[str, Primitive], more: Mapping[str, Primitive]) -> bool:
    """Put answers into ``values``; whether none contradicts one that is there."""
    agrees = all(values.get(path, value) == value for path, value in more.items())
    values.update(more)
    return agrees


def _branches(held: Any) -> bool:
    """Whether what a field holds depends on another answer than its own, or on a choice."""
    match held:
        case Shared() | Switch() | ByGroup():
            return True
        case PerGroup():
            return not isinstance(held.grouping, str)
        case Choice():
            return any(isinstance(o, PerLayer | PerGroup) or _branches(o) for o in held.options)
    return False


def _options(
    path: str, held: Any, n_layers: int, ties: Ties
) -> Iterator[tuple[dict[str, Primitive], str, Any]]:
    """The answers that lead to each option, the path of its own questions, and the option."""
    if not _branches(held):
        yield {}, path, held
        return
    below: list[tuple[str, Primitive, str, Any]] = []
    match held:
        case Shared(name) if held in ties:
            yield ties.answers(name), name, ties.value(name)
        case Shared(name, domain):
            yield from _options(name, domain, n_layers, ties)
        case Switch(on=on) if on in ties:
            option = ties.value(on.name)
            below = [(on.name, option, f"{path}.{option}", held.case(option))]
        case Switch(on=on, cases=cases):
            below = [(on.name, option, f"{path}.{option}", case) for option, case in cases]
        case Choice():
            labels = label_options(held).items()
            below = [(path, label, f"{path}.{label}", option) for (_, label), option in labels]
        case PerGroup():
            for answers, cut in groupings(path, held.grouping, ties):
                yield answers, path, held.cut_by(cut)
        case ByGroup():
            for answers, cut in groupings(path, held.grouping, ties):
                yield answers, path, held.table(range(n_layers), cut)
    for asked, answer, inner_path, option in below:
        for chosen, at, inner in _options(inner_path, option, n_layers, ties):
            answers = {asked: answer}
            if merge(answers, chosen):
                yield answers, at, inner


def groupings(
    path: str, grouping: Any, ties: Ties = NO_TIES
) -> Iterator[tuple[dict[str, Primitive], str]]:
    """The groupings that a field can have, and the answers that choose them."""
    if grouping in ties:
        yield ties.answers(grouping.name), ties.value(grouping.name)
        return
    asked = grouping.name if isinstance(grouping, Shared) else f"{path}.grouping"
    domain = unshared(grouping)
    if isinstance(domain, Choice):
        yield from (({asked: option}, option) for option in domain.options)
    else:
        yield {}, domain
