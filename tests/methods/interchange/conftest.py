"""Architectures in folders, and what a process that knows nothing of us makes of them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from peftnas.methods import Architecture, attach
from tests.methods.conftest import build

SCRIPT = """
import json, sys, warnings
warnings.filterwarnings("ignore", category=FutureWarning)
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel
place, cases, with_peft = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3] == "peft"
batch = load_file(f"{place}/batch.safetensors")
outputs = {}
for case, base in cases.items():
    if with_peft:
        from peft import PeftModel
        model = AutoModel.from_pretrained(f"{place}/{base}")
        model = PeftModel.from_pretrained(model, f"{place}/{case}").eval()
    else:
        model = AutoModel.from_pretrained(f"{place}/{case}").eval()
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    if base in ("t5", "bart"):
        inputs["decoder_input_ids"] = batch["decoder_input_ids"]
    with torch.no_grad():
        outputs[case] = model(**inputs).last_hidden_state.contiguous()
assert "peftnas" not in sys.modules and ("peft" in sys.modules) == with_peft
save_file(outputs, f"{place}/outputs.safetensors")
"""


class Elsewhere:
    """A folder of cases that one fresh process loads, all at once."""

    def __init__(self, place: Path, library: str) -> None:
        self.place, self.library = place, library
        self.expected: dict[str, torch.Tensor] = {}
        self.bases: dict[str, str] = {}
        ids = torch.randint(3, 60, (3, 7), generator=torch.Generator().manual_seed(1))
        mask = torch.arange(7) < torch.tensor([[7], [5], [3]])
        self.mask = mask
        self.batch = {"input_ids": ids.masked_fill(~mask, 0), "attention_mask": mask.long()}
        self.decoder = {"decoder_input_ids": ids.flip(1)[:, :5].contiguous()}
        save_file(self.batch | self.decoder, place / "batch.safetensors")

    def add(
        self, case: str, architecture: Architecture, save: Callable[[Any, Path], None]
    ) -> None:
        """``save(attached, folder)`` for a case named BACKBONE_ANYTHING; keeps our outputs."""
        base = case.partition("-")[0]
        model = build(base)
        if not (self.place / base).exists():
            model.save_pretrained(self.place / base)
        attached = attach(model, architecture).eval()
        generator = torch.Generator().manual_seed(2)
        inputs = self.batch | (self.decoder if base in ("t5", "bart") else {})
        with torch.no_grad():
            for parameter in attached.parameters():
                parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
            self.expected[case] = attached.real(model(**inputs).last_hidden_state)
        save(attached, self.place / case)
        self.bases[case] = base

    def run(self) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """By case: what the other process gave at real tokens, and what we did."""
        arguments = [str(self.place), json.dumps(self.bases), self.library]
        subprocess.run([sys.executable, "-c", SCRIPT, *arguments], check=True, timeout=120)
        found = load_file(self.place / "outputs.safetensors")
        return {case: self._real(found[case], ours) for case, ours in self.expected.items()}

    def _real(self, theirs: torch.Tensor, ours: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        theirs = theirs[:, theirs.shape[1] - ours.shape[1] :]
        if ours.shape[:2] != self.mask.shape:
            return theirs, ours
        return theirs[self.mask], ours[self.mask]


@pytest.fixture(scope="session")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Elsewhere]:
    """``elsewhere("peft")``: a new folder of cases for a process with that library."""
    return lambda library: Elsewhere(tmp_path_factory.mktemp(library), library)
