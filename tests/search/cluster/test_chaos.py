"""Chaos: workers, nodes and the driver are killed, the storage is locked; nothing is lost.

PEFTNAS_CHAOS_SECONDS sets the length of the slow test, PEFTNAS_CHAOS_SEED what happens when.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from peftnas.search.backbone import Backbone
from tests.search.cluster.chaos import PATIENCE_S, Chaos
from tests.search.cluster.chaos_checks import (
    check_checkpoints,
    check_counts,
    check_once,
    check_scores,
)

ALL_KINDS = ("worker", "node", "lock", "worker", "driver")

ChaosOf = Callable[..., Chaos]


@pytest.fixture
def chaos_of(bert: Backbone, tmp_path: Path) -> Iterator[ChaosOf]:
    made: list[Chaos] = []

    def make(seed: int, trials: int) -> Chaos:
        (tmp_path / "out").mkdir()
        made.append(Chaos(tmp_path / "out", bert, seed, trials))
        return made[-1]

    yield make
    for chaos in made:
        chaos.close()


def check_all(chaos: Chaos, calm: Path, most: int | None) -> None:
    """At the end: nothing is lost, repeated, or left behind."""
    check_counts(chaos.out, chaos.target)
    check_once(chaos.out)
    check_checkpoints(chaos.out)
    check_scores(chaos.out, chaos.backbone, calm, most)
    wait_gone(lambda: chaos.left(workers_only=True))
    chaos.close()
    wait_gone(chaos.left)


def wait_gone(left: Callable[[], list[str]]) -> None:
    """Wait for processes to end."""
    end = time.monotonic() + PATIENCE_S
    while still := left():
        assert time.monotonic() < end, still
        time.sleep(0.1)


def test_one_of_each_mishap(chaos_of: ChaosOf, tmp_path: Path) -> None:
    chaos = chaos_of(seed=1, trials=24)
    for kind in ALL_KINDS:
        chaos.one(kind)
    chaos.finish()
    assert chaos.done == Counter(ALL_KINDS)
    check_all(chaos, tmp_path / "calm", 12)


@pytest.mark.slow
def test_half_an_hour_of_mishaps(chaos_of: ChaosOf, tmp_path: Path) -> None:
    seconds = float(os.environ.get("PEFTNAS_CHAOS_SECONDS", "1800"))
    chaos = chaos_of(seed=int(os.environ.get("PEFTNAS_CHAOS_SEED", "2")), trials=30)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        kinds = list(ALL_KINDS)
        chaos.chance.shuffle(kinds)
        for kind in kinds:
            chaos.one(kind)
    chaos.finish()
    check_all(chaos, tmp_path / "calm", None)
