"""Who runs a study: a process on a host, and whether it is still there."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

import psutil

Presence = Literal["here", "gone", "elsewhere"]
"""A process of this machine that lives, one that does not, or one of another machine."""


@dataclass(frozen=True)
class Holder:
    """A process that runs a study.

    Attributes:
        host: name of its machine, for people.
        machine: what tells its machine, that machine's boot and its process numbers apart from
            all others: containers share names.
        pid: its number there.
        started: when it started, as that machine counts; tells a recycled number apart.
        since: when it took the study, ISO 8601 with seconds.
    """

    host: str
    machine: str
    pid: int
    started: float
    since: str

    def presence(self) -> Presence:
        """Where it is, as far as this process can tell."""
        if self.machine != this_machine():
            return "elsewhere"
        return "here" if started_at(self.pid) == self.started else "gone"

    def words(self) -> str:
        return f"process {self.pid} on {self.host} since {self.since}"

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Holder:
        return cls(**json.loads(text))


def this_process() -> Holder:
    """This process as a holder from now on."""
    started = started_at(os.getpid())
    assert started is not None, "this process runs"
    since = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
    return Holder(socket.gethostname(), this_machine(), os.getpid(), started, since)


def this_machine() -> str:
    """Same text, same processes: host name, boot and the space that process numbers live in."""
    parts = [socket.gethostname()]
    try:
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(str(os.stat("/proc/self/ns/pid").st_ino))
    except OSError:  # no Linux
        parts.append(f"{psutil.boot_time():.0f}")
    return " ".join(parts)


def started_at(pid: int) -> float | None:
    """When a process started; ``None`` where none of that number runs.

    On Linux in clock ticks since the boot, which setting the clock does not change; elsewhere in
    seconds since 1970. One that was killed and not yet buried does not run.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        if Path("/proc/self/stat").exists():
            return None
    except ProcessLookupError:
        return None
    else:
        state, *fields = text.rpartition(")")[2].split()  # the name before may hold anything
        return None if state in "ZX" else float(fields[18])
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.NoSuchProcess:
        return None
