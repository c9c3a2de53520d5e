"""A bench over shared weights: what it computes is what one with its own weights computes."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from peftnas.methods import FullFineTuning, LoRA
from peftnas.search.backbone import Backbone, BackboneError
from peftnas.search.cluster import placed_bench
from peftnas.search.cluster.placed_bench import (
    BackboneChangedError,
    BackboneMissingError,
    Parcel,
    PlacedBench,
    backbone_files,
    open_spec,
)
from peftnas.search.cluster.placement import Packed, pack, sweep
from peftnas.search.trial.bench import BenchSpec
from peftnas.search.trial.fine_tune import run_trial
from tests.search.conftest import JobOf, SpecOf


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def parcel_of(spec: BenchSpec, root: Path, **options: Any) -> Parcel:
    packed = pack(spec)
    return Parcel(f"study-{packed.sha256[:16]}", lambda: packed, root=root, **options)


def bench_of(spec: BenchSpec, root: Path, *, watched: bool = False) -> PlacedBench:
    opened, held = open_spec(parcel_of(spec, root))
    return PlacedBench(opened, held=held, root=root, watched=watched)


@pytest.mark.parametrize("backbone", ["bert", "llama"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_scores_equal_those_on_own_weights_bit_for_bit(
    backbone: str,
    dtype: str,
    spec_of: SpecOf,
    job_of: JobOf,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    spec = spec_of(request.getfixturevalue(backbone))
    jobs = [job_of(LoRA(rank=2), steps=30, dtype=dtype), job_of(FullFineTuning(), dtype=dtype)]
    own = spec.build()
    expected = [run_trial(own, job) for job in jobs]
    # the first makes the weights' file, the second finds it
    for bench in (bench_of(spec, tmp_path), bench_of(spec, tmp_path)):
        for job, wanted in [*zip(jobs, expected, strict=True), (jobs[0], expected[0])]:
            found = run_trial(bench, job)
            assert found.status == "complete"
            assert found.losses == wanted.losses and found.curve == wanted.curve
        assert bench.weights_words == "mapped"
    assert sum(folder.is_dir() for folder in tmp_path.glob("weights-*")) == 1


def test_nothing_is_left_once_all_have_let_go(
    bert: Backbone, spec_of: SpecOf, tmp_path: Path
) -> None:
    benches = [bench_of(spec_of(bert), tmp_path) for _ in range(2)]
    for bench in benches:
        bench.model()
    benches[0].release()
    assert sweep(tmp_path) == []
    benches[1].release()
    assert len(sweep(tmp_path)) == 2 and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("private", [False, True])
def test_who_writes_into_the_backbone_is_found(
    private: bool,
    bert: Backbone,
    spec_of: SpecOf,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    opened, held = open_spec(parcel_of(spec_of(bert), tmp_path))
    if private:
        monkeypatch.setattr(placed_bench, "place", full)
    bench = PlacedBench(opened, held=held, root=tmp_path, watched=True)
    model = bench.model()
    assert bench.weights_words.startswith("private (OSError: " if private else "mapped")
    bench.check_backbone()
    with torch.no_grad():
        next(model.parameters())[0, 0] += 1.0
    with pytest.raises(BackboneChangedError, match="the frozen weights of 'tiny-bert'"):
        bench.check_backbone()


def test_a_machine_without_the_backbone_gets_its_files(
    bert: Backbone, spec_of: SpecOf, job_of: JobOf, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(bert.folder, tmp_path / "elsewhere"))
    spec = spec_of(Backbone(folder, bert.name))
    expected = run_trial(spec.build(), job_of())
    files, packed = backbone_files(folder), pack(spec)
    shutil.rmtree(folder)
    parcel = Parcel("study", lambda: packed, root=tmp_path / "placed")
    with pytest.raises(BackboneMissingError, match="elsewhere"):
        open_spec(parcel)
    sent = dataclasses.replace(parcel, fetch_backbone=lambda: files)
    for _ in range(2):
        opened, held = open_spec(sent)
        assert opened.backbone.folder.parent == tmp_path / "placed"
        bench = PlacedBench(opened, held=held, root=tmp_path / "placed")
        found = run_trial(bench, job_of())
        assert found.losses == expected.losses and found.curve == expected.curve

        def never() -> Any:
            raise AssertionError("this machine has it already")

        sent = dataclasses.replace(parcel, fetch=never, fetch_backbone=never)


def test_other_weights_in_a_folder_of_that_name_are_refused(
    bert: Backbone, distilbert: Backbone, spec_of: SpecOf, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(bert.folder, tmp_path / "copy"))
    spec = spec_of(Backbone(folder))
    (folder / "model.safetensors").write_bytes(
        (distilbert.folder / "model.safetensors").read_bytes()
    )
    bench = bench_of(spec, tmp_path / "placed")
    with pytest.raises(BackboneError, match="have sha256 .* expected"):
        bench.model()


def test_equal_specs_have_equal_names(bert: Backbone, spec_of: SpecOf) -> None:
    def name(packed: Packed) -> str:
        return packed.sha256

    assert name(pack(spec_of(bert))) == name(pack(spec_of(bert)))
    assert name(pack(spec_of(bert))) != name(pack(spec_of(bert, regression=True)))
