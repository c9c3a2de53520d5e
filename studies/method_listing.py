"""What a method class says of itself, as plain values: for the command line and the docs."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from peftnas.spaces.fields import settings

if TYPE_CHECKING:
    from peftnas.methods.base import Method

_SOURCE = re.compile(r"[A-Z][\w ]* (?:et al\. )?\d{4}\.\d{5}")
"""Authors and number of a paper, as docstrings name it."""

LEGEND = """\
A field takes a value, or a domain of values to search (Integer, Real, Choice,
Subset); where PerLayer, PerGroup is said, also a value or a domain a layer.
Every method has three more fields, for its modules alone: learning_rate (a
number > 0, the highest), rate_warmup (in [0, 1], the part of the steps in which
it rises) and weight_decay (>= 0, of matrices); None, the default: as the recipe
says. They belong to the training, not to the architecture: no count or size
reads them, but trials that differ in them are two.
In the counts: L active layers, d width of the backbone, n_in and n_out of a
linear, kv_width of keys and values."""


def listing(method: type[Method]) -> dict[str, Any]:
    """Names, first line, formula, source and own fields of a method; JSON values but defaults."""
    defaults = {field.name: field.default for field in dataclasses.fields(method)}
    return {
        "kind": method.kind,
        "name": method.__name__,
        "says": (method.__doc__ or "").strip().splitlines()[0],
        "formula": method.formula,
        "source": method.source,
        "fields": [
            {
                "name": name,
                "takes": declared.values.words,
                "default": defaults[name],
                "by_layer": declared.by_layer,
                "when": {field: list(values) for field, values in declared.when.items()},
                "help": declared.help,
            }
            for name, declared in settings(method).items()
            if not declared.training  # the same for all: see LEGEND
        ],
    }


def presets_listing() -> list[dict[str, str]]:
    """Call, first sentence and source of each published combination."""
    from peftnas.methods import presets

    found = []
    for name in presets.__all__:
        made = getattr(presets, name)
        text = " ".join((made.__doc__ or "").split())
        source = _SOURCE.search(text)
        found.append(
            {
                "name": name,
                "call": f"{name}({_arguments(made)})",
                "says": text.partition(". ")[0],
                "source": source[0] if source else "",
            }
        )
    return found


def _arguments(function: Callable[..., Any]) -> str:
    """Its arguments by name, those that may be left out as ``...``."""
    parameters = inspect.signature(function).parameters.values()
    needed = [one for one in parameters if one.default is one.empty]
    names = [f"{one.name}=" if one.kind is one.KEYWORD_ONLY else one.name for one in needed]
    return ", ".join([*names, *(["..."] if len(needed) < len(parameters) else [])])


def condition(when: Mapping[str, list[Any]]) -> str:
    """When a field matters, such as ``gate is None``; "" where always."""
    return " and ".join(
        f"{name} is {' or '.join(map(str, values))}" for name, values in when.items()
    )
