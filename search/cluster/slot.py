"""The place of one worker in the pool: the actor in it, and what it is doing."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field
from typing import Any

from peftnas.search.cluster.watchdog import Watch
from peftnas.search.jobs import TrialJob
from peftnas.search.pool_protocol import WorkerFacts, WorkerState

RETURN_S = 600.0
"""So long a worker that is gone counts as one that may come back with the same memory."""

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 10.0, 600.0


@dataclass
class Slot:
    """A place; the workers in it change.

    Attributes:
        number: of the place, from 0.
        on_gpu: whether its workers get a part of a GPU.
        threads: that a trial computes with.
        state: see ``WorkerFacts``.
        actor: of Ray; ``None`` when the state is "failed".
        name: of the worker, for its signs of life.
        waits_for: reference to what the actor is computing; ``None`` when idle.
        ping: reference to a sign of life of an idle worker, and since when it is waited for.
        where: ``host``, ``pid`` and ``node``, once it runs.
        about: ``device``, ``memory_bytes`` and ``weights``, once it is up.
        job: that it runs.
        token: number of that job among those of this worker.
        watch: its signs of life.
        ends: whether it takes no other job: its machine is about to go.
        failures: starts in a row that went wrong.
        note: why the last one did.
        retry_at: when to try again, on the monotonic clock.
        held_bytes: memory of the last worker that was up here, and until when it was.
    """

    number: int
    on_gpu: bool
    threads: int
    state: WorkerState = "waits for room"
    actor: Any = None
    name: str = ""
    waits_for: Any = None
    ping: Any = None
    pinged: float = 0.0
    where: dict[str, Any] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)
    job: TrialJob | None = None
    token: int = 0
    watch: Watch = field(default_factory=lambda: Watch(0.0))
    ends: bool = False
    failures: int = 0
    note: str = ""
    retry_at: float = 0.0
    held_bytes: int = 0
    held_until: float = 0.0
    since: float = field(default_factory=time.monotonic)
    _idle_s: float = 0.0

    @property
    def pid(self) -> int | None:
        return self.where.get("pid")

    @property
    def node(self) -> str:
        """Ray's id of its machine; "" until it runs."""
        return str(self.where.get("node", ""))

    @property
    def host(self) -> str:
        return str(self.where.get("host", ""))

    @property
    def memory_bytes(self) -> int:
        """What a trial on it may use; 0 until it is up."""
        return int(self.about.get("memory_bytes", 0))

    @property
    def up(self) -> bool:
        """Whether it has a worker that takes jobs, or runs one."""
        return self.state in ("idle", "busy", "stopping")

    def may_get(self, memory_bytes: int) -> bool:
        """Whether a worker with so much memory may come up here soon."""
        if self.state == "starts":
            return True
        gone_s = time.monotonic() - self.held_until
        return not self.up and self.held_bytes >= memory_bytes and gone_s < RETURN_S

    def enter(self, state: WorkerState) -> None:
        """Change the state."""
        now = time.monotonic()
        if self.state == "idle":
            self._idle_s += now - self.since
        self.state, self.since = state, now

    def begin(self, actor: Any) -> None:
        """Take a new worker in."""
        self.actor, self.waits_for = actor, actor.where.remote()
        self.enter("waits for room")

    def empty(self) -> None:
        """Forget the worker."""
        if self.memory_bytes:
            self.held_bytes, self.held_until = self.memory_bytes, time.monotonic()
        self.actor = self.waits_for = self.ping = self.job = None
        self.where, self.about = {}, {}
        self.token, self.ends, self._idle_s = 0, False, 0.0
        self.name = uuid.uuid4().hex

    def take(self, job: TrialJob) -> None:
        """Hand a job over."""
        self.token += 1
        self.job, self.ping = job, None
        self.watch = Watch(time.monotonic())
        self.waits_for = self.actor.run.remote(job.to_dict(), self.token)
        self.enter("busy")

    def rest(self) -> None:
        """Wait for a job."""
        self.job = self.waits_for = None
        self.enter("idle")

    def fail(self, note: str, at_once: bool) -> None:
        """A start went wrong; the next one comes at once, or after a pause that grows."""
        self.empty()
        self.failures += 1
        pause = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2 ** min(self.failures - 1, 10))
        self.note = note
        self.retry_at = time.monotonic() + (0.0 if at_once else pause)
        self.enter("failed")

    def facts(self) -> WorkerFacts:
        """What the worker is, and what it does."""
        in_state = time.monotonic() - self.since
        return WorkerFacts(
            self.number,
            self.state,
            in_state,
            self._idle_s + (in_state if self.state == "idle" else 0.0),
            self.host,
            self.pid,
            str(self.about.get("device", "")),
            self.memory_bytes,
            self.threads,
            str(self.about.get("weights", "")),
            None if self.job is None else self.job.number,
            "" if self.job is None else self.job.folder,
            self.watch.step if self.job else 0,
            self.note,
        )
