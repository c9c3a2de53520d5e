"""Keys do not change by accident: studies find their trials again by them.

Where a change of keys is meant, ``python -m tests.methods.golden_keys`` writes them anew.
"""

from __future__ import annotations

from collections import defaultdict

from tests.methods.golden_keys import anatomies, entries, keys_of


def test_keys_are_what_they_were():
    found = entries()
    assert len(found) == 200
    known = anatomies({entry["backbone"] for entry in found})
    changed = defaultdict(list)
    for line, entry in enumerate(found, start=2):
        for name, value in keys_of(entry, known[entry["backbone"]]).items():
            if entry[name] != value:
                changed[name].append(line)
    assert not changed, "keys changed, by lines of golden_keys.json; see this file's docstring"


def test_golden_architectures_train_apart():
    assert len({entry["train_key"] for entry in entries()}) == 200
