"""What a place promises while nobody is up in it."""

import time

from peftnas.search.cluster import slot
from peftnas.search.cluster.slot import Slot

GB = 10**9


def test_a_worker_that_is_gone_may_come_back_with_its_memory_for_a_while() -> None:
    place = Slot(0, on_gpu=False, threads=1)
    assert not place.may_get(1)  # nobody was here yet
    place.enter("starts")
    assert place.may_get(80 * GB)  # nobody knows
    place.about = {"memory_bytes": 24 * GB}
    place.enter("idle")
    assert not place.may_get(GB)  # it is here

    place.empty()
    place.enter("waits for room")
    assert place.may_get(24 * GB) and not place.may_get(25 * GB)
    place.held_until -= slot.RETURN_S
    assert not place.may_get(1)


def test_pauses_between_failed_starts_grow() -> None:
    place = Slot(0, on_gpu=False, threads=1)
    place.fail("no weights", at_once=True)
    assert place.retry_at <= time.monotonic() and place.facts().note == "no weights"
    pauses = []
    for _ in range(20):
        place.fail("no weights", at_once=False)
        pauses.append(round(place.retry_at - time.monotonic()))
    assert pauses == sorted(pauses) and (pauses[0], pauses[-1]) == (20, 600)


def test_facts_say_how_long_it_waited_in_all() -> None:
    place = Slot(3, on_gpu=False, threads=2, about={"memory_bytes": GB, "device": "cpu"})
    place.rest()
    place.since -= 5.0
    assert 5.0 <= place.facts().idle_s < 6.0
    place.enter("busy")
    place.since -= 100.0
    facts = place.facts()
    assert 5.0 <= facts.idle_s < 6.0 and facts.state_s >= 100.0
    assert (facts.number, facts.threads, facts.memory_bytes) == (3, 2, GB)
