"""Pools that are closed after a test, and waiting for what they say."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from peftnas.search.cluster.pool import Event, WorkerPool

PATIENCE_S = 180.0
STORE_BYTES = 100 * 2**20

PoolOf = Callable[..., WorkerPool]


@pytest.fixture
def pool_of() -> Iterator[PoolOf]:
    """Makes pools, of a Ray of their own unless another is joined."""
    pools: list[WorkerPool] = []

    def build(*arguments: object, **options: object) -> WorkerPool:
        pools.append(
            WorkerPool(*arguments, object_store_bytes=STORE_BYTES, **options)  # type: ignore[arg-type]
        )
        return pools[-1]

    yield build
    for pool in pools:
        pool.close()


def next_of(pool: WorkerPool) -> Event:
    """The next event that is one."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        if event := pool.next_event(1.0):
            return event
    raise AssertionError("no event came")


def wait_until(true: Callable[[], bool], pool: WorkerPool) -> None:
    """Wait for something that is no event."""
    end = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < end, f"it did not come true: {pool.workers()}"
        assert pool.next_event(0.1) is None
        time.sleep(0.05)


def is_running(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


def wait_gone(pid: int) -> None:
    """Wait for a process to end."""
    end = time.monotonic() + PATIENCE_S
    while is_running(pid):
        assert time.monotonic() < end, "it is still running"
        time.sleep(0.05)
