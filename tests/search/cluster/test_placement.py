"""Placed values: once a machine, mapped copy-on-write, gone when nobody holds them."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModel

from peftnas.methods.testing.tiny import CONFIGS
from peftnas.search.cluster.placement import ALIGNED, Packed, hold, pack, place, sweep

HOLDER = """
import sys, time
from pathlib import Path
from peftnas.search.cluster.placement import pack, place
placed = place("it", lambda: pack([0]), Path(sys.argv[1]))
print("held", flush=True)
time.sleep(600)
"""

MAKER = """
import os, sys, time
from pathlib import Path
import numpy as np
from peftnas.search.cluster.placement import pack, place
root = Path(sys.argv[1])

def make():
    (root / "made").mkdir(exist_ok=True)
    (root / "made" / str(os.getpid())).touch()
    time.sleep(1.0)
    return pack(np.ones(10))

(root / str(os.getpid())).touch()
while sum(path.is_file() and path.name.isdigit() for path in root.iterdir()) < 2:
    time.sleep(0.01)
placed = place("it", make, root)
assert placed.value.sum() == 10
time.sleep(0.5)
"""


def never() -> Packed:
    raise AssertionError("it is there already")


def test_a_value_comes_back_as_it_was(tmp_path: Path) -> None:
    shared = torch.arange(10.0)
    rows = np.arange(6, dtype=np.int32).reshape(2, 3)
    value = {
        "tensor": shared,
        "view": shared[2:8:2],
        "half": torch.full((3,), 1.5, dtype=torch.bfloat16),
        "nothing": [torch.zeros(0), np.zeros((0, 4))],
        "scalar": np.asarray(7),
        "rows": rows,
        "again": rows,
        "turned": np.asfortranarray(rows),
        "record": np.zeros(2, dtype=[("a", "i4"), ("b", "f8")]),
        "objects": np.asarray(["x", None], dtype=object),
        "text": "words",
    }
    found = place("all", lambda: pack(value), tmp_path).value
    assert found["text"] == "words" and found["scalar"] == 7
    assert torch.equal(found["tensor"], shared) and torch.equal(found["half"], value["half"])
    assert found["nothing"][0].shape == (0,) and found["nothing"][1].shape == (0, 4)
    for name in ("rows", "turned", "record", "objects"):
        assert (found[name] == value[name]).all() and found[name].dtype == value[name].dtype  # type: ignore[index]
    assert found["again"] is not found["rows"] and (found["again"] == rows).all()
    # what shared memory shares it
    found["tensor"][4] = -1.0
    assert found["view"].tolist() == [2.0, -1.0, 6.0]
    assert shared[4] == 4.0


@pytest.mark.parametrize("family", CONFIGS)
def test_every_family_comes_back_with_all_its_tensors(family: str, tmp_path: Path) -> None:
    config: Any = CONFIGS[family]
    torch.manual_seed(0)
    model = AutoModel.from_config(config() if callable(config) else config).eval()
    found = place(family, lambda: pack(model), tmp_path).value
    before, after = tensors(model), tensors(found)
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        assert torch.equal(tensor, after[name]) and tensor.dtype == after[name].dtype, name
        # kernels round by address: not otherwise than for tensors that torch allocates
        assert after[name].data_ptr() % ALIGNED == 0 or not tensor.numel()
    assert not found.training


def tensors(model: Any) -> dict[str, torch.Tensor]:
    """Parameters and buffers, those that are not saved with weights too."""
    return {
        **dict(model.named_parameters(remove_duplicate=False)),
        **dict(model.named_buffers(remove_duplicate=False)),
    }


def test_what_one_writes_the_others_do_not_see(tmp_path: Path) -> None:
    one = place("it", lambda: pack(torch.zeros(5000)), tmp_path)
    other = place("it", never, tmp_path)
    assert one.unchanged() and other.unchanged()
    one.value[3] = 1.0
    assert not one.unchanged() and other.unchanged()
    assert other.value.sum() == 0
    assert place("it", never, tmp_path).value.sum() == 0


def test_it_is_made_once_however_many_want_it(tmp_path: Path) -> None:
    makers = [subprocess.Popen([sys.executable, "-c", MAKER, str(tmp_path)]) for _ in range(2)]
    assert [maker.wait() for maker in makers] == [0, 0]
    assert len(list((tmp_path / "made").iterdir())) == 1


def test_it_stays_while_a_process_holds_it_and_goes_after_a_kill(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    assert sweep(tmp_path) == []
    mine = place("it", never, tmp_path)
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    holder.stdout.close()
    assert sweep(tmp_path) == []
    mine.held.release()
    assert sweep(tmp_path) == ["it"] and list(tmp_path.iterdir()) == []
    assert place("it", lambda: pack([1]), tmp_path).value == [1]


def test_what_was_not_made_to_its_end_is_not_there(tmp_path: Path) -> None:
    def breaks(folder: Path) -> None:
        (folder / "half").touch()
        raise OSError("No space left on device")

    with pytest.raises(OSError, match="No space left"):
        hold("it", breaks, tmp_path)
    assert not (tmp_path / "it").exists()
    # a maker that was killed leaves a draft
    (tmp_path / "it.draft-1").mkdir()
    held = hold("it", lambda folder: (folder / "whole").touch(), tmp_path)
    assert (held.folder / "whole").exists()
    held.release()
    sweep(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_others_may_write_into_is_refused(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(PermissionError, match="must be a folder of this user alone"):
        place("it", never, tmp_path / "open")
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(PermissionError, match="must be a folder of this user alone"):
        sweep(tmp_path / "link")
