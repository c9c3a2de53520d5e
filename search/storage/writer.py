"""The only writer of a study: it takes the lease, keeps it alive, and gives it up."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from sqlalchemy.engine import Engine

from peftnas.search.errors import StorageError, UsageError
from peftnas.search.storage.failures import ERRORS, LeaseLostError
from peftnas.search.storage.holder import Holder, this_process
from peftnas.search.storage.lease import Lease, Seen, look, make_table, take
from peftnas.search.storage.patience import Patience
from peftnas.search.storage.patient_storage import PatientStorage
from peftnas.search.storage.study_storage import StudyStorage

HEARTBEAT_S = 10.0
"""So often the holder of a study says that it is there."""

EXPIRY_S = 60.0
"""After so long a silence a holder on another host has lost the study to whoever asks for it."""

_FAREWELL_S = 5.0  # how long giving the study up may wait for its storage


@contextmanager
def only_writer(
    storage: PatientStorage,
    out: Path,
    name: str,
    *,
    heartbeat_s: float = HEARTBEAT_S,
    expiry_s: float = EXPIRY_S,
) -> Iterator[Lease]:
    """Hold the right to write the study ``name`` and the files in ``out``.

    Until the end, each write to ``storage`` confirms in its own transaction that the study is
    still ours, and raises ``LeaseLostError`` if it is not. Where another process of this machine
    held the study and is gone, it is taken over at once. A holder on another machine is listened
    to: one heartbeat, and it has the study; silence for ``expiry_s``, and we have it. Whoever
    waits is told by ``storage.patience.waits``.

    Args:
        storage: from ``open_to_write``.
        out: folder of the study's files.
        name: of the study, in the storage or about to be made there.
        heartbeat_s: seconds between two heartbeats.
        expiry_s: of a silent holder on another machine; above two heartbeats.
    Raises:
        UsageError: if another process holds one of them, naming it and since when.
    """
    files = f"folder {str(out)!r} is in use by the run of another study; name another --out"
    with _locked(out / ".out.lock", files):  # checkpoints are named by the trial's number alone
        lease = _acquire(storage, name, heartbeat_s, expiry_s)
        heart = _Heart(storage, lease, heartbeat_s)
        storage.confirm = lease.confirm
        heart.start()
        try:
            yield lease
        finally:
            storage.confirm = None
            heart.stop()
            _say_farewell(storage, lease)


def writer_of(storage: StudyStorage, name: str) -> Seen | None:
    """Who holds the study ``name`` and for how many seconds nothing was heard of it.

    ``None`` where nobody does: free, or its holder's process on this machine is gone.
    """
    seen = look(storage.engine, name)
    return None if seen is None or seen.holder.presence() == "gone" else seen


def _acquire(storage: PatientStorage, name: str, heartbeat_s: float, expiry_s: float) -> Lease:
    """The lease, as soon as it is free."""
    engine, patience, me = storage.engine, storage.patience, this_process()
    patience.call(lambda _: make_table(engine))
    first: Seen | None = None
    listening_since = time.monotonic()
    told = False
    while True:
        seen = patience.call(lambda _: look(engine, name))
        if seen is not None and (first is None or first.token != seen.token):
            first, listening_since = seen, time.monotonic()
        listened = time.monotonic() - listening_since
        if seen is None or _is_over(seen, listened, heartbeat_s, expiry_s):
            lease = patience.call(partial(_taken, engine, name, me, seen))
            if lease is not None:
                if told:
                    patience.waits("")
                return lease
            continue  # somebody else was faster
        assert first is not None
        if seen.holder.presence() == "here" or seen.beats != first.beats:
            raise UsageError(
                f"study {name!r} is being run by {seen.holder.words()}; wait for it, or stop it"
            )
        if not told:
            told = True
            patience.waits(
                f"study {name!r} is held by {seen.holder.words()}, last heard of "
                f"{seen.age_s:.0f} s ago; after {expiry_s:.0f} s of silence it is taken over"
            )
        time.sleep(min(1.0, heartbeat_s / 4))


def _taken(engine: Engine, name: str, me: Holder, seen: Seen | None, again: bool) -> Lease | None:
    """``take``, and the lease that an earlier call of it took where its answer was lost."""
    if again and (now := look(engine, name)) is not None and now.holder == me:
        if not _beats_here(now.token):
            return Lease(name, now.token)
    return take(engine, name, me, seen)


def _is_over(seen: Seen, listened_s: float, heartbeat_s: float, expiry_s: float) -> bool:
    """Whether a lease may be taken over.

    A holder elsewhere may be silent since the storage was away: it gets time to be heard.
    """
    match seen.holder.presence():
        case "gone":
            return True
        case "here":
            # a run of this very process that could not give it up, the storage being away
            return seen.holder.pid == os.getpid() and not _beats_here(seen.token)
        case "elsewhere":
            return seen.age_s >= expiry_s and listened_s >= 2 * heartbeat_s


def _beats_here(token: str) -> bool:
    """Whether a run of this process keeps the lease of this token alive."""
    hearts = [thread for thread in threading.enumerate() if isinstance(thread, _Heart)]
    return any(heart.token == token for heart in hearts)


class _Heart(threading.Thread):
    """Renews a lease until it is stopped or lost, however long the storage is away."""

    def __init__(self, storage: StudyStorage, lease: Lease, every_s: float) -> None:
        super().__init__(name=f"lease of {lease.study}", daemon=True)
        self.token = lease.token
        self._storage, self._lease, self._every_s = storage, lease, every_s
        self._stopped = threading.Event()

    def run(self) -> None:
        pause = self._every_s
        while not self._stopped.wait(pause):
            try:
                self._lease.renew(self._storage.engine)
            except LeaseLostError:
                return  # the next write of the study raises it where somebody can act
            except ERRORS:
                pause = min(1.0, self._every_s)  # away: be heard soon after it is back
            else:
                pause = self._every_s

    def stop(self) -> None:
        self._stopped.set()
        self.join()


def _say_farewell(storage: PatientStorage, lease: Lease) -> None:
    """Give the lease up; where the storage is away, whoever comes next finds this process gone."""
    patience = Patience(limit_s=_FAREWELL_S)
    try:
        patience.call(lambda _: lease.give_up(storage.engine))
    except StorageError as error:
        storage.patience.waits(f"study {lease.study!r} could not be handed back: {error}")


@contextmanager
def _locked(file: Path, refusal: str) -> Iterator[None]:
    """Hold a lock file, which the kernel frees when the process dies.

    Raises:
        UsageError: the ``refusal``, when another process holds it.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(refusal) from error
        yield
