"""The display: plain lines without a terminal, a live one with it, nothing when not wanted."""

from __future__ import annotations

import io
import time

from rich.console import Console

from peftnas.search.progress import (
    Board,
    Display,
    Lines,
    Silent,
    clock_words,
    front_table,
    show,
    value_words,
)
from tests.search.toys import objectives


def board() -> Board:
    now = 100.0
    return Board(
        "toy",
        objectives(),
        target=10,
        finished=4,
        trained=2,
        failed=1,
        refused=3,
        running={"trial 7: adapter": 90.0},
        front=[
            ({"accuracy": 0.5 + i / 100, "trainable_parameters": i}, f"p{i}") for i in range(20)
        ],
        clock=lambda: now,
        first_start=80.0,
    )


def test_the_headline_says_all_that_matters() -> None:
    assert (
        board().headline() == "toy: 4/10 trained, 1 running, 1 failed, 3 refused, about 1:00 to go"
    )


def test_the_nearer_of_deadline_and_target_is_shown() -> None:
    state = board()
    state.deadline = 130.0
    assert state.eta_s() == 30.0
    state.target = None
    assert state.eta_s() == 30.0
    state.deadline = None
    assert state.eta_s() is None


def test_plain_lines() -> None:
    text = io.StringIO()
    with Lines(board(), Console(file=text, width=40)) as lines:
        lines.note("trial 3: [lora] accuracy 0.5")
    assert text.getvalue().startswith("trial 3: [lora] accuracy 0.5  [toy: 4/10 trained")
    assert text.getvalue().count("\n") == 1


def test_what_the_run_waits_for_is_said_with_seconds() -> None:
    state = board()
    assert state.waiting_words() == ""
    text = io.StringIO()
    with Lines(state, Console(file=text, width=40), every_s=0.01):
        state.wait("workers load torch")
        state.waits_since -= 20
        deadline = time.monotonic() + 10
        while not text.getvalue() and time.monotonic() < deadline:
            time.sleep(0.01)
        state.wait("")
    assert text.getvalue().startswith("0:20  workers load torch\n")
    state.wait("workers load torch")
    live = io.StringIO()
    with Display(state, Console(file=live, force_terminal=True, width=100)):
        pass
    assert "0:00  workers load torch" in live.getvalue()


def test_the_live_display_shows_running_trials_and_the_front() -> None:
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=100)
    with Display(board(), console) as display:
        display.note("trial 3: done")
    for words in ("4/10 trained", "trial 7: adapter", "0:10", "trial 3: done", "p19", "p0"):
        assert words in text.getvalue()


def test_a_long_front_is_thinned_out_and_keeps_its_ends() -> None:
    assert front_table(board()).row_count == 6


def test_nothing_when_not_wanted() -> None:
    assert isinstance(show(board(), wanted=False), Silent)


def test_words() -> None:
    assert [clock_words(s) for s in (5, 65, 3725)] == ["0:05", "1:05", "1:02:05"]
    assert [value_words(x) for x in (0.81234, 12345, 1.0)] == ["0.8123", "12,345", "1"]
