"""How a stored trial ended, read from its Optuna state and its attributes.

- complete: COMPLETE, constraint ``feasible`` met, measured values. Where a measured cost is over
  one of the study's constraints, that constraint is violated too (its text is the key) and the
  sentences are in ``over``: such a trial counts as finished, and is on no front.
- stopped: PRUNED, by halving; what it reached at each rung is in ``rungs``. It counts as finished
  and is on no front: its scores are those of a shorter training.
- failed: the training failed by the architecture's or recipe's own fault. COMPLETE with the worst
  possible values and ``feasible`` violated, since samplers learn nothing from FAIL. The same word
  for a trial given up after its worker died again and again: FAIL, with ``given_up``.
- refused: FAIL, with a ``reason``: over budget, a duplicate, died inside ask. It cost nothing.
- enqueued: WAITING; somebody asked for it, and it trains before the next proposal.
- running: none of these; it trains, or waits at a rung.
"""

from __future__ import annotations

from typing import Any, Literal

from optuna.trial import FrozenTrial, TrialState

Outcome = Literal["complete", "stopped", "failed", "refused", "enqueued", "running"]

FEASIBLE = "feasible"
RUNGS = "rungs"
UNDER_WAY = "under_way"
LOSSES = "losses"  # how often a trial was lost, by cause


def outcome(trial: FrozenTrial) -> Outcome:
    """How the trial ended; see the head of this file."""
    match trial.state:
        case TrialState.COMPLETE:
            return "complete" if trial.constraints.get(FEASIBLE, 1.0) <= 0 else "failed"
        case TrialState.PRUNED:
            return "stopped"
        case TrialState.FAIL:
            return "failed" if trial.user_attrs.get("given_up") else "refused"
        case TrialState.WAITING:
            return "enqueued"
    return "running"


def scored(trial: FrozenTrial) -> bool:
    """Whether the trial counts: it has a score, of a whole training or at a rung."""
    ended = outcome(trial)
    return ended in ("complete", "stopped") or (ended == "running" and bool(rungs_of(trial)))


def within_limits(trial: FrozenTrial) -> bool:
    """Whether a finished trial meets every constraint; only such a one can be on a front."""
    return all(violation <= 0 for violation in trial.constraints.values())


def rungs_of(trial: FrozenTrial) -> list[dict[str, Any]]:
    """What the trial reached at each rung so far, the top left out, lowest first.

    Returns:
        An entry a rung: ``rung``, from 0; ``step``; ``values`` in the order of the objectives;
        ``metrics``; ``constraints``, by text, met where <= 0; ``over``, sentences on those that
        are not.
    """
    found: list[dict[str, Any]] = trial.user_attrs.get(RUNGS, [])
    return found


def rung_under_way(trial: FrozenTrial) -> int:
    """The rung that a running trial was last sent to train to."""
    rung: int = trial.user_attrs.get(UNDER_WAY, 0)
    return rung


def waits(trial: FrozenTrial) -> bool:
    """Whether a running trial stands at a rung, its worker gone on to other work."""
    rungs = rungs_of(trial)
    return bool(rungs) and rungs[-1]["rung"] >= rung_under_way(trial)
