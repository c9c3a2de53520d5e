"""What happens to a study and its cluster in a test of chaos, at moments left to chance."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
from ray.cluster_utils import Cluster

from peftnas.search.backbone import Backbone
from peftnas.search.live import read_live
from tests.search.cluster.chaos_checks import check_counts, events_of
from tests.search.cluster.conftest import STORE_BYTES
from tests.search.cluster.test_kills import ROOT

PATIENCE_S = 300.0
LOCK_S = 20.0


class Chaos:
    """A study on a cluster of three nodes, and what happens to both.

    Args:
        out: folder of the study.
        backbone: of the study.
        seed: of all chance.
        trials: that each run of the driver is to add.
    """

    def __init__(self, out: Path, backbone: Backbone, seed: int, trials: int) -> None:
        self.out, self.backbone, self.more = out, backbone, trials
        self.chance = random.Random(seed)
        self.target = trials
        self.done: Counter[str] = Counter()
        self.processes: dict[int, float] = {}
        self.workers: set[int] = set()
        self.locking: threading.Thread | None = None
        quick = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 1000}
        self.cluster = Cluster(
            initialize_head=True,
            head_node_args=node_arguments()
            | {"_system_config": quick | {"health_check_failure_threshold": 8}},
        )
        self.nodes = [self.cluster.add_node(**node_arguments()) for _ in range(2)]
        self.driver = self.begin()

    def begin(self) -> subprocess.Popen[bytes]:
        """Start the driver, up to the target."""
        with (self.out / "driver.txt").open("ab") as said:
            command = [sys.executable, "-m", "tests.search.cluster.chaos_process"]
            arguments = [str(self.out), str(self.backbone.folder), str(self.target)]
            return subprocess.Popen(
                [*command, *arguments, self.cluster.address], cwd=ROOT, stdout=said, stderr=said
            )

    def one(self, kind: str) -> None:
        """One mishap, at some moment after the study came on since the last one."""
        self.come_on(self.chance.randrange(1, 5))
        until = time.monotonic() + self.chance.uniform(0.0, 1.0)
        self.wait(lambda: time.monotonic() >= until)
        self.done[kind] += 1
        {
            "worker": self.kill_worker,
            "node": self.swap_node,
            "lock": self.lock,
            "driver": self.kill_driver,
        }[kind]()

    def kill_worker(self) -> None:
        """kill -9 of one of the workers that train, if one does."""
        self.wait(lambda: bool(self.busy()))
        worker = self.chance.choice(self.busy())
        try:
            worker.kill()
        except psutil.NoSuchProcess:
            pass  # it ended meanwhile

    def swap_node(self) -> None:
        """A node goes without notice; another one comes."""
        node = self.nodes.pop(self.chance.randrange(len(self.nodes)))
        self.cluster.remove_node(node, allow_graceful=False)
        self.nodes.append(self.cluster.add_node(**node_arguments()))

    def lock(self) -> None:
        """Another program holds the storage for a while, from here on."""
        self.unlock()
        held = threading.Event()
        self.locking = threading.Thread(target=hold, args=(self.out / "study.db", held))
        self.locking.start()
        assert held.wait(PATIENCE_S), "the storage could not be locked"

    def unlock(self) -> None:
        """Wait until the storage is free."""
        if self.locking is not None:
            self.locking.join()
            self.locking = None

    def kill_driver(self) -> None:
        """kill -9, and start it again."""
        self.note_processes()
        self.driver.kill()
        self.driver.wait()
        self.driver = self.begin()

    def finish(self) -> None:
        """The calm end: the driver comes to its target."""
        self.unlock()
        self.wait(lambda: self.driver.poll() is not None, goes_on=False)
        self.check_driver()

    def check_driver(self) -> None:
        said = (self.out / "driver.txt").read_text(errors="replace")
        assert self.driver.returncode == 0, said[-4000:]

    def come_on(self, events: int) -> None:
        """Wait until so many more trainings began or ended."""
        known = len(events_of(self.out))
        self.wait(lambda: len(events_of(self.out)) >= known + events)

    def wait(self, true: Callable[[], bool], goes_on: bool = True) -> None:
        """Wait for something; a driver that came to its target meanwhile gets a higher one."""
        end = time.monotonic() + PATIENCE_S
        while not true():
            assert time.monotonic() < end, f"it did not come true: {read_live(self.out)}"
            self.note_processes()
            if goes_on and self.driver.poll() is not None:
                self.check_driver()
                check_counts(self.out, self.target)
                self.target += self.more
                self.driver = self.begin()
            time.sleep(0.1)

    def note_processes(self) -> None:
        """Remember what runs below this process, to see that it ends."""
        live = read_live(self.out)
        self.workers |= {one["pid"] for one in live["workers"] if one["pid"]} if live else set()
        for process in psutil.Process().children(recursive=True):
            try:
                self.processes[process.pid] = process.create_time()
            except psutil.NoSuchProcess:
                continue

    def busy(self) -> list[psutil.Process]:
        """The workers that train, as the driver says; only those that this test started."""
        live = read_live(self.out)
        pids = {one["pid"] for one in live["workers"] if one["state"] == "busy"} if live else set()
        ours = psutil.Process().children(recursive=True)
        return sorted((one for one in ours if one.pid in pids), key=lambda one: one.pid)

    def close(self) -> None:
        self.unlock()
        if self.driver.poll() is None:
            self.driver.kill()
            self.driver.wait()
        self.note_processes()
        self.cluster.shutdown()

    def left(self, workers_only: bool = False) -> list[str]:
        """Processes that were seen and still run."""
        found = []
        for pid, created in self.processes.items():
            if workers_only and pid not in self.workers:
                continue
            try:
                process = psutil.Process(pid)
                if process.create_time() != created or process.status() == "zombie":
                    continue
                words = " ".join(process.cmdline())
                # of the test's own process, as long as that lives
                if "multiprocessing.resource_tracker" not in words:
                    found.append(f"{pid} {words[:200]}")
            except psutil.NoSuchProcess:
                continue
        return found


def node_arguments() -> dict[str, Any]:
    return {"num_cpus": 1, "object_store_memory": STORE_BYTES, "include_dashboard": False}


def hold(file: Path, held: threading.Event) -> None:
    """Keep every other process from writing to a database."""
    connection = sqlite3.connect(file, timeout=PATIENCE_S, isolation_level=None)
    try:
        connection.execute("BEGIN EXCLUSIVE")
        held.set()
        time.sleep(LOCK_S)
        connection.execute("ROLLBACK")
    finally:
        connection.close()
