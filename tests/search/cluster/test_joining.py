"""A cluster started by ``ray start``: drivers and nodes join that know nothing of each other."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from peftnas.methods import LoRA
from peftnas.search import UsageError, open_results
from peftnas.search.backbone import Backbone
from peftnas.search.cluster.placement import sweep
from peftnas.search.cluster.pool import Finished
from peftnas.search.storage import sqlite_url
from peftnas.search.trial.fine_tune import run_trial
from tests.search import conftest
from tests.search.cluster.conftest import PATIENCE_S, STORE_BYTES, PoolOf, next_of
from tests.search.cluster.study_files import STUDY
from tests.search.cluster.test_kills import ROOT, check_whole, finished, kill, started, wait_for
from tests.search.conftest import JobOf, SpecOf

pytestmark = pytest.mark.slow

BY_VALUE = (sys.modules[__name__], conftest)
HIDDEN = ("search", "spaces", "methods", "studies", "tests", "src")

RAY = (sys.executable, "-m", "ray.scripts.scripts")

Starts = Callable[..., subprocess.Popen[bytes]]


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


@pytest.fixture
def folder() -> Iterator[str]:
    """For Ray's files; its sockets need a short path."""
    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp", ignore_cleanup_errors=True) as made:
        yield made


@pytest.fixture
def ray_start(folder: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Starts]:
    """Runs ``ray start --block`` with some options, and ends what it started."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    running: list[subprocess.Popen[bytes]] = []

    def start(
        *options: str, before: tuple[str, ...] = (), **variables: str
    ) -> subprocess.Popen[bytes]:
        command = [*before, *RAY, "start", "--block", *options]
        running.append(
            subprocess.Popen(
                [*command, "--object-store-memory", str(STORE_BYTES)],
                env=os.environ | variables,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        )
        return running[-1]

    yield start
    for process in reversed(running):
        process.send_signal(signal.SIGINT)
    for process in reversed(running):
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture
def address(ray_start: Starts, folder: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Of a head on which nothing runs; ``auto`` finds it."""
    port = free_port()
    ray_start(
        "--head", "--port", str(port), "--num-cpus", "0", "--include-dashboard", "false",
        "--temp-dir", folder,
    )  # fmt: skip
    wait_for_port(port)
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{port}")
    return f"127.0.0.1:{port}"


def wait_for_port(port: int) -> None:
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
            return
        except OSError:
            assert time.monotonic() < end, "the head does not come up"
            time.sleep(0.2)


def begin(out: Path, backbone: Backbone, trials: int) -> subprocess.Popen[bytes]:
    arguments = [str(out), str(backbone.folder), str(trials), "auto"]
    return subprocess.Popen(
        [sys.executable, "-m", "tests.search.cluster.study_process", *arguments],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
    )


def test_a_driver_joins_is_killed_and_another_goes_on_while_a_node_gives_notice(
    ray_start: Starts, address: str, bert: Backbone, tmp_path: Path
) -> None:
    node = ray_start("--address", address, "--num-cpus", "1")
    process = begin(tmp_path, bert, 14)
    wait_for(lambda: len(finished(tmp_path)) >= 2, process)
    kill(process)
    before, handed = finished(tmp_path), len(started(tmp_path))

    # the workers of the killed driver end, so that the node has room for those of the next
    process = begin(tmp_path, bert, 14)
    wait_for(lambda: len(started(tmp_path)) >= handed + 2, process)
    ray_start("--address", address, "--num-cpus", "1")
    node.send_signal(signal.SIGTERM)
    assert process.wait(timeout=2 * PATIENCE_S) == 0
    check_whole(tmp_path, 14, before)
    assert '"handed back"' in (tmp_path / "log.jsonl").read_text()


def test_a_node_that_has_neither_package_nor_file_nor_backbone(
    ray_start: Starts,
    address: str,
    bert: Backbone,
    spec_of: SpecOf,
    job_of: JobOf,
    pool_of: PoolOf,
) -> None:
    hides = [*(str(ROOT / name) for name in HIDDEN), str(bert.folder)]
    placed = Path(tempfile.gettempdir()) / f"peftnas-{os.getuid()}"
    sweep()  # makes the folder, so that it can be hidden too
    unshared = ("unshare", "--mount", "bash", "-c")
    script = " && ".join(f"mount -t tmpfs -o mode=700 none {one}" for one in [*hides, str(placed)])
    if subprocess.run([*unshared, script], capture_output=True).returncode:
        pytest.skip("needs the right to mount file systems")
    ray_start(
        "--address", address, "--num-cpus", "1", before=(*unshared, f'{script} && "$@"', "node")
    )
    spec = spec_of(bert)
    job = job_of(LoRA(rank=2))
    pool = pool_of(1, spec, address=address, modules_by_value=BY_VALUE)
    (worker,) = pool.workers()
    pool.submit(job)
    event = next_of(pool)
    assert isinstance(event, Finished) and event.result.error == ""
    assert event.result.losses == run_trial(spec.build(), job).losses
    # it lies in the node's own folder
    assert worker.weights == "mapped" and not list(placed.glob("backbone-*"))


def test_a_cluster_that_asks_for_a_token_is_named(
    ray_start: Starts, folder: str, bert: Backbone, spec_of: SpecOf, pool_of: PoolOf
) -> None:
    port = free_port()
    ray_start(
        "--head", "--port", str(port), "--num-cpus", "0", "--include-dashboard", "false",
        "--temp-dir", folder, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN="ab" * 32,
    )  # fmt: skip
    wait_for_port(port)
    with pytest.raises(UsageError, match="asks for a token; set RAY_AUTH_MODE=token"):
        pool_of(1, spec_of(bert), address=f"127.0.0.1:{port}")


def test_a_submitted_job(ray_start: Starts, folder: str, bert: Backbone, tmp_path: Path) -> None:
    pytest.importorskip("aiohttp", reason="Ray's job server needs pip install 'ray[default]'")
    port, jobs = free_port(), free_port()
    ray_start(
        "--head", "--port", str(port), "--num-cpus", "2", "--temp-dir", folder,
        "--dashboard-host", "127.0.0.1", "--dashboard-port", str(jobs),
        "--dashboard-agent-listen-port", str(free_port()),
        PYTHONPATH=str(ROOT / "src"),
    )  # fmt: skip
    wait_for_port(jobs)
    # the folder of the study's file travels with the job; the repository is on no path there
    sent = tmp_path / "sent"
    sent.mkdir()
    (sent / "my_study.py").write_text(STUDY.format(backbone=bert.folder))
    # what the script that pip installs does
    (sent / "script.py").write_text(
        "from peftnas.studies.cli import main\nraise SystemExit(main())"
    )
    out = tmp_path / "out"
    command = [
        *RAY, "job", "submit", "--address", f"http://127.0.0.1:{jobs}",
        "--working-dir", str(sent), "--",
        sys.executable, "script.py", "run", "my_study.py",
        "--address", "auto", "--workers", "2", "--trials", "3", "--no-baselines",
        "--out", str(out),
    ]  # fmt: skip
    end = time.monotonic() + PATIENCE_S
    while True:
        done = subprocess.run(command, capture_output=True, text=True, timeout=2 * PATIENCE_S)
        if "No available agent" not in done.stderr or time.monotonic() > end:
            break  # the job server is up before what runs jobs
        time.sleep(2.0)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "succeeded" in done.stdout
    results = open_results(sqlite_url(out), "submitted")
    assert results.counts()["complete"] == 3 and results.counts()["running"] == 0
