"""A trial runs on every family that is one stack of layers over words; others are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from peftnas.methods import Adapter, LoRA
from peftnas.search.backbone import Backbone
from peftnas.search.trial.fine_tune import run_trial
from tests.backbones import save_backbone
from tests.methods.conftest import CONFIGS
from tests.search.conftest import JobOf, SpecOf

OTHERS = ("t5", "t5_gated", "bart", "vit", "clip", "whisper")


@pytest.mark.parametrize("name", [name for name in CONFIGS if name not in OTHERS])
def test_a_trial_runs_and_leaves_the_backbone_as_it_was(
    name: str, spec_of: SpecOf, job_of: JobOf, tmp_path: Path
) -> None:
    backbone = Backbone(save_backbone(tmp_path, CONFIGS[name]()))
    bench = spec_of(backbone).build()
    mixer = name == "mamba"
    methods = (
        LoRA(rank=2, targets=("in_proj",) if mixer else ("query", "value")),
        Adapter(site="mixer" if mixer else "both", bottleneck=2, insertion="parallel"),
    )
    first = run_trial(bench, job_of(*methods, steps=3))
    again = run_trial(bench, job_of(*methods, steps=3))
    assert first.status == "complete", first.error
    assert again.losses == first.losses
