"""Crew: the workers of a pool as they start, are replaced, and grow or shrink with the cluster."""

from __future__ import annotations

import time
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from peftnas.search.cluster import connect, heartbeat
from peftnas.search.cluster.deaths import cause_of, death_words, sentence
from peftnas.search.cluster.parcel import Parcels
from peftnas.search.cluster.room import Devices, gpu_share, room, share_for
from peftnas.search.cluster.slot import Slot
from peftnas.search.cluster.worker import Worker

START_TRIES = 3  # workers in a row that may die while they start


class WorkerStartError(RuntimeError):
    """Workers cannot start; more tries would not help."""


class Crew:
    """The places of workers, and who is in them.

    Args:
        wanted: number of workers; ``None``: as many as there is room for.
        parcels: what they get.
        threads: that one trial computes with.
        devices: see ``room.Devices``.
        trial_bytes: predicted peak of the largest trial; 0: workers are spread evenly over GPUs.
        start_timeout_s: how long to wait for the first worker.
    """

    def __init__(
        self,
        wanted: int | None,
        parcels: Parcels,
        *,
        threads: int,
        devices: Devices,
        trial_bytes: int,
        start_timeout_s: float,
    ) -> None:
        self.slots: list[Slot] = []
        self._wanted, self._threads, self._devices = wanted, threads, devices
        self._parcels = parcels
        self._start_timeout_s = start_timeout_s
        self._share = self._gpu_share(trial_bytes)
        self._ever_up = False
        self._failed_starts = 0
        self._homes: dict[str, list[int]] = {}  # process ids of all workers, by node
        self._began = time.monotonic()
        self.resize()

    def resize(self) -> None:
        """Have the wanted number of workers of each kind; those that work are let be."""
        for on_gpu, wanted in zip((True, False), self._wanted_by_kind(), strict=True):
            there = [slot for slot in self.slots if slot.on_gpu == on_gpu]
            spare = [slot for slot in there if slot.state in ("waits for room", "failed")]
            for slot in spare[: max(0, len(there) - wanted)]:
                self._kill(slot)
                self.slots.remove(slot)
            for _ in range(wanted - len(there)):
                taken = {slot.number for slot in self.slots}
                number = next(n for n in range(len(taken) + 1) if n not in taken)
                self.slots.append(Slot(number, on_gpu, self._threads))
                self.start(self.slots[-1])

    def start(self, slot: Slot) -> None:
        """Ask Ray for a worker in a place that is empty."""
        slot.empty()
        options: dict[str, Any] = {
            "num_cpus": self._threads,
            "num_gpus": self._share if slot.on_gpu else 0.0,
            "max_restarts": 0,
            "max_task_retries": 0,
        }
        actor_class: Any = ray.remote(Worker)
        slot.begin(actor_class.options(**options).remote(self._threads, slot.name))

    def replace(self, slot: Slot) -> None:
        """End a worker, if it has not ended, and ask for another."""
        self._kill(slot)
        self.start(slot)

    def replace_deaf(self, slot: Slot) -> None:
        """The same for a worker that may be beyond listening to Ray."""
        if slot.pid is not None:
            connect.end_process(slot.pid, slot.node)
        self.replace(slot)

    def started(self, slot: Slot) -> bool:
        """A worker runs, or has made its bench, or could not; whether it is up.

        Raises:
            WorkerStartError: if none is up and more tries would not help.
        """
        try:
            answer = ray.get(slot.waits_for)
        except RayError as error:
            self._failed_start(slot, error)
            return False
        if slot.state == "waits for room":
            slot.where = answer
            self._homes.setdefault(slot.node, []).append(answer["pid"])
            slot.enter("starts")
            self._prepare(slot)
            return False
        if "lacks" in answer:
            self._parcels.add_backbone()
            self._prepare(slot)
            return False
        slot.about = answer
        slot.failures, slot.note = 0, ""
        self._failed_starts, self._ever_up = 0, True
        slot.rest()
        return True

    def refuse_waiting(self) -> None:
        """Give up when the first worker has not come up in time.

        Raises:
            WorkerStartError: then.
        """
        waited = time.monotonic() - self._began
        if not self._ever_up and waited >= self._start_timeout_s:
            raise WorkerStartError(
                f"no worker came up within {self._start_timeout_s:.0f} s; is there room in the "
                f"cluster for {self._threads} CPUs a worker? Ask for fewer threads, or wait for "
                "nodes"
            )

    def close(self) -> None:
        """End all workers at once, and remove what they have left on their machines."""
        for slot in self.slots:
            self._kill(slot)
        self.slots = []
        self._parcels.close()
        connect.clean(self._homes)
        self._homes = {}

    def _gpu_share(self, trial_bytes: int) -> float:
        """The part of a GPU for each worker; 0 where none works on one."""
        with_gpus = [node for node in connect.nodes() if node.gpus]
        if self._devices == "cpu" or not with_gpus:
            return 1.0 if self._devices == "gpu" else 0.0  # waits for a node that has one
        gpus = int(sum(node.gpus for node in with_gpus))
        smallest = connect.smallest_gpu_bytes(n.name for n in with_gpus) if trial_bytes else 0
        if smallest:
            return share_for(trial_bytes, smallest)
        return gpu_share(gpus, self._wanted or gpus)

    def _wanted_by_kind(self) -> tuple[int, int]:
        """How many workers there should be on GPUs, and without."""
        found = room(connect.nodes(), self._threads, self._share, self._devices)
        if self._wanted is None:
            if found.total:
                return found.on_gpus, found.on_cpus
            # one that waits tells a cluster that grows by itself that somebody needs it
            return int(self._share > 0), int(self._share == 0)
        if self._devices == "all":
            on_gpus = min(self._wanted, found.on_gpus)
            return on_gpus, self._wanted - on_gpus
        return (self._wanted, 0) if self._share > 0 else (0, self._wanted)

    def _prepare(self, slot: Slot) -> None:
        # a machine may have a GPU that its torch cannot use, which matters where one is asked for
        on_gpu = "auto" if self._devices == "auto" else "cuda"
        device, share = (on_gpu, self._share) if slot.on_gpu else ("cpu", 0.0)
        slot.waits_for = slot.actor.prepare.remote(self._parcels.of(device, share))

    def _kill(self, slot: Slot) -> None:
        if slot.actor is not None:
            ray.kill(slot.actor)
            heartbeat.forget([slot.name])

    def _failed_start(self, slot: Slot, error: RayError) -> None:
        """Try again, unless that is hopeless."""
        if isinstance(error, RayTaskError):
            hopeless, why = True, sentence(error.cause)
        elif "creation task" in str(error):
            hopeless, why = True, str(error).strip().splitlines()[-1].strip()
        elif cause_of(error) in ("node_gone", "handed_back"):
            self.replace(slot)  # no fault of the worker's
            return
        else:
            hopeless, why = False, death_words(error, slot.pid)
        self._failed_starts += 1
        self._kill(slot)
        slot.fail(why, at_once=not hopeless and self._failed_starts < START_TRIES)
        others = any(other.up or other.state == "starts" for other in self.slots)
        if hopeless and not self._ever_up and not others:
            raise WorkerStartError(f"a worker cannot start: {why}") from error
        if self._failed_starts >= START_TRIES and not any(other.up for other in self.slots):
            raise WorkerStartError(
                f"{START_TRIES} workers in a row died while they started; {why}"
            ) from error
