"""Neural architecture search for parameter-efficient fine-tuning.

``import peftnas`` is cheap: the names below load their packages (and torch) on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from peftnas.search import Recipe, Study
    from peftnas.spaces import (
        Architecture,
        ByGroup,
        Choice,
        Grouped,
        Integer,
        Maybe,
        PerGroup,
        PerLayer,
        Real,
        SearchSpace,
        Shared,
        Subset,
        Switch,
        at_least,
        forbid,
        max_stored_bytes,
        max_train_memory_bytes,
    )

__version__ = "0.1.0"

_SPACES = (
    "Architecture",
    "ByGroup",
    "Choice",
    "Grouped",
    "Integer",
    "Maybe",
    "PerGroup",
    "PerLayer",
    "Real",
    "SearchSpace",
    "Shared",
    "Subset",
    "Switch",
    "at_least",
    "forbid",
    "max_stored_bytes",
    "max_train_memory_bytes",
)
_SEARCH = ("Recipe", "Study")

__all__ = [
    "Architecture",
    "ByGroup",
    "Choice",
    "Grouped",
    "Integer",
    "Maybe",
    "PerGroup",
    "PerLayer",
    "Real",
    "Recipe",
    "SearchSpace",
    "Shared",
    "Study",
    "Subset",
    "Switch",
    "at_least",
    "forbid",
    "max_stored_bytes",
    "max_train_memory_bytes",
]


def __getattr__(name: str) -> Any:
    if name in _SPACES:
        return getattr(import_module("peftnas.spaces"), name)
    if name in _SEARCH:
        return getattr(import_module("peftnas.search"), name)
    # a class of methods, such as LoRA: said once somebody asks, since it loads torch
    if name[:1].isupper() and hasattr(import_module("peftnas.methods"), name):
        raise AttributeError(
            f"module 'peftnas' has no attribute {name!r}; write from peftnas.methods import {name}"
        )
    raise AttributeError(f"module 'peftnas' has no attribute {name!r}")
