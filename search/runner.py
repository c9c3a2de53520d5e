"""run_study: check a study, open its storage, pick up what was left, train, sum up."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import optuna

from peftnas.search.cluster.address import check_address
from peftnas.search.demand import Failures, OnError
from peftnas.search.errors import UsageError
from peftnas.search.log import EventLog
from peftnas.search.machine import machine_words, versions
from peftnas.search.out_folder import claim
from peftnas.search.pool_protocol import Pool
from peftnas.search.preflight import Prepared, prepare
from peftnas.search.results import BASELINES
from peftnas.search.run_summary import RunSummary
from peftnas.search.single_run import SingleRun
from peftnas.search.storage import (
    FACTS,
    Patience,
    on_stderr,
    only_writer,
    open_study,
    open_to_write,
    sqlite_url,
)
from peftnas.search.storage.patience import silent
from peftnas.search.storage.urls import shown
from peftnas.search.study import Study

DEFAULT_TRIALS = 50


def run_study(
    study: Study,
    *,
    storage_url: str | None = None,
    out: Path,
    data: Path | None = None,
    base: Path | None = None,
    trials: int | None = None,
    minutes: float | None = None,
    workers: int | None = 1,
    sampler: str = "tpe",
    address: str = "local",
    progress: bool = True,
    baselines: bool = True,
    max_failures: int | None = None,
    on_error: OnError = "continue",
    step_timeout_s: float | None = None,
    check_backbone: bool = False,
    max_disk: int | None = None,
    modules: Sequence[ModuleType] = (),
    make_pool: Callable[[Prepared], Pool] | None = None,
) -> RunSummary:
    """Run a study, or go on with it, up to a number of finished trials or for some minutes.

    ``run_study(study, out=Path("runs/mine"), data=Path("data"), trials=20, workers=2)``; the
    trials are then in ``open_results("sqlite:///runs/mine/study.db", study.name)``.

    Args:
        study: to run.
        storage_url: database URL; SQLite in ``out`` by default.
        out: folder of checkpoints and log.
        data: folder that relative sources of the task are looked for in first.
        base: folder of the study's file.
        trials: finished trials that the study should have, all calls together; 50 by default,
            unless ``minutes`` is given.
        minutes: no trial starts later than so many minutes after this call; what runs then is
            finished.
        workers: processes that train, at least 1; ``None``: as many as the cluster has room for.
        sampler: see ``samplers.SAMPLERS``.
        address: "local" starts Ray here; "auto" or an address joins a cluster.
        progress: whether to show what happens, on stderr.
        baselines: whether to train the untuned baselines first, once a study.
        max_failures: trainings that may fail in this call; one more ends it. By default it ends
            after 5 at first, or 20 in a row.
        on_error: "stop" ends it at the first exception in a training; the default goes on.
        step_timeout_s: silence of a worker after which its trial hangs; by default 20 median
            steps, and at least a minute.
        check_backbone: whether each trial is followed by a look at the frozen weights.
        max_disk: bytes that checkpoints may take; above it nothing new starts.
        modules: the user's own modules, whose classes workers cannot import.
        make_pool: makes other workers than Ray's; ``inline_pool.in_this_process`` trains here.
    Raises:
        UsageError: for anything wrong with the study or the arguments, before a worker starts.
    """
    started = time.monotonic()
    _check_limits(trials, minutes, workers, max_failures)
    check_address(address)
    if trials is None and minutes is None:
        trials = DEFAULT_TRIALS
    prepared = prepare(study, data=data, base=base, sampler=sampler)
    url = storage_url or sqlite_url(out)
    patience = Patience(waits=on_stderr if progress else silent, storage=shown(url))
    storage = open_to_write(url, patience)
    out = out.absolute()
    with only_writer(storage, out, study.name) as lease:
        directions = [known.direction for known in prepared.objectives]
        searched = open_study(storage, study.name, directions=directions, content=prepared.content)
        untuned = open_study(
            storage, study.name + BASELINES, directions=directions, content=prepared.content
        )
        claim(out, study.name, prepared.content)
        failures = Failures(max_failures, on_error)
        run = SingleRun(prepared, out, searched, untuned, sampler, lease.token, failures, max_disk)
        run.board.target = trials
        if minutes is not None:
            run.board.deadline = started + 60.0 * minutes

        def pool() -> Pool:
            if make_pool:
                return make_pool(prepared)
            return _ray(
                prepared,
                workers,
                address,
                modules,
                run.board.wait,
                step_timeout_s=step_timeout_s,
                check_backbone=check_backbone,
                out=out,
            )

        settings = {"workers": workers, "sampler": sampler, "trials": trials, "minutes": minutes}
        _keep_facts(searched, prepared)
        with EventLog(out / "log.jsonl") as log:
            log.write("run", study=study.name, **settings)
            stopped, driver = run.run(pool, log, wanted=progress, baselines=baselines)
            summary = run.summary(shown(url), stopped, driver, started)
            log.write("ended", **summary.to_dict())
        _keep_facts(searched, prepared, settings | summary.to_dict())
    return summary


def _check_limits(
    trials: int | None, minutes: float | None, workers: int | None, max_failures: int | None
) -> None:
    if max_failures is not None and max_failures < 0:
        raise UsageError(f"max_failures must be at least 0, got {max_failures}")
    if workers is not None and workers < 1:
        raise UsageError(f"workers must be at least 1, got {workers}")
    if trials is not None and trials < 1:
        raise UsageError(f"trials must be at least 1, got {trials}")
    if minutes is not None and not minutes > 0:
        raise UsageError(f"minutes must be above 0, got {minutes:g}")


def _ray(
    prepared: Prepared,
    workers: int | None,
    address: str,
    modules: Sequence[ModuleType],
    waits: Callable[[str], None],
    **more: Any,
) -> Pool:
    from peftnas.search.cluster.pool import WorkerPool

    return WorkerPool(
        workers, prepared.spec, address=address, modules_by_value=modules, waits=waits, **more
    )


def _keep_facts(
    study: optuna.Study, prepared: Prepared, run: dict[str, Any] | None = None
) -> None:
    """Keep what a report says besides the trials; ``run`` is added to what earlier runs left."""
    runs = study.user_attrs.get(FACTS, {}).get("runs", [])
    if run is not None:
        ended = datetime.now().astimezone().isoformat(timespec="seconds")
        plain = {name: value for name, value in run.items() if name not in ("storage_url", "out")}
        runs = [*runs, {"ended": ended} | plain]
    here = {"machine": machine_words(), "versions": versions()}
    study.set_user_attr(FACTS, prepared.facts() | here | {"runs": runs})
