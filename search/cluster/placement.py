"""Placement: what all workers of a machine read lies there once, and is mapped copy-on-write.

A value (a network, tokenised data) becomes a folder: ``arrays.bin`` holds its tensors and arrays
one after the other, ``skeleton.pickle`` everything else. Who opens it gets a value whose tensors
and arrays lie in a private mapping of that file: pages are shared by all processes until one
writes to them, and what it writes stays its own. (Views into Ray's object store are not safe:
torch writes through them into every process.)

The folder is named by what is in it, made once under a file lock, and held by a shared lock, which
the kernel takes back however a process ends. A folder that nobody holds is removed by
:func:`sweep`.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
import pickle
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from ray import cloudpickle

Bytes = npt.NDArray[np.uint8]

ALIGNED = 64  # bytes; the addresses that torch itself allocates at, so that kernels round alike
_CHUNK = 1 << 24


@dataclass(frozen=True)
class Packed:
    """A value taken apart.

    Attributes:
        skeleton: everything but tensors and arrays; pickled.
        parts: tensors and arrays, (bytes,) uint8 each, with their offsets in ascending order.
        size: of all parts with the gaps between them, in bytes.
    """

    skeleton: bytes
    parts: list[tuple[int, Bytes]]
    size: int

    @property
    def sha256(self) -> str:
        """Of all that is in it; hex."""
        digest = hashlib.sha256(self.skeleton)
        for start, part in self.parts:
            digest.update(start.to_bytes(8, "little"))
            digest.update(part.data)
        return digest.hexdigest()

    def write(self, folder: Path) -> None:
        """Fill a folder that :func:`place` can open."""
        (folder / "skeleton.pickle").write_bytes(self.skeleton)
        with (folder / "arrays.bin").open("wb") as stream:
            for start, part in self.parts:
                stream.seek(start)
                part.tofile(stream)
            stream.truncate(self.size)
        (folder / "sha256").write_text(_file_sha256(folder / "arrays.bin"))


@dataclass
class Held:
    """A folder that stays while this is not released, or this process lives."""

    folder: Path
    _lock: int

    def release(self) -> None:
        os.close(self._lock)


@dataclass
class Placed:
    """A value whose tensors and arrays lie in a file.

    Attributes:
        value: of this process; what it writes into tensors and arrays stays its own.
        held: the folder.
    """

    value: Any
    held: Held
    _arrays: Bytes

    def unchanged(self) -> bool:
        """Whether this process still reads what was placed; takes about 1 s a GB."""
        digest = hashlib.sha256()
        for start in range(0, len(self._arrays), _CHUNK):
            digest.update(self._arrays[start : start + _CHUNK].data)
        return digest.hexdigest() == (self.held.folder / "sha256").read_text()


def pack(value: Any) -> Packed:
    """Take a value apart; tensors that share memory share it afterwards too."""
    stream = io.BytesIO()
    pickler = _Pickler(stream)
    pickler.dump(value)  # type: ignore[no-untyped-call]
    return Packed(stream.getvalue(), pickler.parts, pickler.size)


def place(name: str, make: Callable[[], Packed], root: Path | None = None) -> Placed:
    """A value of this machine, made if it is not there.

    Args:
        name: says what is in it; equal names mean equal values.
        make: gives the value, in at most one process of the machine at a time.
        root: folder of all placed values; by default one of this user in the temporary folder.
    Raises:
        OSError: if it cannot be written.
    """

    held = hold(name, lambda folder: make().write(folder), root)
    file = held.folder / "arrays.bin"
    # mode "c": private, copy-on-write
    arrays: Bytes = (
        np.memmap(file, dtype=np.uint8, mode="c")
        if file.stat().st_size
        else np.zeros(0, dtype=np.uint8)
    )
    with (held.folder / "skeleton.pickle").open("rb") as stream:
        value = _Unpickler(stream, arrays).load()
    return Placed(value, held, arrays)


def hold(name: str, write: Callable[[Path], None], root: Path | None = None) -> Held:
    """A folder of this machine, written if it is not there, that stays while it is held.

    Args:
        name: of the folder.
        write: fills a new folder, in at most one process of the machine at a time.
        root: see :func:`place`.
    """
    root = _own_folder(root)
    folder = root / name
    while True:
        lock = _lock_file(root / f"{name}.lock", fcntl.LOCK_SH)
        if folder.is_dir():
            return Held(folder, lock)
        os.close(lock)
        lock = _lock_file(root / f"{name}.lock", fcntl.LOCK_EX)
        try:
            if not folder.is_dir():
                draft = Path(tempfile.mkdtemp(prefix=f"{name}.draft-", dir=root))
                try:
                    write(draft)
                    draft.rename(folder)
                finally:
                    shutil.rmtree(draft, ignore_errors=True)
        finally:
            os.close(lock)  # another round, since a sweep may come before the shared lock


def sweep(root: Path | None = None) -> list[str]:
    """Remove what no process holds; the names of what was removed."""
    root = _own_folder(root)
    removed = []
    for file in sorted(root.glob("*.lock")):
        try:
            lock = _lock_file(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        name = file.name.removesuffix(".lock")
        for left in (root / name, *root.glob(f"{name}.draft-*")):
            shutil.rmtree(left, ignore_errors=True)
        file.unlink()
        os.close(lock)
        removed.append(name)
    return removed


def _own_folder(root: Path | None) -> Path:
    """The folder of all placed values: nobody else's, since what is unpickled there is run."""
    root = root or Path(tempfile.gettempdir()) / f"peftnas-{os.getuid()}"
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = root.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise PermissionError(f"{root} must be a folder of this user alone; remove it")
    return root


def _lock_file(file: Path, how: int) -> int:
    """Lock a file by its path; one that a sweep has removed meanwhile is made again."""
    while True:
        lock = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, how)
            if file.exists() and os.fstat(lock).st_ino == file.stat().st_ino:
                return lock
        except FileNotFoundError:
            pass  # removed between the two looks
        except BlockingIOError:
            os.close(lock)
            raise
        os.close(lock)


def _file_sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


class _Pickler(cloudpickle.CloudPickler):
    """Leaves tensors and arrays out, and lists their bytes."""

    def __init__(self, stream: IO[bytes]) -> None:
        super().__init__(stream)  # type: ignore[no-untyped-call]
        self.parts: list[tuple[int, Bytes]] = []
        self.size = 0
        self._starts: dict[tuple[int, int], int] = {}  # by address and bytes
        self._alive: list[Any] = []  # keeps addresses from being used again

    def persistent_id(self, value: Any) -> tuple[Any, ...] | None:
        torch: Any = sys.modules.get("torch")  # where it is not loaded, nothing is a tensor
        if torch and isinstance(value, torch.storage.TypedStorage):
            return ("storage", value.dtype, *self._storage(value._untyped_storage))
        if torch and isinstance(value, torch.UntypedStorage):
            return ("storage", None, *self._storage(value))
        if type(value) is np.ndarray and not value.dtype.hasobject and value.nbytes:
            return ("array", value.dtype, value.shape, self._array(value))
        return None

    def _storage(self, storage: Any) -> tuple[int, int]:
        import torch

        key = (storage.data_ptr(), storage.nbytes())
        if key not in self._starts:
            flat: Any = torch.empty(0, dtype=torch.uint8).set_(storage.cpu())
            self._alive.append(storage)
            self._starts[key] = self._add(flat.numpy())
        return self._starts[key], storage.nbytes()

    def _array(self, array: npt.NDArray[Any]) -> int:
        key = (id(array), -1)
        if key not in self._starts:
            self._alive.append(array)
            flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
            self._starts[key] = self._add(flat)
        return self._starts[key]

    def _add(self, flat: Bytes) -> int:
        start = -(-self.size // ALIGNED) * ALIGNED
        self.parts.append((start, flat))
        self.size = start + len(flat)
        return start


class _Unpickler(pickle.Unpickler):
    """Puts tensors and arrays back, as views of one array of bytes."""

    def __init__(self, stream: IO[bytes], arrays: Bytes) -> None:
        super().__init__(stream)
        self._arrays = arrays
        self._storages: dict[tuple[int, int], Any] = {}

    def persistent_load(self, key: tuple[Any, ...]) -> Any:
        import torch

        if key[0] == "array":
            _, dtype, shape, start = key
            size = int(np.prod(shape)) * dtype.itemsize
            # a plain array: a memmap would be what every result of arithmetic is, too
            flat = np.asarray(self._arrays[start : start + size])
            return flat.view(dtype).reshape(shape)
        _, dtype, start, size = key
        if (start, size) not in self._storages:
            part = np.asarray(self._arrays[start : start + size])
            self._storages[start, size] = torch.from_numpy(part).untyped_storage()
        storage = self._storages[start, size]
        if dtype is None:
            return storage
        typed: Any = torch.storage.TypedStorage
        return typed(wrap_storage=storage, dtype=dtype, _internal=True)
