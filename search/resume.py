"""Resume: what an earlier run of a study left, and what becomes of it."""

from __future__ import annotations

import shutil

from peftnas.search.distributions import Answers
from peftnas.search.intake import renamed
from peftnas.search.jobs import TrialResult
from peftnas.search.outcomes import outcome, rung_under_way, rungs_of
from peftnas.search.plans import plan_of
from peftnas.search.proposals import Proposer
from peftnas.search.records import Records
from peftnas.search.work import Work


def retell(proposer: Proposer, records: Records, top: int) -> dict[int, int]:
    """Let a new proposer know all trials of the study and what they reached.

    Args:
        proposer: that knows none yet.
        records: of the study.
        top: the rung of a whole training.
    Returns:
        The tickets of the trials by number.
    """
    tickets = {}
    for trial in records.trials():
        ended, plan = outcome(trial), plan_of(trial)
        if plan is None or ended in ("refused", "enqueued"):
            continue
        ticket = tickets[trial.number] = proposer.know(plan, Answers.of(trial))
        for entry in rungs_of(trial):
            if entry["rung"] < top:
                proposer.tell(ticket, entry["rung"], entry["values"], entry["constraints"])
        if ended == "complete":
            proposer.tell(ticket, top, trial.values, trial.constraints)
        elif trial.user_attrs.get("given_up"):
            proposer.forget(ticket)
        elif ended == "failed":
            proposer.tell(ticket, min(rung_under_way(trial), top), None, trial.constraints)
    proposer.go_on(renamed(records.sampler, tickets))
    return tickets


def finish_written(work: list[Work], *, keep: bool = True) -> list[Work]:
    """Tell the trials whose worker had written the end of their training before it was lost.

    Args:
        work: that an earlier run left under way.
        keep: whether checkpoints of told trials stay.
    Returns:
        The work that is left.
    """
    left = []
    for one in work:
        result = written(one)
        if result is None:
            left.append(one)
            continue
        one.records.tell(one.number, result)
        if not keep:
            shutil.rmtree(one.folder)
    return left


def written(work: Work) -> TrialResult | None:
    """The result that a worker wrote for this work, told or not; ``None`` without one."""
    from peftnas.search.trial.artifact import finished_result
    from peftnas.search.trial.record import paused_result

    if work.until is None:
        return finished_result(work.folder, work.plan.key)
    return paused_result(work.folder, work.plan.key, work.plan.seed, work.until)
