"""Snapshot: whole or refused, whatever happens to its file, its writer or the disk."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from peftnas.methods import AdaLoRA, LoRA
from peftnas.search.backbone import Backbone
from peftnas.search.errors import CannotSaveError
from peftnas.search.jobs import TrialJob
from peftnas.search.trial.artifact import finished_result
from peftnas.search.trial.bench import Bench
from peftnas.search.trial.fine_tune import run_trial
from peftnas.search.trial.snapshot import (
    SNAPSHOT,
    BadSnapshotError,
    Snapshot,
    read_snapshot,
    remove_snapshot,
    usable_snapshot,
    write_snapshot,
)
from tests.search.conftest import JobOf
from tests.search.trial.stops import spec_on, tensors_of
from tests.search.trial.test_artifact import files_of_at_most

RECIPE = {"steps": 8, "batch_size": 6, "dropout": 0.2, "learning_rate": 1e-2, "evaluations": 2}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def bench(bert: Backbone) -> Bench:
    return spec_on(bert).build()


def snapshot_at(step: int, fill: float = 1.0, size: int = 50) -> Snapshot:
    shared = torch.arange(6.0)
    tensors = {
        "matrix": torch.full((size, 3), fill),
        "half": torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
        "mask": torch.tensor([True, False, True]),
        "scalar": torch.tensor(3.0),
        "bits": torch.tensor([255, 0], dtype=torch.uint8),
        "empty": torch.zeros(0, dtype=torch.float64),
        "one": shared[:4],
        "other": shared[2:],
        "across": torch.arange(6).view(2, 3).T,
    }
    return Snapshot("key", 7, step, {"curve": [{"loss": 0.1 + 0.2}], "word": "ä"}, tensors)


def assert_same(found: Snapshot | None, expected: Snapshot) -> None:
    assert found is not None
    assert (found.key, found.seed, found.step) == (expected.key, expected.seed, expected.step)
    assert found.state == expected.state
    assert found.tensors.keys() == expected.tensors.keys()
    for name, tensor in expected.tensors.items():
        assert found.tensors[name].dtype == tensor.dtype
        assert torch.equal(found.tensors[name], tensor), name


def test_what_is_written_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints" / "4"
    assert read_snapshot(folder) is None
    for step in (3, 5):
        write_snapshot(folder, snapshot_at(step))
        assert_same(read_snapshot(folder), snapshot_at(step))
    assert [path.name for path in folder.iterdir()] == [SNAPSHOT]
    found = read_snapshot(folder)
    assert found is not None
    found.tensors["matrix"].zero_()  # memory of its own: the file stays as it is
    assert_same(read_snapshot(folder), snapshot_at(5))
    remove_snapshot(folder)
    remove_snapshot(folder)
    assert not folder.exists()


def test_a_snapshot_is_for_its_own_training_up_to_its_own_step(tmp_path: Path) -> None:
    write_snapshot(tmp_path, snapshot_at(5))
    assert_same(usable_snapshot(tmp_path, "key", 7, 5), snapshot_at(5))
    for key, seed in (("another", 7), ("key", 8)):
        with pytest.raises(BadSnapshotError, match="is that of another training"):
            usable_snapshot(tmp_path, key, seed, 5)
    with pytest.raises(BadSnapshotError, match="is at step 5, beyond step 4"):
        usable_snapshot(tmp_path, "key", 7, 4)


def test_a_torn_or_damaged_file_is_refused_or_reads_the_same(tmp_path: Path) -> None:
    write_snapshot(tmp_path, snapshot_at(5))
    whole = (tmp_path / SNAPSHOT).read_bytes()
    lengths = [*range(0, len(whole), 37), len(whole) - 1]
    damaged = [whole[:length] for length in lengths] + [whole + b"\0"]
    for place in range(len(whole)):
        damaged.append(whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :])
    refused = 0
    for content in damaged:
        (tmp_path / SNAPSHOT).write_bytes(content)
        try:
            found = read_snapshot(tmp_path)
        except BadSnapshotError as error:
            assert str(tmp_path / SNAPSHOT) in str(error)
            refused += 1
        else:  # a bit that says nothing, such as one of the padding of the header
            assert_same(found, snapshot_at(5))
    assert refused > len(damaged) - 20


def test_a_snapshot_of_another_format_is_refused(tmp_path: Path) -> None:
    write_snapshot(tmp_path, snapshot_at(5))
    whole = (tmp_path / SNAPSHOT).read_bytes()
    assert whole.count(b'"format":"1"') == 1
    (tmp_path / SNAPSHOT).write_bytes(whole.replace(b'"format":"1"', b'"format":"9"'))
    with pytest.raises(BadSnapshotError, match="has format '9'"):
        read_snapshot(tmp_path)


@pytest.mark.parametrize(
    "harm", ["torn", "another key", "another seed", "other tensors", "beyond"]
)
def test_a_trial_refuses_a_bad_snapshot_and_starts_again(
    bench: Bench, job_of: JobOf, tmp_path: Path, harm: str
) -> None:
    job = job_of(LoRA(rank=2), folder=str(tmp_path / "4"), **RECIPE)
    straight = run_trial(bench, dataclasses.replace(job, folder=str(tmp_path / "5")))
    before = dataclasses.replace(job, until=3)
    wanted, reason = job, "is that of another training"
    if harm == "another key":
        before = dataclasses.replace(before, key="another")
    elif harm == "another seed":
        before = dataclasses.replace(before, seed=12)
    elif harm == "other tensors":
        other = job_of(LoRA(rank=3), folder=job.folder, **RECIPE)
        before = dataclasses.replace(other, until=3)
        reason = "does not fit the trial: modules.layers"
    assert run_trial(bench, before).status == "paused"
    if harm == "torn":
        path = tmp_path / "4" / SNAPSHOT
        path.write_bytes(path.read_bytes()[:-9])
        reason = "is torn or damaged"
    if harm == "beyond":
        wanted, reason = dataclasses.replace(job, until=2), "is at step 3, beyond step 2"
    result = run_trial(bench, wanted)
    assert reason in result.refused
    assert result.resumed_from == 0
    assert result.losses == straight.losses[: wanted.until]
    if wanted.until is None:
        assert tensors_of(result) == tensors_of(straight)


def assert_intact(folder: Path, expected: Snapshot) -> None:
    assert_same(read_snapshot(folder), expected)
    assert [path.name for path in folder.iterdir()] == [SNAPSHOT]


def test_a_full_disk_leaves_the_snapshot_before(tmp_path: Path) -> None:
    folder = tmp_path / "4"
    write_snapshot(folder, snapshot_at(3))
    with files_of_at_most(5000), pytest.raises(CannotSaveError) as caught:
        write_snapshot(folder, snapshot_at(5, size=1000))
    assert "a snapshot of 0.0 MB cannot be written to " in str(caught.value)
    assert "MB are free there" in str(caught.value)
    assert_intact(folder, snapshot_at(3))
    with files_of_at_most(10), pytest.raises(CannotSaveError):
        write_snapshot(tmp_path / "5", snapshot_at(5))
    assert not (tmp_path / "5").exists()


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system of so many bytes."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    found = shutil.which("mount") and subprocess.run(command, capture_output=True, text=True)
    if not found or found.returncode:
        pytest.skip(f"needs the right to mount a small disk: {found and found.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_without_room_leaves_the_snapshot_before(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "256k") as disk:
        folder = disk / "4"
        write_snapshot(folder, snapshot_at(3))
        large = snapshot_at(5, size=50_000)
        with pytest.raises(CannotSaveError, match=r"0\.6 MB .*No space left on device") as caught:
            write_snapshot(folder, large)
        assert "0.3 MB are free there" in str(caught.value)
        assert_intact(folder, snapshot_at(3))


def test_a_trial_on_a_full_disk_goes_on_when_there_is_room(
    bench: Bench, job_of: JobOf, tmp_path: Path
) -> None:
    job = job_of(LoRA(rank=2), folder=str(tmp_path / "4"), **RECIPE)
    straight = run_trial(bench, dataclasses.replace(job, folder=str(tmp_path / "5")))
    rung = dataclasses.replace(job, until=3)
    run_trial(bench, rung)
    for wanted in (dataclasses.replace(job, until=5), job):
        with files_of_at_most(3000), pytest.raises(CannotSaveError, match="cannot be written"):
            run_trial(bench, wanted)
        found = read_snapshot(job.folder)
        assert found is not None and found.step == 3
        assert sorted(path.name for path in tmp_path.iterdir()) == ["4", "5"]
        assert [path.name for path in (tmp_path / "4").iterdir()] == [SNAPSHOT]
    end = run_trial(bench, job)
    assert end.resumed_from == 3
    assert tensors_of(end) == tensors_of(straight)


NAMING = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree")


def killed_at_each(events: Sequence[str], folder: Path, work: Callable[[], Any]) -> Iterator[int]:
    """Fork, and kill the fork by SIGKILL before the n-th of some events below ``folder``.

    Yields n behind each death, until a fork comes to its end.
    """
    number = 0
    while True:
        number += 1
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # other threads hold nothing here
            pid = os.fork()
        if pid == 0:
            left = number

            def hook(event: str, arguments: tuple[Any, ...]) -> None:
                nonlocal left
                names = [str(name) for name in arguments[:2]]
                if event in events and any(name.startswith(str(folder)) for name in names):
                    left -= 1
                    if left == 0:
                        os.kill(os.getpid(), signal.SIGKILL)

            sys.addaudithook(hook)
            try:
                work()
                os._exit(0)
            finally:
                os._exit(1)
        _, status = os.waitpid(pid, 0)
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0
            return
        assert os.WTERMSIG(status) == signal.SIGKILL
        yield number


def test_a_writer_killed_at_any_moment_leaves_the_old_or_the_new_one(tmp_path: Path) -> None:
    folder, steps = tmp_path / "4", []
    write_snapshot(folder, snapshot_at(3))

    def write() -> None:
        write_snapshot(folder, snapshot_at(5, fill=2.0))

    for _ in killed_at_each((*NAMING, "open"), tmp_path, write):
        found = read_snapshot(folder)
        assert found is not None
        steps.append(found.step)
        assert_same(found, snapshot_at(3) if found.step == 3 else snapshot_at(5, fill=2.0))
    assert steps == sorted(steps) and set(steps) == {3, 5}
    for draft in folder.glob(".*.part"):
        os.utime(draft, (time.time() - 3600,) * 2)
    write_snapshot(folder, snapshot_at(6))
    assert_intact(folder, snapshot_at(6))


def test_a_trial_killed_while_it_ends_has_its_snapshot_or_its_artifact(
    bench: Bench, job_of: JobOf, tmp_path: Path
) -> None:
    def job(number: int, **changes: Any) -> TrialJob:
        made = job_of(AdaLoRA(rank=2, target_rank=1), folder=str(tmp_path / str(number)), **RECIPE)
        return dataclasses.replace(made, **changes)

    older = run_trial(bench, job(4, key="older", seed=12))
    assert older.status == "complete"
    run_trial(bench, job(4, until=7))
    kept = tmp_path / "kept"
    shutil.copytree(tmp_path / "4", kept)
    expected = tensors_of(run_trial(bench, job(5)))
    endings = set()
    for _ in killed_at_each(NAMING, tmp_path, lambda: run_trial(bench, job(4))):
        done = finished_result(tmp_path / "4", job(4).key)
        endings.add(done is not None)
        if done is None:
            found = read_snapshot(tmp_path / "4")
            assert found is not None and found.step == 7
        else:
            assert tensors_of(done) == expected
        again = run_trial(bench, job(4))
        assert again.resumed_from == 7 or done is not None
        assert tensors_of(again) == expected
        shutil.rmtree(tmp_path / "4")
        shutil.copytree(kept, tmp_path / "4")
    assert endings == {False, True}


@dataclasses.dataclass(frozen=True)
class Hungry:
    """A task whose scores take more memory than there is, from the second one on."""

    inner: Any
    asked: list[int] = dataclasses.field(default_factory=list)

    def score(self, predictions: Any, labels: Any) -> dict[str, float]:
        self.asked.append(1)
        if len(self.asked) > 1:
            torch.empty(2**60, dtype=torch.uint8)
        return self.inner.score(predictions, labels)  # type: ignore[no-any-return]


def test_where_memory_runs_out_the_device_is_named_and_the_snapshot_stays(
    bert: Backbone, job_of: JobOf, tmp_path: Path
) -> None:
    bench = spec_on(bert).build()
    task = bench.task
    bench.task = Hungry(task)  # type: ignore[assignment]
    job = job_of(LoRA(rank=2), folder=str(tmp_path / "4"), **RECIPE)
    run_trial(bench, dataclasses.replace(job, until=3))
    result = run_trial(bench, job)
    assert (result.status, result.cause) == ("failed", "out_of_memory")
    assert result.device == "cpu"
    assert result.device_bytes == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    found = read_snapshot(job.folder)
    assert found is not None and found.step == 3

    bench.task = task
    end = run_trial(bench, job)
    straight = run_trial(bench, dataclasses.replace(job, folder=str(tmp_path / "5")))
    assert end.resumed_from == 3
    assert tensors_of(end) == tensors_of(straight)


class Remembers(torch.nn.Module):
    """Keeps more than tensors."""

    def get_extra_state(self) -> dict[str, int]:
        return {"seen": 3}


def test_what_no_snapshot_can_hold_is_said(
    bench: Bench, job_of: JobOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from peftnas.methods.lora import LoRADelta

    monkeypatch.setattr(LoRADelta, "get_extra_state", Remembers.get_extra_state, raising=False)
    job = dataclasses.replace(job_of(folder=str(tmp_path / "4"), **RECIPE), until=3)
    result = run_trial(bench, job)
    assert (result.status, result.cause) == ("failed", "error")
    assert "what a module keeps between steps must be a tensor, got dict for" in result.error
