"""A limit on disk: what counts, and that a run ends for it."""

from __future__ import annotations

from pathlib import Path

from peftnas.search.disk import DiskLimit, used_bytes
from peftnas.search.jobs import TrialJob, TrialResult
from tests.search.test_driver import Run, Workers
from tests.search.toys import train


def test_files_of_all_folders_count(tmp_path: Path) -> None:
    assert used_bytes(tmp_path / "none") == 0
    for name, size in (("a", 10), ("b/c", 20)):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(bytes(size))
    assert used_bytes(tmp_path) == 30


def test_a_run_over_its_limit_starts_nothing_new(tmp_path: Path) -> None:
    def end(job: TrialJob, attempt: int) -> TrialResult:
        Path(job.folder).mkdir(parents=True, exist_ok=True)
        (Path(job.folder) / "modules").write_bytes(bytes(1000))
        return train(job)

    run = Run(tmp_path, Workers(1, end), target=50)
    limit = DiskLimit(tmp_path / "checkpoints", 2500)
    run.driver.demand.disk_full = lambda: used_bytes(limit.folder) > limit.most
    assert run() == "disk"
    finished = len(run.records.numbers("complete"))
    assert 3 <= finished < 50
    assert run.records.numbers("running") == []
    again = Run(tmp_path, Workers(1, end), target=finished + 1)
    assert again() == "done"
