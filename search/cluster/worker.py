"""Worker: the process that runs trials one after the other on one bench."""

from __future__ import annotations

import os
import signal
import socket
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, Any

import ray

from peftnas.search.cluster.heartbeat import Heartbeat
from peftnas.spaces.fields import Configurable

if TYPE_CHECKING:
    pass

# torch is imported inside methods: the numbers of threads below must be set before


class NotSharedError(RuntimeError):
    """A machine does not see the folder of the study."""


@dataclass(frozen=True)
class Sent:
    """What a worker makes its bench of; references to Ray's object store, fetched once a machine.

    Attributes:
        name: of the packed spec; equal names, equal content.
        spec: reference to the packed ``BenchSpec``.
        kinds: methods that the user's file defines, which travel by value.
        device: "cpu", "cuda", or "auto": "cuda" where torch finds one.
        gpu_share: part of one GPU that trials may use; 0 without one.
        check_backbone: whether each trial is followed by a look at the backbone's weights.
        mark: file in the folder of the study; a machine that does not see it has another folder of
            that name; "": not looked at.
        backbone: reference to the files of the backbone; ``None``: not sent along.
    """

    name: str
    spec: Any
    kinds: tuple[type[Configurable], ...]
    device: str
    gpu_share: float
    check_backbone: bool
    mark: str = ""
    backbone: Any = None


class Worker:
    """A Ray actor; :class:`~peftnas.search.cluster.pool.WorkerPool` makes it one.

    SIGTERM, the notice that a machine will be taken away, lets the running trial stop between two
    steps; an idle worker ends at once.

    Args:
        threads: that one trial computes with.
        name: of this worker, unique in the cluster.
    """

    def __init__(self, threads: int, name: str) -> None:
        # Ctrl-C reaches the whole process group; what to do about it is the driver's decision
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self._running = self._leaving = False
        signal.signal(signal.SIGTERM, self._terminate)
        self.threads = threads
        for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            os.environ[variable] = str(threads)
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        self._heartbeat = Heartbeat(name)

    def where(self) -> dict[str, Any]:
        """Host, process id and node of this worker."""
        node = ray.get_runtime_context().get_node_id()
        return {"host": socket.gethostname(), "pid": os.getpid(), "node": node}

    def prepare(self, sent: Sent) -> dict[str, Any]:
        """Build the bench and load the backbone.

        Returns:
            ``device``, ``memory_bytes`` and ``weights``, as in ``WorkerFacts``; or
            ``{"lacks": FOLDER}`` where this machine lacks the backbone's folder.
        """
        import torch

        from peftnas.search.cluster import placed_bench
        from peftnas.search.cluster.by_value import make_known
        from peftnas.search.cluster.placement import sweep

        if sent.mark and not os.path.exists(sent.mark):
            folder = os.path.dirname(sent.mark)
            raise NotSharedError(
                f"the folder of the study must be one that all nodes see, but {folder!r} on "
                f"{socket.gethostname()} is not the driver's; give --out on a shared file system"
            )
        torch.set_num_threads(self.threads)
        make_known(sent.kinds)
        sweep()  # what an earlier run left, whose driver was killed
        files = None if sent.backbone is None else lambda: ray.get(sent.backbone)
        parcel = placed_bench.Parcel(sent.name, lambda: ray.get(sent.spec), files)
        try:
            spec, held = placed_bench.open_spec(parcel)
        except placed_bench.BackboneMissingError as error:
            return {"lacks": str(error)}
        device = _found(sent.device)
        self.bench = placed_bench.PlacedBench(spec, device, held=held, watched=sent.check_backbone)
        self._check = sent.check_backbone
        name, memory = _about(device, sent.gpu_share)
        self.bench.warm_up(spec.dtypes)
        return {"device": name, "memory_bytes": memory, "weights": self.bench.weights_words}

    def ping(self) -> None:
        """Answer."""

    def run(self, job: dict[str, Any], token: int) -> dict[str, Any]:
        """Run one trial; plain values both ways.

        Args:
            job: as ``TrialJob.to_dict`` writes it.
            token: number of the trial among those of this worker.
        Returns:
            ``result``, as ``TrialResult.to_dict`` writes it, and ``leaving``: whether this worker
            takes no more.
        """
        from peftnas.search.jobs import TrialJob
        from peftnas.search.trial.fine_tune import run_trial

        self._heartbeat.begin(token)
        self._running = True
        try:
            result = run_trial(
                self.bench,
                TrialJob.from_dict(job),
                stop=lambda: self._leaving or self._heartbeat.asked(),
                beat=self._heartbeat.beat,
            )
            if self._check:
                self.bench.check_backbone()
        finally:
            self._running = False
            self._heartbeat.end()
        return {"result": result.to_dict(), "leaving": self._leaving}

    def _terminate(self, number: int, frame: FrameType | None) -> None:
        self._leaving = True
        if not self._running:
            raise SystemExit(128 + number)


def _found(device: str) -> str:
    """The device to use: "cpu" or "cuda".

    Raises:
        RuntimeError: if a GPU is asked for and torch finds none.
    """
    import torch

    if torch.cuda.is_available() or device == "cpu":
        return "cpu" if device == "cpu" else "cuda"
    if device == "auto":
        return "cpu"
    raise RuntimeError(
        f"Ray counts a GPU on {socket.gethostname()}, but torch finds none there; install a CUDA "
        "build of torch, or let workers use CPUs"
    )


def _about(device: str, gpu_share: float) -> tuple[str, int]:
    """Name of a device, and bytes of it that a trial may use."""
    import torch

    if device == "cpu":
        return "cpu", host_memory_bytes()
    total = torch.cuda.get_device_properties(0).total_memory
    if gpu_share < 1:
        # a trial that is too large fails itself, not its neighbours
        torch.cuda.set_per_process_memory_fraction(gpu_share)
    return torch.cuda.get_device_name(0), int(total * min(1.0, gpu_share))


def host_memory_bytes() -> int:
    """Memory of this machine, or of the container that this process is in."""
    import psutil

    found = int(psutil.virtual_memory().total)
    try:
        with open("/sys/fs/cgroup/memory.max", encoding="ascii") as stream:
            limit = stream.read().strip()
    except OSError:  # no such limit on this system
        return found
    return min(found, int(limit)) if limit.isdigit() else found
