"""Recipe: fields, ranges, domains, JSON."""

import json

import pytest

from peftnas.search.recipe import Recipe
from peftnas.spaces import Choice, Integer, Real
from peftnas.spaces.fields import settings


def test_json_round_trip_is_exact() -> None:
    recipe = Recipe(steps=7, learning_rate=0.1, schedule="cosine", dtype="bfloat16")
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe
    assert set(recipe.to_dict()) == set(settings(Recipe))


def test_missing_fields_take_defaults() -> None:
    assert Recipe.from_dict({"steps": 3}) == Recipe(steps=3)


def test_fields_hold_domains() -> None:
    recipe = Recipe(
        learning_rate=Real(1e-4, 1e-2, log=True),
        batch_size=Choice(16, 32),
        steps=Integer(10, 20),
        pooling=Choice("mean", "native"),
    )
    with pytest.raises(ValueError, match="draw from it first"):
        recipe.to_dict()


@pytest.mark.parametrize(
    "field",
    [
        {"steps": 0},
        {"steps": 2.5},
        {"batch_size": 0},
        {"learning_rate": 0.0},
        {"head_learning_rate": 0.0},
        {"learning_rate": Real(-1.0, 1.0)},
        {"schedule": "step"},
        {"warmup": 1.5},
        {"dropout": 1.0},
        {"pooling": Choice("mean", "max")},
        {"dtype": "float16"},
        {"evaluations": 0},
    ],
    ids=str,
)
def test_values_out_of_range_are_refused(field: dict[str, object]) -> None:
    (name,) = field
    with pytest.raises(ValueError, match=rf"Recipe\.{name} must be"):
        Recipe(**field)


def test_unknown_fields_are_named() -> None:
    with pytest.raises(ValueError, match="no field 'epochs'"):
        Recipe.from_dict({"epochs": 3})
