"""Asking ahead: a thread that proposes trials while others train, so that no worker waits for it.

Requests and results are taken in the order in which they were given. What a sampler knew when it
proposed a trial therefore does not hang on how fast it was, and a study with one worker comes out
the same each time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from queue import Empty, SimpleQueue
from threading import Thread
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from peftnas.search.distributions import Answers
from peftnas.search.plans import Plan
from peftnas.search.proposals import Found, Proposer

Array = NDArray[np.float64]


_POLL_S = 0.2


class Asker:
    """Runs a proposer in a thread of its own.

    Args:
        proposer: used by this thread alone from here on.

    Attributes:
        wanted: proposals that were requested and not yet taken.
        ask_s: seconds that the proposer has worked, and ``asks``, for how many requests.
    """

    def __init__(self, proposer: Proposer) -> None:
        self.wanted = 0
        self.ask_s, self.asks = 0.0, 0
        self._proposer = proposer
        self._commands: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._found: SimpleQueue[Found] = SimpleQueue()
        self._over = False
        self._error: BaseException | None = None
        self._thread = Thread(target=self._work, name="asker", daemon=True)

    def request(self) -> None:
        """Ask for one more proposal, which :meth:`take` gives later."""
        self._put(self._propose)
        self.wanted += 1

    def tell(
        self,
        ticket: int,
        rung: int,
        values: Sequence[float] | None,
        constraints: Mapping[str, float],
    ) -> None:
        """As ``Proposer.tell``; known to every proposal that is requested later."""
        self._put(partial(self._proposer.tell, ticket, rung, values, constraints))

    def know(self, plan: Plan, answers: Answers, ticket: int) -> None:
        """As ``Proposer.know``; known to every proposal that is requested later."""
        self._put(partial(self._proposer.know, plan, answers, ticket))

    def forget(self, ticket: int) -> None:
        """As ``Proposer.forget``; known to every proposal that is requested later."""
        self._put(partial(self._proposer.forget, ticket))

    def forecast(self, tickets: Sequence[int]) -> tuple[Array, Array]:
        """As ``Proposer.forecast``, from all that was told before; waits for what was requested.

        Raises:
            Exception: whatever the proposer raised.
        """
        answer: SimpleQueue[tuple[Array, Array]] = SimpleQueue()
        self._put(lambda: answer.put(self._proposer.forecast(tickets)))
        while True:
            try:
                return answer.get(timeout=_POLL_S)
            except Empty:
                self._raise_again()

    def take(self, timeout: float = 0.0) -> Found | None:
        """The answer to the oldest open request.

        Args:
            timeout: seconds to wait for it at most.
        Returns:
            ``None`` when it is not there yet, or when nothing was requested.
        Raises:
            Exception: whatever the proposer raised.
        """
        if not self.wanted:
            return None
        try:
            found = self._found.get(timeout=timeout) if timeout else self._found.get_nowait()
        except Empty:
            self._raise_again()
            return None
        self.wanted -= 1
        return found

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over = True  # requests that are still open are of no use
        self._commands.put(None)
        # a slow sampler may be in the middle of an ask whose answer nobody needs
        self._thread.join(timeout=60.0)
        if error is None:
            self._raise_again()

    def _put(self, command: Callable[[], object]) -> None:
        self._raise_again()
        self._commands.put(command)

    def _raise_again(self) -> None:
        """Raise here what ended the thread."""
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        while (command := self._commands.get()) is not None:
            try:
                command()
            except BaseException as error:  # raised again in the thread that asks
                self._error = error
                return

    def _propose(self) -> None:
        if self._over:
            return
        started = time.perf_counter()
        self._found.put(self._proposer.next())
        self.ask_s += time.perf_counter() - started
        self.asks += 1
