"""Training settings of methods beside a recipe: which training an architecture is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from peftnas.spaces.architecture import Anatomy, Architecture
from peftnas.spaces.grouped import names_of
from peftnas.spaces.keys import arms_key
from peftnas.spaces.training_settings import own_training

RECIPE_FIELDS = {
    "learning_rate": "learning_rate",
    "rate_warmup": "warmup",
    "weight_decay": "weight_decay",
}
"""Training setting of a method -> the field of the recipe that it stands for."""


def recipe_values(own: Mapping[str, Any]) -> dict[str, Any]:
    """Training settings of a method under the names of the recipe."""
    return {RECIPE_FIELDS[name]: value for name, value in own.items()}


def arms_beside(architecture: Architecture, anatomy: Anatomy, recipe: Mapping[str, Any]) -> str:
    """The key of what methods train by where it is not what the recipe says; "" for nothing.

    Args:
        architecture: in canonical form.
        anatomy: of its backbone.
        recipe: as ``Recipe.to_dict`` writes it.
    """
    methods = []
    for method in architecture.methods:
        own = own_training(method)
        alike = [name for name in own if recipe.get(RECIPE_FIELDS[name]) == own[name]]
        methods.append(method.replace(**dict.fromkeys(alike)))
    return arms_key(Architecture(*methods), anatomy)


def own_values(architecture: Mapping[str, Any] | None, field: str) -> dict[str, Any]:
    """The values that methods have for a field of the recipe, by the methods' names.

    Args:
        architecture: as ``Architecture.to_dict`` writes it; ``None``: there is none.
        field: of the recipe, such as ``learning_rate``.
    """
    methods = (architecture or {}).get("methods", ())
    names = names_of(method["kind"] for method in methods)
    setting = next((name for name, known in RECIPE_FIELDS.items() if known == field), "")
    held = {name: method.get(setting) for name, method in zip(names, methods, strict=True)}
    return {name: value for name, value in held.items() if value is not None}
