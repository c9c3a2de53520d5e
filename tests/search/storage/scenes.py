"""Trials, holders and outages that the tests of storages share."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import optuna
import sqlalchemy
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from peftnas.search.storage import open_to_write
from peftnas.search.storage.holder import Holder
from peftnas.search.storage.lease import LEASES, Lease, make_table
from peftnas.search.storage.tokens import TOKEN
from tests.search.storage.places import Place
from tests.search.storage.writing_process import ROOT

LARGE = {"losses": [number / 7 for number in range(50_000)]}  # about 1 MB of JSON
ELSEWHERE = Holder("far", "far boot 1", 7, 1.0, "2026-12-01 10:00:00+00:00")


def fill(study: optuna.Study) -> None:
    """Every kind of trial and of what can be kept of one."""
    trial = study.ask()
    trial.suggest_float("rate", 1e-4, 1e-2, log=True)
    trial.suggest_int("rank", 1, 64, log=True)
    trial.suggest_categorical("gate", (None, "unipelt", True, 3))
    trial.set_user_attr("words", "größe → 模型 \U0001f600")
    trial.set_user_attr("nan", {"loss": math.nan, "worst": math.inf})
    trial.set_user_attr("large", LARGE)
    trial.set_user_attr("rungs", {"10": {"accuracy": 0.5}, "30": {"accuracy": 0.75}})
    trial.set_constraint("feasible", 0.0)
    trial.set_constraint("bytes", 2.5)
    study.tell(trial, [0.1 + 0.2, 1e-17])
    study.tell(study.ask(), [-math.inf, math.inf])
    study.tell(study.ask(), state=TrialState.FAIL)
    study.add_trial(finished(3.0, 0.5))
    study.ask().suggest_int("rank", 1, 64, log=True)


def tell(study: optuna.Study, number: int) -> None:
    """One trial from ask to tell."""
    trial = study.ask()
    trial.suggest_float("rate", 1e-4, 1e-2, log=True)
    trial.set_user_attr("number", number)
    study.tell(trial, [float(number), 1.0])


def finished(*values: float) -> FrozenTrial:
    return create_trial(
        values=values,
        params={"rate": 1e-3},
        distributions={"rate": FloatDistribution(1e-4, 1e-2, log=True)},
        user_attrs={"result": {"score": values[0]}},
    )


def comparable(trial: FrozenTrial) -> dict[str, Any]:
    """What a trial holds besides times, ids and random numbers; NaN equals NaN."""
    return {
        "number": trial.number,
        "state": trial.state,
        "values": trial.values,
        "params": sorted(trial.params),
        "distributions": trial.distributions,
        "user_attrs": json.dumps(dict(trial.user_attrs), sort_keys=True),
        "constraints": trial.constraints,
        "system_attrs": sorted(trial.system_attrs.keys() - {TOKEN}),
        "ended": trial.datetime_complete is not None,
    }


def pretend(place: Place, who: Holder, silent_s: float = 0.0) -> Lease:
    """Write into the storage that ``who`` took the study "a" and was last heard of then."""
    storage = open_to_write(place.url)
    make_table(storage.engine)
    lease = Lease("a", uuid.uuid4().hex)
    with storage.engine.begin() as connection:
        connection.execute(sqlalchemy.delete(LEASES).where(LEASES.c.study == "a"))
        row = {"token": lease.token, "holder": who.to_json(), "beats": 0, "heartbeat": 0.0}
        connection.execute(sqlalchemy.insert(LEASES).values(study="a", **row))
    lease.renew(storage.engine)  # by the clock of the database
    with storage.engine.begin() as connection:
        earlier = LEASES.c.heartbeat - silent_s
        connection.execute(sqlalchemy.update(LEASES).values(heartbeat=earlier))
    storage.engine.dispose()
    return lease


def in_own_process(*arguments: object) -> subprocess.Popen[str]:
    """``writing_process`` with these arguments, started and not waited for."""
    program = "tests.search.storage.writing_process"
    command = [sys.executable, "-m", program, *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL, text=True)


@contextmanager
def in_background(away: AbstractContextManager[None]) -> Iterator[None]:
    """An outage that has begun when this is entered, and ends by itself meanwhile."""
    away.__enter__()
    ending = threading.Thread(target=away.__exit__, args=(None, None, None))
    ending.start()
    try:
        yield
    finally:
        ending.join()
