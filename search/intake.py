"""Intake: new trials from the asker into the study, and their results back to the sampler."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from peftnas.search.asking import Asker
from peftnas.search.distributions import Answers
from peftnas.search.log import EventLog
from peftnas.search.plans import Plan
from peftnas.search.proposals import Refusal
from peftnas.search.records import Records
from peftnas.search.scores import Score
from peftnas.search.standing import Standing
from peftnas.search.work import Work

Array = NDArray[np.float64]


def renamed(noted: Mapping[str, Any], names: Mapping[int, int]) -> dict[str, Any]:
    """What a sampler noted of a study, its trials under other names; those without one left out.

    Args:
        noted: see ``SamplerView.system_attrs``: lists name trials.
        names: new by old.
    """
    return {
        key: [names[one] for one in value if one in names] if isinstance(value, list) else value
        for key, value in noted.items()
    }


class Intake:
    """Takes accepted proposals, one for each worker that is free.

    Args:
        asker: proposes.
        records: of the search's study.
        standing: of its trials.
        log: keeps every event.
        numbers: of the trials that are known already, by ticket.
        look_every_s: seconds between two looks at what was enqueued by others.

    Attributes:
        refused: proposals that were not trained.
        exhausted: whether the space holds no point that is left.
    """

    def __init__(
        self,
        asker: Asker,
        records: Records,
        standing: Standing,
        log: EventLog,
        numbers: Mapping[int, int],
        look_every_s: float = 2.0,
    ) -> None:
        self.refused = 0
        self.exhausted = False
        self._asker, self._records, self._standing, self._log = asker, records, standing, log
        self._numbers = dict(numbers)
        self._tickets = {number: ticket for ticket, number in numbers.items()}
        self._look_every_s = look_every_s
        self._looked = -math.inf
        self._begun: dict[str, int] = {}
        self._enqueued: deque[tuple[int, Plan, Answers]] = deque()

    @property
    def requested(self) -> int:
        """Trials that were asked for and not taken yet."""
        return self._asker.wanted

    @property
    def costs(self) -> tuple[float, int]:
        """Seconds that proposing has taken, and for how many requests."""
        return self._asker.ask_s, self._asker.asks

    def request(self) -> None:
        """Have one more trial proposed."""
        self._asker.request()

    def take(self, timeout: float) -> Work | None:
        """A new trial, written into the study as running; ``None`` when none is there yet.

        Args:
            timeout: seconds to wait for one at most.
        """
        found = self._asker.take(timeout)
        if found is None:
            return None
        for refusal in found.refusals:
            self._refuse(refusal)
        self._records.sampler = renamed(found.sampler, self._numbers)
        new = found.proposal
        if new is None:
            if not self.exhausted:
                self.exhausted = True
                self._log.write("exhausted")
            return None
        if new.plan.key in self._begun:
            # proposed before it was enqueued by somebody
            twin = self._begun[new.plan.key]
            self._refuse(Refusal(new.answers, "duplicate of trial", twin))
            self._numbers[new.ticket] = self._numbers[twin]  # repeats of it name that trial
            self._asker.forget(new.ticket)
            return None
        self._begun[new.plan.key] = new.ticket
        number = self._records.start(new.plan, new.answers, self._standing.first_rung)
        self._name(new.ticket, number)
        return self._standing.begin(number, new.plan, new.ticket)

    def enqueued(self) -> Work | None:
        """A trial that somebody enqueued; ``None`` without one."""
        now = time.monotonic()
        if not self._enqueued and now - self._looked >= self._look_every_s:
            self._looked = now
            self._enqueued.extend(self._records.enqueued())
        if not self._enqueued:
            return None
        number, plan, answers = self._enqueued.popleft()
        if plan.key in self._begun:
            twin = self._numbers[self._begun[plan.key]]
            self._records.begin(number)  # Optuna ends running trials only
            self._records.refuse(number, f"duplicate of trial {twin}")
            return None
        self._records.begin(number, self._standing.first_rung)
        ticket = -1 - number
        self._name(ticket, number)
        self._begun[plan.key] = ticket
        self._asker.know(plan, answers, ticket)
        return self._standing.begin(number, plan, ticket)

    def forecast(self, numbers: Sequence[int]) -> tuple[Array, Array]:
        """What trials are expected to reach at the top; see ``Proposer.forecast``."""
        return self._asker.forecast([self._tickets[number] for number in numbers])

    def forget(self, work: Work) -> None:
        """A trial was given up, for no reason that the sampler should learn."""
        if work.ticket is not None:
            self._asker.forget(work.ticket)

    def tell(self, work: Work, score: Score) -> None:
        """Let the sampler know what a trial reached; every later request knows it too."""
        if work.ticket is not None:
            values = None if score.failed else score.values
            self._asker.tell(work.ticket, work.rung, values, score.constraints)

    def _name(self, ticket: int, number: int) -> None:
        self._numbers[ticket] = number
        self._tickets[number] = ticket

    def _refuse(self, refusal: Refusal) -> None:
        reason = refusal.reason
        if refusal.twin is not None:
            reason = f"{reason} {self._numbers[refusal.twin]}"
        number = self._records.refused(refusal.answers, reason)
        self.refused += 1
        self._log.write("refused", trial=number, reason=reason)
