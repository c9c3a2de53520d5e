"""What a run says of its machine: useful, and nothing that names it."""

from __future__ import annotations

import platform

from peftnas.search.machine import machine_words, versions


def test_machine_has_cores_and_no_name() -> None:
    words = machine_words()
    assert " core" in words
    assert "GB memory" in words
    assert platform.node() not in words.split()


def test_versions_are_those_installed() -> None:
    import torch

    assert versions()["python"] == platform.python_version()
    assert torch.__version__.startswith(versions()["torch"])
