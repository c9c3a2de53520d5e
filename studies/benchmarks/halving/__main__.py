"""Halving against full trials at equal steps, on a table of learning curves.

    python -m peftnas.studies.benchmarks.halving [--table FILE] [--seeds 20] [--out FILE]

For each shape of front: the part of the budget at which ours holds the hypervolume that the others
end with (median and quartiles over the seeds), and the ratio of the ends. The format of a table is
described in ``table.py``. What the others reach is kept in ``--out`` and read from there the next
time for the same table; ours always runs anew.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna

from peftnas.search.errors import UsageError
from peftnas.search.sampling.samplers import SAMPLERS
from peftnas.studies.benchmarks import record
from peftnas.studies.benchmarks.halving.compare import (
    BASELINES,
    FACTOR,
    FULL_TRIALS,
    OURS,
    ours,
    run,
    summary,
)
from peftnas.studies.benchmarks.halving.table import KEPT, Table, correlations_with_top, load

GOAL = 1 / 3
LEAST_RATIO = 0.9


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Run, print, write; returns the summary."""
    given = _parser().parse_args(argv)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    table = load(given.table)
    digest = hashlib.sha256(given.table.read_bytes()).hexdigest()
    runs = _kept(given.out, digest, given.full_trials * table.steps)
    makes = {name: BASELINES[name] for name in given.against} | {
        OURS: ours(given.sampler, given.factor)
    }
    for name, make in makes.items():
        start, done = time.perf_counter(), 0
        for shape in table.shapes:
            held = runs.setdefault(name, {}).setdefault(shape, {})
            for seed in map(str, range(given.seeds)):
                if seed not in held:
                    held[seed] = run(table, shape, make, int(seed), given.full_trials)
                    done += 1
        seconds = (time.perf_counter() - start) / max(1, done)
        print(f"{name}: {done} studies simulated, {seconds:.2f} s each", file=sys.stderr)
        _write(given, digest, runs, {})
    seeds = {str(seed) for seed in range(given.seeds)}
    chosen = {
        name: {s: {k: v for k, v in runs[name][s].items() if k in seeds} for s in table.shapes}
        for name in makes
    }
    found = summary(chosen, table.shapes)
    _write(given, digest, runs, found)
    _print(table, found)
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--table", type=Path, default=KEPT, metavar="FILE")
    parser.add_argument("--seeds", type=record.at_least(1), default=20, metavar="N")
    parser.add_argument(
        "--full-trials",
        type=record.at_least(2),
        default=FULL_TRIALS,
        metavar="N",
        help="the budget: the steps of so many full trials",
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="JSON file to write and read")
    parser.add_argument("--sampler", choices=list(SAMPLERS), default="surrogate")
    parser.add_argument("--factor", type=record.at_least(2), default=FACTOR, metavar="N")
    parser.add_argument("--against", nargs="*", choices=list(BASELINES), default=list(BASELINES))
    return parser


def _kept(out: Path | None, digest: str, budget: int) -> dict[str, Any]:
    """What the others reached on this table before, with this budget."""
    if out is None or not out.is_file():
        return {}
    results = json.loads(out.read_text()).get("results", {})
    if results.get("table") != digest:
        return {}
    held = {name: runs for name, runs in results["runs"].items() if name in BASELINES}
    studies = [one for runs in held.values() for seeds in runs.values() for one in seeds.values()]
    return held if all(one["budget"] == budget for one in studies) else {}


def _write(
    given: argparse.Namespace, digest: str, runs: dict[str, Any], found: dict[str, Any]
) -> None:
    settings = {"sampler": given.sampler, "factor": given.factor, "seeds": given.seeds}
    results = {"table": digest, "ours": settings, "summary": found, "runs": runs}
    record.write(given.out, "halving", results)


def _print(table: Table, found: dict[str, Any]) -> None:
    for shape, rows in found.items():
        steps = sorted({1, max(1, table.steps // 9), max(1, table.steps // 3)})
        correlation = correlations_with_top(table.curves(shape))
        words = ", ".join(f"{correlation[step - 1]:.2f} at step {step}" for step in steps)
        print(f"\n{shape}: rank correlation with the last step {words}")
        print(f"  ours ends at {_spread(rows['end'])}")
        for name, row in rows.items():
            if name == "end":
                continue
            reached = row["part_needed"][1] <= GOAL + 1e-9
            print(
                f"  {name:<8} ends at {_spread(row['end'])}; reached at "
                f"{_spread(row['part_needed'])} of the steps{'' if reached else ' (not 1/3)'}, "
                f"never by {row['never']} of {row['seeds']}; end ratio "
                f"{_spread(row['end_ratio'])}, worst {row['end_ratio_worst']:.3f}"
                f"{'' if row['end_ratio_worst'] >= LEAST_RATIO else ' (below 0.9)'}"
            )


def _spread(quartiles: Sequence[float]) -> str:
    low, middle, high = quartiles
    return f"{middle:.3f} [{low:.3f}, {high:.3f}]"


if __name__ == "__main__":
    try:
        main()
    except UsageError as error:
        sys.exit(f"error: {error}")
