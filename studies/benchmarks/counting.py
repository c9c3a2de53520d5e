"""How long exact counting takes on a backbone of Llama-7B's size; needs no weights.

One architecture, on an anatomy described beforehand and on one described anew; then random
architectures of the widest space that the methods express, drawn and counted.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig

from peftnas.methods import METHODS, Adapter, Anatomy, Architecture, LoRA, Prefix, count, describe
from peftnas.spaces.choosers import at_random
from peftnas.spaces.space_checks import methods_in
from peftnas.studies.benchmarks import record
from peftnas.studies.benchmarks.widest import widest_space

TARGET_ONE_MS = 50.0
TARGET_MANY_S = 20.0


def measure(config: LlamaConfig, architectures: int, repeats: int) -> dict[str, Any]:
    """All times; JSON values.

    Args:
        config: of the backbone.
        architectures: how many random ones are drawn and counted.
        repeats: of the measurement of one architecture.
    """
    describe(config)  # the first call imports and fills caches
    anatomy = describe(config)
    one = Architecture(LoRA(rank=16, targets=anatomy.targets), Adapter(site="both"), Prefix())
    known = [_ms(partial(count, one, anatomy)) for _ in range(repeats)]
    anew = [_ms(partial(_count_anew, one, config, run)) for run in range(repeats)]
    return {
        "backbone": {
            "layers": anatomy.n_layers,
            "width": anatomy.width,
            "parameters": anatomy.backbone_parameters,
        },
        "one": {
            "architecture": one.words(),
            "trainable": count(one, anatomy),
            "repeats": repeats,
            "described_before_ms": record.median(known),
            "described_anew_ms": record.median(anew),
            "target_ms": TARGET_ONE_MS,
        },
        "many": _many(anatomy, architectures),
    }


def _many(anatomy: Anatomy, architectures: int) -> dict[str, Any]:
    """Drawn, counted as drawn, and brought into canonical form with its placements, one by one."""
    bound = widest_space(anatomy).bind(anatomy)
    choose = at_random(random.Random(0))
    seconds = dict.fromkeys(("draw_s", "count_s", "canonical_and_count_s"), 0.0)
    counts: list[int] = []
    dimensions = modules = 0
    for _ in range(architectures):
        start = time.perf_counter()
        point = bound.draw(choose)
        after_draw = time.perf_counter()
        counts.append(count(point.architecture, anatomy))
        after_count = time.perf_counter()
        modules += len(bound.placed_once(point.architecture).placements)
        seconds["canonical_and_count_s"] += time.perf_counter() - after_count
        seconds["count_s"] += after_count - after_draw
        seconds["draw_s"] += after_draw - start
        dimensions += len(point.values)
    return seconds | {
        "architectures": architectures,
        "methods": list(METHODS),
        "arms": [method.kind for item in bound.space.items for method in methods_in(item)],
        "dimensions_mean": dimensions / architectures,
        "modules_mean": modules / architectures,
        "trainable_median": record.median(counts),
        "draw_and_count_s": seconds["draw_s"] + seconds["count_s"],
        "target_s": TARGET_MANY_S,
    }


def _count_anew(architecture: Architecture, config: LlamaConfig, run: int) -> int:
    """The count on an anatomy that is worked out again: those of equal configs are kept."""
    copy = type(config).from_dict(config.to_dict() | {"benchmark_run": run})
    return count(architecture, describe(copy))


def _ms(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return 1e3 * (time.perf_counter() - start)


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure, print, write; returns what was measured."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, metavar="FILE", help="JSON file to write")
    parser.add_argument("--architectures", type=record.at_least(1), default=10_000, metavar="N")
    parser.add_argument("--repeats", type=record.at_least(1), default=21, metavar="N")
    parser.add_argument("--layers", type=record.at_least(1), default=32, metavar="N")
    given = parser.parse_args(argv)
    torch.set_num_threads(1)
    found = measure(
        LlamaConfig(num_hidden_layers=given.layers), given.architectures, given.repeats
    )
    _print(found)
    record.write(given.out, "counting", found)
    return found


def _print(found: dict[str, Any]) -> None:
    one, many = found["one"], found["many"]
    print(f"{found['backbone']['parameters']:,} parameters, {one['architecture']}")
    for name, value, target in (
        ("count", one["described_before_ms"], f"  (target < {TARGET_ONE_MS:.0f})"),
        ("describe and count", one["described_anew_ms"], ""),
    ):
        print(f"  {name:<22}{value:8.2f} ms{target}")
    print(
        f"{many['architectures']:,} random architectures, {len(many['arms'])} arms, "
        f"{many['dimensions_mean']:.0f} dimensions and {many['modules_mean']:.0f} modules each"
    )
    for name, value, target in (
        ("draw", many["draw_s"], ""),
        ("count", many["count_s"], ""),
        ("draw and count", many["draw_and_count_s"], f"  (target < {TARGET_MANY_S:.0f})"),
        ("canonical form, count", many["canonical_and_count_s"], ""),
    ):
        print(f"  {name:<22}{value:8.2f} s{target}")


if __name__ == "__main__":
    main()
