"""Hundreds of random architectures and spaces, written and read; run in processes of their own.

``python -m tests.methods.round_trips SEED FILE write`` writes them; with ``read`` at its end
another process makes the same and compares. Both print a digest of the JSON and the keys of all.
"""

from __future__ import annotations

import hashlib
import json
import random
import sys
from pathlib import Path
from typing import Any

from peftnas.methods import METHODS, Anatomy, describe
from peftnas.methods.testing.tiny import CONFIGS
from peftnas.spaces import (
    Architecture,
    ByLayer,
    Choice,
    Domain,
    Integer,
    Maybe,
    PerGroup,
    PerLayer,
    Real,
    SearchSpace,
    Subset,
)
from peftnas.spaces.fields import (
    AnyOf,
    Layers,
    Number,
    OneOf,
    Sizes,
    SomeOf,
    Tokens,
    Values,
    Whole,
)
from peftnas.spaces.fields import settings as fields_of
from peftnas.spaces.keys import function_key, train_key

EACH = 300


def value(rng: random.Random, values: Values, anatomy: Anatomy) -> Any:
    """One that a field takes."""
    match values:
        case Whole(low, high):
            return rng.randint(low, low + 5 if high is None else min(high, low + 5))
        case Number():
            return rng.choice([x for x in (0.1, 1 / 3, 0.7, 2.5, 1e-4, 3) if values.takes(x)])
        case OneOf():
            return rng.choice(values.values)
        case SomeOf():
            known = [item for item in values.items if item in anatomy.targets] or values.items
            return tuple(rng.sample(list(known), rng.randint(1, min(3, len(known)))))
        case Sizes() | Tokens():
            return tuple(rng.randint(1, 4) for _ in range(rng.randint(1, 3)))
        case Layers():
            return rng.choice([None, (0,), (0, 2), (2, 1)])
        case AnyOf():
            return value(rng, rng.choice(values.kinds), anatomy)
    raise AssertionError(f"no value for {values!r}")


def domain(rng: random.Random, name: str, values: Values, anatomy: Anatomy) -> Any:
    """A domain of values that a field takes."""
    if name == "layers":
        return rng.choice([Subset.of_layers(), Subset.of_layers(min_size=0), Subset(0, 2)])
    whole = isinstance(values, Whole) and values.high is None and values.low <= 1
    if whole and rng.random() < 0.5:
        return Integer(1, rng.randint(2, 9), log=rng.random() < 0.5)
    if isinstance(values, Number) and values.high is None:
        return Real(0.1, 0.1 + rng.random(), log=rng.random() < 0.5)
    options = dict.fromkeys(value(rng, values, anatomy) for _ in range(4))
    return Choice(*options) if len(options) > 1 else next(iter(options))


def method(rng: random.Random, anatomy: Anatomy, domains: bool) -> Any:
    """One of any kind with some fields set; ``None`` where a rule over fields forbids them."""
    cls = METHODS[rng.choice([kind for kind in METHODS if kind != "full"])]
    chosen: dict[str, Any] = {}
    for name, declared in fields_of(cls).items():
        if rng.random() < 0.5:
            continue
        drawn = domains and rng.random() < 0.6

        def draw(name: str = name, values: Values = declared.values, drawn: bool = drawn) -> Any:
            return domain(rng, name, values, anatomy) if drawn else value(rng, values, anatomy)

        chosen[name] = draw()
        if declared.by_layer and rng.random() < 0.3:
            table = {layer: draw() for layer in range(anatomy.n_layers)}
            structure = rng.choice([PerLayer, lambda inner: PerGroup(2, inner)])
            inner = chosen[name]
            if not drawn:
                chosen[name] = ByLayer(table)
            elif isinstance(inner, Domain):
                chosen[name] = structure(inner)
    try:
        return cls(**chosen)
    except ValueError:
        return None


def architectures(rng: random.Random, anatomy: Anatomy) -> list[Architecture]:
    """Random ones, whether or not the backbone takes them."""
    found: list[Architecture] = []
    while len(found) < EACH:
        methods = [method(rng, anatomy, False) for _ in range(rng.randint(0, 3))]
        try:
            found.append(Architecture(*(one for one in methods if one is not None)))
        except ValueError:  # they cannot stand together
            continue
    return found


def spaces(rng: random.Random, anatomy: Anatomy) -> list[SearchSpace]:
    """Random ones."""
    found: list[SearchSpace] = []
    while len(found) < EACH:
        methods = [one for _ in range(3) if (one := method(rng, anatomy, True)) is not None]
        shapes: list[Any] = [Maybe(methods[0]), *methods[1:]] if methods else []
        if len(methods) == 3:
            shapes = [Choice(methods[0], None), Maybe(Choice(*methods[1:]))]
        limit = rng.choice([None, "2%", 1000, "0.5%"])
        try:
            found.append(
                SearchSpace(*shapes, max_parameters=limit, at_least_one_method=rng.random() < 0.5)
            )
        except ValueError:  # they cannot stand together
            continue
    return found


def key_pair(architecture: Architecture, anatomy: Anatomy) -> list[str]:
    """Both keys; the refusal where the backbone does not take the architecture."""
    try:
        placements = anatomy.place(anatomy.canonical(architecture))
    except ValueError as error:
        return [str(error)]
    return [train_key(placements), function_key(placements, anatomy)]


def main(seed: int, file: Path, read: bool) -> str:
    """The digest of all that is written and read."""
    anatomy = describe(CONFIGS["bert"]())
    rng = random.Random(seed)
    objects: list[Any] = [*architectures(rng, anatomy), *spaces(rng, anatomy)]
    texts = [json.dumps(one.to_dict()) for one in objects]
    if read:
        # what the other process wrote is what this one makes, and comes back as equal objects
        assert json.loads(file.read_text(encoding="utf-8")) == texts
    else:
        file.write_text(json.dumps(texts), encoding="utf-8")
    for one, text in zip(objects, texts, strict=True):
        again = type(one).from_dict(json.loads(text))
        assert again == one and hash(again) == hash(one) and repr(again) == repr(one)
        assert json.dumps(again.to_dict()) == text
    keys = [key_pair(one, anatomy) for one in objects[:EACH]]
    return hashlib.sha256(json.dumps([texts, keys]).encode()).hexdigest()


if __name__ == "__main__":
    print(main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] == "read"))
