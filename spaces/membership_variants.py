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
from peftnas.spaces.structure import PerGroup, PerLayer
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


def variants(leaf: Leaf) -> Iterator[Variant]:
    """All variants of a leaf; the leaf itself where no field chooses a per-layer draw."""
    method = leaf.method
    choosing = [name for name in settings(type(method)) if _by_layer(getattr(method, name))]
    found = [list(_options(f"{leaf.path}.{name}", getattr(method, name))) for name in choosing]
    for combination in itertools.product(*found):
        options = dict(zip(choosing, combination, strict=True))
        yield Variant(
            Leaf(
                leaf.path, method.replace(**{k: option for k, (_, _, option) in options.items()})
            ),
            {path: label for chosen, _, _ in combination for path, label in chosen.items()},
            {name: path for name, (_, path, _) in options.items()},
        )


def _by_layer(held: Any) -> bool:
    """Whether a field holds a choice with a per-layer draw among its options."""
    return isinstance(held, Choice) and any(
        isinstance(option, PerLayer | PerGroup) or _by_layer(option) for option in held.options
    )


def _options(path: str, held: Any) -> Iterator[tuple[dict[str, Primitive], str, Any]]:
    """The answers that lead to each option, the path of its own questions, and the option."""
    if not _by_layer(held):
        yield {}, path, held
        return
    for (_, label), option in label_options(held).items():
        for chosen, below, inner in _options(f"{path}.{label}", option):
            yield {path: label} | chosen, below, inner
