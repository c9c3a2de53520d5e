"""What a person sees while a study runs: a live display on a terminal, plain lines otherwise."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from peftnas.search.objectives import COSTS, MEASURED, Objective

_SHOWN_POINTS = 6


@dataclass
class Board:
    """The state of a run, as the driver keeps it and a display shows it.

    Attributes:
        name: of the study.
        objectives: of the study.
        target: asked number of finished trials; ``None``: until the time is up.
        deadline: of ``clock``, after which nothing new starts; ``None``: no limit.
        finished: finished trials in the study, earlier runs included.
        trained: finished by this run.
        failed: trainings of this run that failed.
        refused: proposals of this run that were not trained.
        running: what is being trained: label -> when it started, by ``clock``.
        front: values and words of the points on the front, best first objective first.
        clock: seconds; a monotonic clock.
        first_start: when the first trial of the search started in this run, by ``clock``.
        waits_for: what the run waits for before anything is trained; "" for nothing.
        waits_since: when that began, by ``clock``.
    """

    name: str
    objectives: Sequence[Objective]
    target: int | None = None
    deadline: float | None = None
    finished: int = 0
    trained: int = 0
    failed: int = 0
    refused: int = 0
    running: dict[str, float] = field(default_factory=dict)
    front: list[tuple[dict[str, float], str]] = field(default_factory=list)
    clock: Callable[[], float] = time.monotonic
    first_start: float | None = None
    waits_for: str = ""
    waits_since: float = 0.0

    def wait(self, what: str) -> None:
        """Show from here on what the run waits for; "" for nothing."""
        self.waits_for, self.waits_since = what, self.clock()

    def waiting_words(self) -> str:
        """What it waits for and since when, such as ``0:20  workers load torch``; or ""."""
        if not self.waits_for:
            return ""
        return f"{clock_words(self.clock() - self.waits_since)}  {self.waits_for}"

    def eta_s(self) -> float | None:
        """Seconds to the end at the pace of this run; ``None`` when it is not known yet."""
        now = self.clock()
        left = [] if self.deadline is None else [max(0.0, self.deadline - now)]
        if self.target is not None and self.trained and self.first_start is not None:
            pace = (now - self.first_start) / self.trained
            left.append(pace * max(0, self.target - self.finished))
        return min(left) if left else None

    def headline(self) -> str:
        """One line: done, running, failures, time to go."""
        done = f"{self.finished} trained"
        if self.target is not None:
            done = f"{self.finished}/{self.target} trained"
        parts = [done, f"{len(self.running)} running", f"{self.failed} failed"]
        if self.refused:
            parts.append(f"{self.refused} refused")
        eta = self.eta_s()
        if eta is not None:
            parts.append(f"about {clock_words(eta)} to go")
        return f"{self.name}: {', '.join(parts)}"


class Progress(Protocol):
    """Shows a board. ``note`` reports one event in a line of its own."""

    def note(self, line: str) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *raised: Any) -> None: ...


class Silent:
    """Shows nothing."""

    def note(self, line: str) -> None:
        return None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: Any) -> None:
        return None


class Lines(Silent):
    """One plain line an event, with the headline after each; for logs and pipes.

    While the board waits for something, a line every so many seconds says so.

    Args:
        board: to show.
        console: to write to.
        every_s: seconds between two such lines.
    """

    def __init__(self, board: Board, console: Console, every_s: float = 10.0) -> None:
        self._board, self._console, self._every_s = board, console, every_s
        self._over = threading.Event()
        self._beat = threading.Thread(target=self._say_what_it_waits_for, daemon=True)

    def __enter__(self) -> Self:
        self._beat.start()
        return self

    def __exit__(self, *raised: Any) -> None:
        self._over.set()
        self._beat.join()

    def _say_what_it_waits_for(self) -> None:
        while not self._over.wait(self._every_s):
            words = self._board.waiting_words()
            if words:
                self._console.print(words, markup=False, highlight=False, soft_wrap=True)

    def note(self, line: str) -> None:
        text = f"{line}  [{self._board.headline()}]"
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


class Display(Silent):
    """A live display: headline, what is running, the best points so far."""

    def __init__(self, board: Board, console: Console) -> None:
        self._board = board
        self._live = Live(
            console=console, get_renderable=self._render, refresh_per_second=2, transient=True
        )

    def note(self, line: str) -> None:
        self._live.console.print(Text(line))

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(self, *raised: Any) -> None:
        self._live.__exit__(*raised)

    def _render(self) -> RenderableType:
        board, now = self._board, self._board.clock()
        running = [
            Text(f"  {clock_words(now - since)}  {label}", no_wrap=True, overflow="ellipsis")
            for label, since in list(board.running.items())
        ]
        waiting = board.waiting_words()
        if waiting:
            running.insert(0, Text(f"  {waiting}", no_wrap=True, overflow="ellipsis"))
        return Group(Text(board.headline(), style="bold"), *running, front_table(board))


def front_table(board: Board) -> Table:
    """The best points, spread over the front when there are many."""
    table = Table(box=None, pad_edge=False, title="front so far", title_justify="left")
    for objective in board.objectives:
        table.add_column(objective.words, justify="right")
    table.add_column("architecture", no_wrap=True, overflow="ellipsis")
    points = list(board.front)
    if len(points) > _SHOWN_POINTS:
        last = len(points) - 1
        points = [points[round(i * last / (_SHOWN_POINTS - 1))] for i in range(_SHOWN_POINTS)]
    for values, words in points:
        shown = [_shown(objective, values[objective.name]) for objective in board.objectives]
        table.add_row(*shown, words)
    return table


def _shown(objective: Objective, value: float) -> str:
    """A value of an objective; measured costs with their unit."""
    if objective.name in MEASURED:
        return COSTS[objective.name].words(value)
    return value_words(value)


def show(board: Board, *, wanted: bool) -> Progress:
    """The display that fits: live on a terminal, plain lines without one, nothing if not wanted.

    It writes to stderr, so that stdout is free for results.
    """
    if not wanted:
        return Silent()
    console = Console(stderr=True)
    return Display(board, console) if console.is_terminal else Lines(board, console)


def value_words(value: float) -> str:
    """A number for a table: whole ones with separators, others with four digits."""
    return f"{value:,.0f}" if float(value).is_integer() and abs(value) >= 2 else f"{value:.4g}"


def clock_words(seconds: float) -> str:
    """A duration such as ``4:05`` or ``1:04:05``."""
    minutes, left = divmod(round(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"
