"""Answers to the walk's questions: at random, and so that every option is seen."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from typing import Any

from peftnas.spaces.architecture import Architecture
from peftnas.spaces.dimensions import dimensions
from peftnas.spaces.domains import Choice, Inclusion, Integer, Real
from peftnas.spaces.encoding import from_unit
from peftnas.spaces.tree import Ask, Choose, draw
from peftnas.spaces.tree_nodes import Node, leaves


def at_random(rng: random.Random) -> Choose:
    """Uniform over each domain (in the logarithm with ``log``), and over valid subsets."""

    draw_unit = rng.random

    def choose(path: str, domain: Ask) -> Any:
        if domain.__class__ is Inclusion:  # most questions, of which a walk asks hundreds
            return draw_unit() < domain.likelihood
        return from_unit(domain, draw_unit())

    return choose


def cover(nodes: Iterable[Node], n_layers: int, gate: Any) -> Iterator[Architecture]:
    """Architectures of one method each that together show every option of its choices."""
    for leaf in leaves(nodes):
        found = dimensions((leaf,), n_layers, gate)
        choices = [one.domain for one in found if isinstance(one.domain, Choice)]
        most = max((len(choice.options) for choice in choices), default=1)
        for turn in range(most):
            yield draw((leaf,), n_layers, gate, _turn(turn)).architecture


def _turn(turn: int) -> Choose:
    """The turn-th option of every choice (beginning again), all items, the largest number."""

    def choose(path: str, domain: Ask) -> Any:
        match domain:
            case Integer() | Real():
                return domain.high
            case Inclusion():
                return True
            case Choice(options=options):
                return options[turn % len(options)]

    return choose
