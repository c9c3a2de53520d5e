"""The file that says what a run does: written now and then, read while it is fresh."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import pytest

from peftnas.search.live import STALE_S, Costs, Live, read_live, worker_words
from peftnas.search.pool_protocol import WorkerFacts

BUSY = WorkerFacts(
    1, "busy", state_s=4.2, idle_s=0.5, host="node-a", pid=7, device="cpu", trial=12, step=30
)


def test_what_is_written_is_read_until_it_is_old(tmp_path: Path) -> None:
    now = 0.0
    live = Live(tmp_path, lambda: [BUSY], Costs(1.0, 10, 0.2, 20), clock=lambda: now)
    live.renew(finished=3)
    found = read_live(tmp_path)
    assert found is not None and found["finished"] == 3
    assert worker_words(found["workers"][0]) == (
        "worker 1 on node-a: trial 12 at step 30 for 4 s, has waited 0.5 s in all"
    )
    assert Costs(**found["costs"]).words() == ("a proposal takes 100 ms, writing a result 10 ms")
    live.renew(finished=4)
    assert read_live(tmp_path) == found  # too soon
    now = 2.5
    live.renew(finished=4)
    again = read_live(tmp_path)
    assert again is not None and again["finished"] == 4

    file = tmp_path / "live.json"
    file.write_text(json.dumps(again | {"at": time.time() - STALE_S - 1}))
    assert read_live(tmp_path) is None
    file.write_text("torn")
    assert read_live(tmp_path) is None
    live.close()
    assert read_live(tmp_path) is None and os.listdir(tmp_path) == []


def test_a_folder_that_cannot_be_written_ends_no_run(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    live = Live(folder, lambda: [BUSY])
    shutil.rmtree(folder)
    live.renew()
    assert read_live(folder) is None


@pytest.mark.parametrize("state", ["idle", "waits for room"])
def test_a_worker_without_a_trial_says_its_state(state: str) -> None:
    facts = {**BUSY.__dict__, "trial": None, "state": state, "note": "no node"}
    assert worker_words(facts).startswith(f"worker 1 on node-a: {state} for 4 s")
    assert worker_words(facts).endswith("(no node)")
