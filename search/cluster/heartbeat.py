"""Signs of life of running trials, and requests to stop, through Ray's key-value store.

A worker computes in its main thread, so that no method of its actor can answer meanwhile; a thread
beside it writes how far the trial is, and reads whether somebody asks it to stop.
"""

from __future__ import annotations

import json
import statistics
import threading
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from ray.exceptions import RayError
from ray.experimental import internal_kv

PERIOD_S = 1.0
_NAMESPACE = "peftnas"
_STEPS_KEPT = 101


@dataclass(frozen=True)
class Report:
    """How far a trial is.

    Attributes:
        token: of the trial, as the pool numbered it for this worker.
        beats: signs of life since it began.
        step: optimiser steps that it has made.
        median_s: median duration of its latest steps; 0 before the second.
    """

    token: int
    beats: int
    step: int
    median_s: float


class Heartbeat:
    """The worker's side.

    Args:
        name: of the worker, unique in the cluster.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._token = 0
        self._beats = self._step = 0
        self._stepped = 0.0
        self._durations: deque[float] = deque(maxlen=_STEPS_KEPT)
        self._asked = -1  # token of the trial that shall stop
        self._running = threading.Event()
        threading.Thread(target=self._serve, name="heartbeat", daemon=True).start()

    def begin(self, token: int) -> None:
        """A trial begins."""
        self._durations.clear()
        self._token, self._beats, self._step = token, 0, 0
        self._stepped = time.monotonic()
        self._running.set()

    def beat(self, step: int) -> None:
        """It lives, and has made so many optimiser steps."""
        now = time.monotonic()
        if step > self._step:
            self._durations.append((now - self._stepped) / (step - self._step))
            self._step = step
            self._stepped = now
        self._beats += 1

    def asked(self) -> bool:
        """Whether the running trial is asked to stop."""
        return self._asked == self._token

    def end(self) -> None:
        """It came to its end."""
        self._running.clear()

    def _serve(self) -> None:
        told = None
        while self._running.wait():
            report = [self._token, self._beats, self._step, self._median()]
            try:
                if report != told:
                    _put(f"{self._name}/beat", json.dumps(report))
                    told = report
                asked = _get(f"{self._name}/stop")
            except (RayError, RuntimeError, ConnectionError) as error:
                # without its store Ray is about to end this process; until then the trial goes on
                print(f"heartbeat: {error}", flush=True)
                asked = None
            if asked is not None:
                self._asked = int(asked)
            time.sleep(PERIOD_S)

    def _median(self) -> float:
        durations = list(self._durations)
        return statistics.median(durations) if durations else 0.0


def report_of(name: str) -> Report | None:
    """The latest report of a worker; ``None`` before the first."""
    found = _get(f"{name}/beat")
    return None if found is None else Report(*json.loads(found))


def ask_to_stop(name: str, token: int) -> None:
    """Ask a worker to stop this trial between two steps; nothing happens if it runs another."""
    _put(f"{name}/stop", str(token))


def forget(names: Iterable[str]) -> None:
    """Remove what workers that are gone have left in the store."""
    for name in names:
        for what in ("beat", "stop"):
            internal_kv._internal_kv_del(f"{name}/{what}", namespace=_NAMESPACE)


def _put(key: str, value: str) -> None:
    internal_kv._internal_kv_put(key, value, overwrite=True, namespace=_NAMESPACE)


def _get(key: str) -> str | None:
    found = internal_kv._internal_kv_get(key, namespace=_NAMESPACE)
    return None if found is None else found.decode()
