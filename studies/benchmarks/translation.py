"""What a trial costs to draw beyond Optuna's own time, on ``peftnas_default``.

The same questions are asked of Optuna twice: through the walk that gives an architecture and a
recipe, and bare, by name and range. The difference is the translation.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import RandomSampler
from transformers import BertConfig

from peftnas.methods import describe
from peftnas.search import distributions
from peftnas.search.recipe import Recipe
from peftnas.spaces.domains import Real
from peftnas.studies.benchmarks import record
from peftnas.studies.literature.peftnas_default import peftnas_default

TARGET_MS = 2.0


def measure(trials: int) -> dict[str, Any]:
    """Milliseconds a trial, medians over the trials, each asked both ways in turn."""
    bound = peftnas_default().bind(describe(BertConfig()))
    recipe = Recipe(learning_rate=Real(1e-4, 1e-2, log=True))
    ours, bare, canonical, questions = [], [], [], []
    study = optuna.create_study(sampler=RandomSampler(seed=0))
    other = optuna.create_study(sampler=RandomSampler(seed=0))
    for _ in range(trials):
        trial, same = study.ask(), other.ask()
        start = time.perf_counter()
        drawn = distributions.suggest(bound, recipe, trial)
        between = time.perf_counter()
        _ask(same, trial.distributions)
        end = time.perf_counter()
        bound.placed_once(drawn.architecture)
        canonical.append(1e3 * (time.perf_counter() - end))
        ours.append(1e3 * (between - start))
        bare.append(1e3 * (end - between))
        questions.append(len(trial.params))
    return {
        "trials": trials,
        "questions_mean": sum(questions) / trials,
        "suggest_ms": record.median(ours),
        "optuna_alone_ms": record.median(bare),
        "translation_ms": record.median([a - b for a, b in zip(ours, bare, strict=True)]),
        "canonical_ms": record.median(canonical),
        "target_ms": TARGET_MS,
    }


def _ask(trial: optuna.Trial, asked: dict[str, BaseDistribution]) -> None:
    """The same questions in the same order, without a space."""
    for name, distribution in asked.items():
        match distribution:
            case optuna.distributions.IntDistribution(low=low, high=high, log=log, step=step):
                trial.suggest_int(name, low, high, step=step, log=log)
            case optuna.distributions.FloatDistribution(low=low, high=high, log=log):
                trial.suggest_float(name, low, high, log=log)
            case optuna.distributions.CategoricalDistribution(choices=choices):
                trial.suggest_categorical(name, choices)


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure, print, write; returns what was measured."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, metavar="FILE", help="JSON file to write")
    parser.add_argument("--trials", type=record.at_least(1), default=1_000, metavar="N")
    given = parser.parse_args(argv)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    found = measure(given.trials)
    print(
        f"{found['trials']:,} trials of {found['questions_mean']:.1f} questions: "
        f"{found['suggest_ms']:.2f} ms each, Optuna alone {found['optuna_alone_ms']:.2f} ms, "
        f"translation {found['translation_ms']:.2f} ms (target < {TARGET_MS:.0f}); "
        f"canonical form and count {found['canonical_ms']:.2f} ms"
    )
    record.write(given.out, "translation", found)
    return found


if __name__ == "__main__":
    main()
