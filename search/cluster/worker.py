"""Worker: the process that runs trials one after the other on one bench."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

from peftnas.spaces.fields import Configurable

if TYPE_CHECKING:
    from peftnas.search.trial.bench import BenchSpec

# torch is imported inside methods: the numbers of threads below must be set before


class Worker:
    """A Ray actor; :class:`~peftnas.search.cluster.pool.WorkerPool` makes it one.

    Args:
        threads: that one trial computes with.
    """

    def __init__(self, threads: int) -> None:
        # Ctrl-C reaches the whole process group; what to do about it is the driver's decision
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self.threads = threads
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            os.environ[name] = str(threads)
        os.environ["TOKENIZERS_PARALLELISM"] = "false"

    def prepare(self, spec: BenchSpec, kinds: tuple[type[Configurable], ...]) -> int:
        """Build the bench and load the backbone.

        Args:
            spec: what the bench is made of.
            kinds: methods that the user's file defines, which travelled by value.
        Returns:
            The process id of the worker.
        """
        import torch

        torch.set_num_threads(self.threads)
        for kind in kinds:
            kind.__init_subclass__()  # makes its name known here; travelling did not
        self.bench = spec.build("cuda" if torch.cuda.is_available() else "cpu")
        for dtype in spec.dtypes:
            self.bench.model(dtype)
        self.bench.warm_up()
        return os.getpid()

    def run(self, job: dict[str, Any]) -> dict[str, Any]:
        """Run one trial; plain values both ways."""
        from peftnas.search.jobs import TrialJob
        from peftnas.search.trial.fine_tune import run_trial

        return run_trial(self.bench, TrialJob.from_dict(job)).to_dict()
