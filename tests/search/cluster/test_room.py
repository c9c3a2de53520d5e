"""How many workers fit, and what part of a GPU each gets: arithmetic, run without a GPU."""

import pytest

from peftnas.search.cluster.room import Node, Room, gpu_share, per_gpu, room, share_for

GB = 10**9
CPU_NODE, GPU_NODE = Node("c", 8, 0), Node("g", 8, 2)


@pytest.mark.parametrize("gpus", range(1, 9))
def test_shares_spread_evenly_have_room_for_every_worker(gpus: int) -> None:
    for workers in range(1, 20):
        share = gpu_share(gpus, workers)
        assert gpus * per_gpu(share) >= workers  # no share spans two GPUs
        assert 0 < share <= 1
    assert gpu_share(0, gpus) == 0


@pytest.mark.parametrize("needed", [1, 2, 3, 5, 7, 11, 19, 23, 24, 30])
def test_shares_by_memory_fill_a_gpu_and_never_more(needed: int) -> None:
    device = 24 * GB
    share = share_for(needed * GB, device)
    together = per_gpu(share)
    assert together >= 1
    if together > 1:
        assert together * needed * GB <= device
    assert (together + 1) * needed * GB > 0.9 * device
    assert share * device >= needed * GB or together == 1


def test_a_cluster_of_cpus() -> None:
    nodes = [CPU_NODE, Node("d", 3, 0)]
    assert room(nodes, 1, 0.0, "auto") == Room(0, 11)
    assert room(nodes, 2, 0.0, "auto") == Room(0, 4 + 1)  # a worker does not span two nodes
    assert room(nodes, 16, 0.0, "auto") == Room(0, 0)
    assert room(nodes, 1, 1.0, "gpu") == Room(0, 0)
    assert room([], 1, 0.0, "all").total == 0


def test_gpus_are_taken_where_there_are_any_unless_all_are_asked_for() -> None:
    nodes = [CPU_NODE, GPU_NODE]
    assert room(nodes, 1, 0.5, "auto") == Room(4, 0)
    assert room(nodes, 1, 0.5, "gpu") == Room(4, 0)
    assert room(nodes, 1, 0.5, "cpu") == Room(0, 16)
    # workers without a GPU fill the CPUs that are left beside the GPUs too
    assert room(nodes, 1, 0.5, "all") == Room(4, 8 + 4)
    assert room(nodes, 1, 1 / 3, "auto") == Room(6, 0)
    assert room([Node("few", 1, 8)], 1, 0.5, "auto") == Room(1, 0)  # as many as there are CPUs
