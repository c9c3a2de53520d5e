"""Make the table of learning curves that the benchmark of halving runs on.

    python -m peftnas.studies.benchmarks.halving.make_table [--seed 0] [--out table.npz]

Four PEFT families with conditional fields on a backbone of 12 layers and width 384: LoRA,
adapters, prefixes and (IA)^3. The error at the last step is a front over the logarithm of
parameters (convex, concave, or with a knee) plus what a point loses: a learning rate that does not
suit its family and size, poor targets, effects of pairs of fields, and luck of its own. Curves
cross: large points and low rates start slowly, and the start says little of the end.

``luck``, ``wander`` and ``crossing`` make tables unlike the kept one, so that no rule is chosen
for one table alone.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from peftnas.studies.benchmarks.halving.table import KEPT

Array = NDArray[np.float64]
LAYERS, WIDTH, FFN = 12, 384, 1536
SHAPES = ("convex", "concave", "knee")
STEPS = 27
RATES = [1e-4, 3e-4, 1e-3, 3e-3, 1e-2]
# parameters of one layer for each unit of rank
TARGETS = {"q": 768, "qv": 1536, "qkvo": 3072, "ffn": 3840, "all": 6912}


def _field(name: str, options: list[Any], ordered: bool, family: str | None = None) -> Any:
    when = {"family": [family]} if family else None
    return {"name": name, "options": options, "ordered": ordered, "when": when}


FIELDS = [
    _field("family", ["lora", "adapter", "prefix", "ia3"], False),
    _field("learning_rate", RATES, True),
    _field("layers", [3, 6, 9, 12], True),
    _field("lora.rank", [1, 2, 4, 8, 16, 32, 64], True, "lora"),
    _field("lora.targets", list(TARGETS), False, "lora"),
    _field("adapter.bottleneck", [2, 4, 8, 16, 32, 64, 128], True, "adapter"),
    _field("adapter.site", ["attention", "ffn", "both"], False, "adapter"),
    _field("adapter.activation", ["relu", "gelu"], False, "adapter"),
    _field("prefix.length", [1, 4, 10, 20, 50, 100], True, "prefix"),
    _field("prefix.flat", [True, False], False, "prefix"),
    _field("ia3.targets", ["kv", "ffn", "all"], False, "ia3"),
]


def points() -> tuple[NDArray[np.int64], Array]:
    """All combinations, shape (n, fields), and their parameters, shape (n,)."""
    rows, counts = [], []
    for family in range(len(FIELDS[0]["options"])):
        name = FIELDS[0]["options"][family]
        active = [f["when"] is None or f["when"]["family"] == [name] for f in FIELDS]
        choices = [
            range(len(f["options"])) if on else [-1] for f, on in zip(FIELDS, active, strict=True)
        ]
        choices[0] = [family]
        for row in itertools.product(*choices):
            rows.append(row)
            counts.append(
                _count(
                    {
                        f["name"]: f["options"][i]
                        for f, i in zip(FIELDS, row, strict=True)
                        if i >= 0
                    }
                )
            )
    return np.asarray(rows, dtype=np.int64), np.asarray(counts, dtype=np.float64)


def _count(at: dict[str, Any]) -> int:
    layers = int(at["layers"])
    match at["family"]:
        case "lora":
            return layers * TARGETS[at["lora.targets"]] * int(at["lora.rank"])
        case "adapter":
            sites = 2 if at["adapter.site"] == "both" else 1
            width = int(at["adapter.bottleneck"])
            return layers * sites * (2 * WIDTH * width + WIDTH + width)
        case "prefix":
            hidden = 0 if at["prefix.flat"] else WIDTH * 16
            return layers * (2 * WIDTH * int(at["prefix.length"]) + hidden)
        case _:
            return (
                layers * {"kv": 2 * WIDTH, "ffn": FFN, "all": 2 * WIDTH + FFN}[at["ia3.targets"]]
            )


def front(shape: str, size: Array) -> Array:
    """The best error at each size in [0, 1]."""
    if shape == "convex":
        return np.asarray(0.08 + 0.42 * (1 - size) ** 2.5)
    if shape == "concave":
        return np.asarray(0.08 + 0.42 * (1 - size**2.2))
    return np.asarray(0.08 + np.where(size < 0.45, 0.42 - 0.8 * size, 0.06 * (1 - size) / 0.55))


def make(
    seed: int = 0,
    *,
    part: float = 1.0,
    luck: float = 0.02,
    wander: float = 1.0,
    crossing: float = 1.0,
    steps: int = STEPS,
) -> dict[str, Any]:
    """The arrays of a table.

    Args:
        seed: the same seed and settings give the same table.
        part: of all combinations that the table holds, at random.
        luck: standard deviation of what a point wins or loses for no reason that shows.
        wander: how much a curve strays on its way; 1.0 as in the kept table.
        crossing: how much the start depends on other things than the end; 1.0 as in the kept one.
        steps: of a full trial.
    """
    draw = np.random.default_rng(seed)
    grid, counts = points()
    kept = np.sort(draw.permutation(len(grid))[: max(2, round(part * len(grid)))])
    grid, counts = grid[kept], counts[kept]
    size = np.log(counts)
    size = (size - size.min()) / np.ptp(size)
    errors = np.stack(
        [_curves(draw, shape, grid, size, luck, wander, crossing, steps) for shape in SHAPES]
    )
    return {
        "fields": np.asarray(json.dumps(FIELDS)),
        "points": grid.astype(np.int8),
        "parameters": counts.astype(np.int64),
        "errors": errors.astype(np.float16),
        "shapes": np.asarray(json.dumps(SHAPES)),
    }


def _curves(
    draw: np.random.Generator,
    shape: str,
    grid: NDArray[np.int64],
    size: Array,
    luck: float,
    wander: float,
    crossing: float,
    steps: int,
) -> Array:
    n = len(grid)
    loss = _effects(draw, grid, size)
    end = front(shape, size) + 0.25 * loss + np.abs(draw.normal(0, luck, n))
    # slow: large points, low rates, some families; and for no reason that shows
    rate = grid[:, 1] / (len(RATES) - 1)
    slow = 1.2 * size - 0.8 * rate + draw.normal(0, 0.3, 4)[grid[:, 0]] + draw.normal(0, 0.5, n)
    halfway = 2.6 * np.exp(crossing * slow)
    time = np.arange(1, steps + 1) * (STEPS / steps)
    gone = 1 - np.exp(-((time / halfway[:, None]) ** 1.1))
    gone /= gone[:, -1:]
    start = 0.75 + draw.normal(0, 0.04 * wander, n)
    curve = start[:, None] + (end - start)[:, None] * gone
    noise = draw.normal(0, 1, (n, steps))
    for step in range(1, steps):  # what strays, strays for a while
        noise[:, step] = 0.8 * noise[:, step - 1] + 0.6 * noise[:, step]
    left = 1 - (time / time[-1]) ** 0.5
    curve += 0.11 * wander * noise * left + 0.004 * draw.normal(0, 1, (n, steps))
    return np.asarray(np.clip(curve, 0.0, 1.0))


def _effects(draw: np.random.Generator, grid: NDArray[np.int64], size: Array) -> Array:
    """What each point loses against the front, from 0: rates, options, pairs of options."""
    rate = grid[:, 1] / (len(RATES) - 1)
    best = draw.uniform(0.4, 0.8, 4)[grid[:, 0]] - 0.3 * (size - 0.5)
    lost = np.minimum(4.0 * (rate - best) ** 2, 1.5)
    lost += draw.uniform(0, 0.35, 4)[grid[:, 0]]
    for column in range(2, grid.shape[1]):
        indices = grid[:, column]
        options = int(indices.max()) + 1
        effect = draw.uniform(0, 0.5, options)
        if FIELDS[column]["ordered"]:  # scales are smooth
            place = np.arange(options) / max(1, options - 1)
            effect = 0.5 * np.abs(place - draw.uniform(0.2, 1.0))
        lost += np.where(indices >= 0, effect[np.maximum(indices, 0)], 0.0)
        for other in range(1, column):
            pair = draw.normal(0, 0.08, (options, int(grid[:, other].max()) + 1))
            both = (indices >= 0) & (grid[:, other] >= 0)
            lost += np.where(both, pair[np.maximum(indices, 0), np.maximum(grid[:, other], 0)], 0)
    for family in range(4):  # each family has points on the front somewhere
        own = grid[:, 0] == family
        if own.any():
            lost[own] -= np.quantile(lost[own], 0.01) - 0.1 * draw.random()
    return np.maximum(lost, 0.0) ** 0.9


def main(argv: Sequence[str] | None = None) -> None:
    """Write a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=KEPT, metavar="FILE")
    for name, value in (("part", 1.0), ("luck", 0.02), ("wander", 1.0), ("crossing", 1.0)):
        parser.add_argument(f"--{name}", type=float, default=value)
    parser.add_argument("--steps", type=int, default=STEPS)
    given = vars(parser.parse_args(argv))
    out, seed = given.pop("out"), given.pop("seed")
    np.savez_compressed(out, **make(seed, **given))
    print(f"{out}: {out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
