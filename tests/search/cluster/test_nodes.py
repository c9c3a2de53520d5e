"""Nodes that leave and join while jobs run: a real cluster of several nodes on this machine."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.cluster_utils import Cluster

import peftnas
from peftnas.methods import LoRA
from peftnas.search import open_results
from peftnas.search.backbone import Backbone
from peftnas.search.cluster.pool import Finished, Lost, WorkerPool, WorkerStartError
from peftnas.search.storage import sqlite_url
from tests.search import conftest
from tests.search.cluster.conftest import STORE_BYTES, PoolOf, next_of, wait_until
from tests.search.cluster.study_files import STUDY
from tests.search.cluster.test_kills import ROOT
from tests.search.cluster.test_notices import begin
from tests.search.conftest import JobOf, SpecOf

BY_VALUE = (sys.modules[__name__], conftest)
LONG = 10**6


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A head on which nothing runs; it notices within seconds when a node is gone."""
    quick = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500}
    found = Cluster(
        initialize_head=True,
        head_node_args={
            "num_cpus": 0,
            "object_store_memory": STORE_BYTES,
            "include_dashboard": False,
            "_system_config": quick | {"health_check_failure_threshold": 4},
        },
    )
    yield found
    if ray.is_initialized():
        ray.shutdown()
    found.shutdown()


def add_node(cluster: Cluster, cpus: int, gpus: int = 0) -> Any:
    return cluster.add_node(
        num_cpus=cpus,
        num_gpus=gpus,
        object_store_memory=STORE_BYTES,
        include_dashboard=False,
    )


def join(
    pool_of: PoolOf, workers: int | None, cluster: Cluster, spec: Any, **options: Any
) -> WorkerPool:
    return pool_of(workers, spec, address=cluster.address, modules_by_value=BY_VALUE, **options)


def states(pool: WorkerPool) -> list[str]:
    return sorted(worker.state for worker in pool.workers())


def test_a_node_leaves_and_another_joins(
    cluster: Cluster, bert: Backbone, spec_of: SpecOf, job_of: JobOf, pool_of: PoolOf
) -> None:
    first = add_node(cluster, 1)
    pool = join(pool_of, 2, cluster, spec_of(bert))
    assert states(pool) == ["idle", "waits for room"]
    # whatever is installed there, nodes run this package
    file = str(ray.get(ray.remote(num_cpus=0)(lambda: peftnas.__file__).remote()))
    assert "runtime_resources" in file and file.endswith("peftnas/__init__.py")
    job = job_of(LoRA(rank=2), steps=LONG)
    begin(pool, job)

    # its node goes: the job comes back, and nobody is left
    cluster.remove_node(first, allow_graceful=False)
    event = next_of(pool)
    assert isinstance(event, Lost) and event.job is job and event.cause == "node_gone"
    assert "node left the cluster or no longer answers" in event.reason
    for _ in range(5):
        assert pool.next_event(0.5) is None
    assert not pool.idle and pool.fits(job) == "later"

    # a node joins: both places are taken, and the job ends there
    add_node(cluster, 2)
    wait_until(lambda: pool.idle == 2, pool)
    for number in range(2):
        pool.submit(job_of(LoRA(rank=2), number=number))
    results = [next_of(pool) for _ in range(2)]
    assert all(isinstance(e, Finished) and e.result.status == "complete" for e in results)


@pytest.mark.slow
def test_as_many_workers_as_there_is_room_for(
    cluster: Cluster, bert: Backbone, spec_of: SpecOf, job_of: JobOf, pool_of: PoolOf
) -> None:
    first = add_node(cluster, 1)
    pool = join(pool_of, None, cluster, spec_of(bert))
    assert states(pool) == ["idle"]
    add_node(cluster, 1)
    wait_until(lambda: pool.idle == 2, pool)

    # a node gives notice: what runs on it is handed back, and the pool shrinks
    pool.submit(job_of(steps=LONG))
    pool.submit(job_of(steps=LONG, number=1))
    wait_until(lambda: all(worker.step for worker in pool.workers()), pool)
    drain(first.node_id)
    event = next_of(pool)
    assert isinstance(event, Finished) and event.result.status == "handed_back"
    wait_until(lambda: states(pool) == ["busy"], pool)

    # an idle cluster of none has one that waits, for clusters that grow by need
    cluster.remove_node(first, allow_graceful=False)
    pool.hand_back()
    other = next_of(pool)
    assert isinstance(other, Finished) and other.result.status == "handed_back"
    assert other.job.number != event.job.number
    drain(*(row["NodeID"] for row in ray.nodes() if row["Alive"] and row["Resources"].get("CPU")))
    wait_until(lambda: states(pool) == ["waits for room"], pool)
    add_node(cluster, 2)
    wait_until(lambda: pool.idle == 2, pool)


def drain(*nodes: str) -> None:
    """Give notice, as clouds and autoscalers do."""
    import time

    client = ray._private.worker.global_worker.gcs_client
    for node in nodes:
        deadline = int((time.time() + 600) * 1000)
        assert client.drain_node(node, 2, "pre-emption", deadline)[0]


@pytest.mark.slow
def test_a_node_that_goes_while_its_worker_starts_is_no_failure(
    cluster: Cluster, bert: Backbone, spec_of: SpecOf, job_of: JobOf, pool_of: PoolOf
) -> None:
    add_node(cluster, 1)
    pool = join(pool_of, 2, cluster, spec_of(bert))
    for _ in range(4):  # more often than workers may die while they start
        node = add_node(cluster, 1)
        wait_until(lambda: "starts" in states(pool), pool)
        cluster.remove_node(node, allow_graceful=False)
        wait_until(lambda: "starts" not in states(pool), pool)
    assert pool.idle == 1
    add_node(cluster, 1)
    wait_until(lambda: pool.idle == 2, pool)


@pytest.mark.slow
def test_gpus_as_ray_counts_them(
    cluster: Cluster, bert: Backbone, spec_of: SpecOf, job_of: JobOf, pool_of: PoolOf
) -> None:
    """No GPU is here: what is tested is who goes where, on GPUs that exist in Ray's books only."""
    add_node(cluster, 4, gpus=1)
    add_node(cluster, 1)
    spec = spec_of(bert)
    with pytest.raises(WorkerStartError, match="Ray counts a GPU on .*, but torch finds none"):
        join(pool_of, 1, cluster, spec, devices="gpu")
    ray.shutdown()

    # two share the GPU; nobody is on the node without one
    pool = join(pool_of, 2, cluster, spec, trial_bytes=10**9)
    wait_until(lambda: pool.idle == 2, pool)
    assert ray.available_resources().get("GPU", 0) == 0
    assert ray.available_resources()["CPU"] == 3
    for number in range(2):
        pool.submit(job_of(number=number))
    assert all(isinstance(next_of(pool), Finished) for _ in range(2))
    pool.close()

    # as many as there is room for: one a GPU, unless the size of a trial is known
    pool = join(pool_of, None, cluster, spec)
    assert pool.size == 1
    pool.close()
    pool = join(pool_of, None, cluster, spec, devices="cpu")
    assert pool.size == 5


@pytest.mark.slow
def test_the_example_of_the_page(cluster: Cluster, bert: Backbone, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")
    found = re.search(r"<!-- example: pool -->\n```python\n(.*?)```", page, re.DOTALL)
    assert found is not None
    space: dict[str, Any] = {}
    exec(found[1].replace("trials=200", "trials=2"), space)
    file = tmp_path / "my_study.py"
    file.write_text(STUDY.format(backbone=bert.folder))
    add_node(cluster, 2)
    space["search"](str(file), tmp_path / "out", cluster.address)
    assert open_results(sqlite_url(tmp_path / "out"), "submitted").counts()["complete"] == 2
