"""A study of 10,000 trials: how long ``status`` and ``front`` take, and how much memory.

The trials are the quickstart's, drawn at random; their scores, losses and curves are made up,
their records are those of real trials. Each command runs in a process of its own, as a user's.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.samplers import RandomSampler
from transformers import BertConfig

from peftnas.methods import describe
from peftnas.search.jobs import TrialResult
from peftnas.search.objectives import objective
from peftnas.search.plans import Plan
from peftnas.search.proposals import Proposer
from peftnas.search.records import Records
from peftnas.search.sampling.view import SamplerView
from peftnas.search.storage import open_study, open_to_write, sqlite_url
from peftnas.studies.benchmarks import record
from peftnas.studies.benchmarks.bulk import add_trials
from peftnas.studies.quickstart import study

TARGET_S, TARGET_MB = 3.0, 600.0
_METRIC = "accuracy"
_READ = """
import sys, time
from peftnas.search import open_results
start = time.perf_counter()
results = open_results(sys.argv[1], sys.argv[2])
read = time.perf_counter()
results.front(), results.hypervolume()
print(read - start, time.perf_counter() - read)
"""
_OPTUNA = """
import sys
import optuna
from peftnas.search.storage import open_to_write
storage = sys.argv[1] if sys.argv[3] == "optuna" else open_to_write(sys.argv[1])
optuna.load_study(study_name=sys.argv[2], storage=storage).get_trials(deepcopy=False)
"""
_COMMAND = "import sys; from peftnas.studies.cli import main; main(sys.argv[1:])"
_PEAK = """
print()  # the peak of this process alone: what wait4 says starts at that of the one that forked
print([line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")][0])
"""


def build(url: str, trials: int) -> None:
    """Store a study named as the quickstart with so many finished trials."""
    config = BertConfig(
        hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536
    )
    anatomy = describe(config)
    parameters = anatomy.backbone_parameters
    objectives = [objective(name, (_METRIC,), parameters) for name in study.objectives]
    directions = [known.direction for known in objectives]
    drawn = optuna.create_study(directions=directions)
    records = Records(drawn, objectives, parameters)
    view = SamplerView(RandomSampler(seed=0), directions)
    proposer = Proposer(view, study.space.bind(anatomy), study.recipe, seed=study.seed)
    chance = np.random.default_rng(0)
    for _ in range(trials):
        proposal = proposer.next().proposal
        assert proposal is not None, "the space holds that many"
        number = records.start(proposal.plan, proposal.answers)
        records.tell(number, _result(proposal.plan, chance))
    content = {
        "backbone": {"parameters": parameters},
        "objectives": [known.to_dict() for known in objectives],
    }
    storage = open_to_write(url)
    open_study(storage, study.name, directions=directions, content=content)
    add_trials(storage, study.name, drawn.get_trials(deepcopy=False))


def _result(plan: Plan, chance: np.random.Generator) -> TrialResult:
    """What a training of the quickstart's length leaves, with made-up numbers."""
    steps = int(plan.recipe["steps"])
    count = int(chance.integers(500, 400_000))
    score = float(0.9 * count / (count + 4_000) - chance.exponential(0.05))
    losses = [
        float(x) for x in 2.5 * np.exp(-np.arange(steps) / 40) + chance.normal(0, 0.1, steps)
    ]
    names = ("setup_s", "measure_s", "train_s", "evaluate_s", "save_s", "wall_s")
    curve = [
        {"step": step, "loss": float(chance.random()), _METRIC: score * step / steps}
        for step in (steps // 2, steps)
    ]
    return TrialResult(
        "complete",
        metrics={_METRIC: score},
        curve=curve,
        losses=losses,
        timing={name: float(chance.random()) for name in names},
        trainable_parameters=count,
        stored_bytes=4 * count,
        head_parameters=5_000,
        measured={"train_memory_bytes": float(chance.integers(10**8, 10**9))},
        checkpoint=f"checkpoints/{count}",
    )


def run(code: str, *arguments: str) -> dict[str, Any]:
    """Seconds and peak memory of Python code in a process of its own, with what it printed."""
    start = time.perf_counter()
    with tempfile.TemporaryFile() as printed:
        command = [sys.executable, "-c", code + _PEAK, *arguments]
        process = subprocess.Popen(command, stdout=printed)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - start
        if process.returncode:
            raise RuntimeError(f"{arguments} ended with {process.returncode}")
        printed.seek(0)
        lines = printed.read().decode().splitlines()
    return {
        "seconds": seconds,
        "cpu_s": used.ru_utime + used.ru_stime,
        "peak_mb": int(lines[-1]) / 1024,
        "printed": "\n".join(lines[:-1]),
    }


def measure(url: str, repeats: int, *, with_optuna: bool) -> dict[str, Any]:
    """Every command on the stored study, the median of some runs of each."""
    ways = {
        "open_results": [_READ, url, study.name],
        "status": [_COMMAND, "status", "quickstart", "--storage", url],
        "front": [_COMMAND, "front", "quickstart", "--storage", url],
        "space --help": [_COMMAND, "space", "--help"],  # what any command takes
    }
    ways["trials of a driver"] = [_OPTUNA, url, study.name, "ours"]
    if with_optuna:
        ways["trials by optuna alone"] = [_OPTUNA, url, study.name, "optuna"]
    found = {}
    for name, command in ways.items():
        runs = [run(*command) for _ in range(repeats)]
        found[name] = {
            "seconds": record.median([one["seconds"] for one in runs]),
            "cpu_s": record.median([one["cpu_s"] for one in runs]),
            "peak_mb": max(one["peak_mb"] for one in runs),
        }
        if name == "open_results":
            times = [[float(part) for part in one["printed"].split()] for one in runs]
            found[name]["reading_s"] = record.median([time[0] for time in times])
            found[name]["front_and_hypervolume_s"] = record.median([time[1] for time in times])
    return found


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Build, measure, print, write; returns what was measured."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, metavar="FILE", help="JSON file to write")
    parser.add_argument("--trials", type=record.at_least(1), default=10_000, metavar="N")
    parser.add_argument("--repeats", type=record.at_least(1), default=3, metavar="N")
    parser.add_argument(
        "--storage", metavar="URL", help="measure the study built there by an earlier --keep"
    )
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="build it there and keep it")
    parser.add_argument("--with-optuna", action="store_true", help="time Optuna's reading too")
    given = parser.parse_args(argv)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        url = given.storage
        if url is None:
            url = sqlite_url(given.keep or Path(folder))
            build(url, given.trials)
        found = {
            "trials": given.trials,
            "commands": measure(url, given.repeats, with_optuna=given.with_optuna),
            "target_s": TARGET_S,
            "target_mb": TARGET_MB,
        }
    for name, one in found["commands"].items():
        parts = "".join(
            f", {part.removesuffix('_s').replace('_', ' ')} {one[part]:.2f} s"
            for part in ("reading_s", "front_and_hypervolume_s")
            if part in one
        )
        print(
            f"{name}: {one['seconds']:.2f} s, {one['cpu_s']:.2f} s CPU, "
            f"{one['peak_mb']:.0f} MB{parts}"
        )
    record.write(given.out, "big_study", found)
    return found


if __name__ == "__main__":
    main()
