"""Starting Ray here or joining a cluster, and what is asked of a cluster as a whole."""

from __future__ import annotations

import json
import logging
import os
import signal
import time
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import ray
from ray._private.state import state
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

import peftnas
from peftnas.search.cluster.room import Node
from peftnas.search.errors import UsageError

_CLEAN_S = 5.0


def start_ray(address: str, cpus: int, object_store_bytes: int) -> None:
    """Start Ray on this machine ("local") or join a cluster, quietly.

    Workers of a cluster get this package as it is here, whatever is installed there.

    Raises:
        UsageError: if the cluster asks for a token that this process has not got.
        ConnectionError: if no cluster answers.
    """
    options: dict[str, Any] = {}
    if address == "local":
        options = {
            "num_cpus": max(cpus, os.cpu_count() or 1),
            "object_store_memory": object_store_bytes,
            "include_dashboard": False,
        }
    else:
        options = {"runtime_env": shipped()}
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **options)
    except ConnectionError as error:
        if "AuthenticationError" not in "".join(traceback.format_exception(error)):
            raise
        raise UsageError(
            f"the Ray cluster at {address} asks for a token; set RAY_AUTH_MODE=token, with the "
            "cluster's token in RAY_AUTH_TOKEN or in ~/.ray/auth_token, or start it with "
            "RAY_AUTH_MODE=disabled"
        ) from error


def shipped() -> dict[str, Any]:
    """The ``runtime_env`` with this package; empty where a submitted job ships modules itself."""
    job = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR") or "{}")
    if "py_modules" in job.get("runtime_env", {}):
        return {}  # Ray refuses the same field twice
    assert peftnas.__file__ is not None
    return {
        "py_modules": [str(Path(peftnas.__file__).parent)],
        "excludes": ["**/__pycache__"],
    }


def nodes() -> list[Node]:
    """The machines that are there and will stay."""
    leaving = draining()
    return [
        Node(
            row["NodeID"],
            float(row["Resources"].get("CPU", 0)),
            float(row["Resources"].get("GPU", 0)),
        )
        for row in ray.nodes()  # type: ignore[no-untyped-call]
        if row["Alive"] and row["NodeID"] not in leaving
    ]


def draining() -> set[str]:
    """Nodes that are about to leave: their cloud, or the autoscaler, has given notice."""
    return set(state.get_draining_nodes())


def smallest_gpu_bytes(names: Iterable[str]) -> int:
    """Memory of the smallest GPU of some nodes; 0 where none can say."""
    ask = ray.remote(num_cpus=0, num_gpus=0.01, max_retries=0)(_gpu_bytes)
    references = [ask.options(scheduling_strategy=_on(name)).remote() for name in names]
    found = []
    for reference in references:
        try:
            found.append(int(ray.get(reference, timeout=120.0)))
        except RayError:  # that node went away, or is full
            continue
    return min((one for one in found if one), default=0)


def end_process(pid: int, node: str) -> None:
    """kill -9 of a worker that may be beyond listening."""
    if node == ray.get_runtime_context().get_node_id():
        _kill(pid)
        return
    ray.remote(num_cpus=0, max_retries=0)(_kill).options(scheduling_strategy=_on(node)).remote(pid)


def clean(node_pids: dict[str, list[int]]) -> None:
    """Remove what workers that are ending have placed on their machines.

    Args:
        node_pids: their process ids, by node.
    """
    here = ray.get_runtime_context().get_node_id()
    sweep = ray.remote(num_cpus=0, max_retries=0)(sweep_after)
    away = [
        sweep.options(scheduling_strategy=_on(node)).remote(pids)
        for node, pids in node_pids.items()
        if node != here
    ]
    sweep_after(node_pids.get(here, []))
    if away:
        ray.wait(away, num_returns=len(away), timeout=2 * _CLEAN_S)


def sweep_after(pids: list[int]) -> None:
    """Sweep once these processes of this machine are gone."""
    from peftnas.search.cluster.placement import sweep

    end = time.monotonic() + _CLEAN_S
    while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < end:
        time.sleep(0.05)
    sweep()


def _on(node: str) -> NodeAffinitySchedulingStrategy:
    return NodeAffinitySchedulingStrategy(node, soft=False)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass  # it ended by itself


def _gpu_bytes() -> int:
    import torch

    if not torch.cuda.is_available():
        return 0
    return int(torch.cuda.get_device_properties(0).total_memory)
