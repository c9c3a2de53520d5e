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
from transformers import (
    AlbertForMaskedLM,
    BertForMaskedLM,
    GPT2LMHeadModel,
    PreTrainedModel,
    RobertaForSequenceClassification,
    T5EncoderModel,
    T5ForConditionalGeneration,
    ViTForImageClassification,
)

from peftnas.methods import Architecture, attach
from peftnas.methods.testing import tiny
from tests.methods.conftest import CONFIGS, build

# models with a head, of which we attach to the base, and bases of another class than AutoModel's
HEADED: dict[str, tuple[str, type[PreTrainedModel]]] = {
    "t5_generation": ("t5", T5ForConditionalGeneration),
    "t5_encoder": ("t5", T5EncoderModel),
    "bert_masked": ("bert", BertForMaskedLM),
    "albert_masked": ("albert", AlbertForMaskedLM),
    "roberta_classes": ("roberta", RobertaForSequenceClassification),
    "vit_classes": ("vit", ViTForImageClassification),
    "gpt2_causal": ("gpt2", GPT2LMHeadModel),
}

SCRIPT = """
import json, sys, warnings
warnings.filterwarnings("ignore", category=FutureWarning)
import torch
import transformers
from safetensors.torch import load_file, save_file
place, cases, with_peft = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3] == "peft"
outputs = {}
for case, base in cases.items():
    source = f"{place}/{base if with_peft else case}"
    with open(f"{source}/config.json") as file:
        [name] = json.load(file)["architectures"]
    model = getattr(transformers, name).from_pretrained(source)
    if with_peft:
        from peft import PeftModel
        model = PeftModel.from_pretrained(model, f"{place}/{case}")
    with torch.no_grad():
        answer = model.eval()(**load_file(f"{place}/{base}.safetensors"))
    if "text_embeds" in answer:
        found = torch.cat([answer.text_embeds, answer.image_embeds], dim=-1)
    else:
        found = answer.logits if "logits" in answer else answer.last_hidden_state
    outputs[case] = found.contiguous()
assert "peftnas" not in sys.modules and ("peft" in sys.modules) == with_peft
save_file(outputs, f"{place}/outputs.safetensors")
"""


def built(name: str) -> PreTrainedModel:
    """The base of a tiny model by the name of its backbone or one of ``HEADED``."""
    if name not in HEADED:
        return build(name)
    backbone, cls = HEADED[name]
    config: Any = CONFIGS[backbone]()
    config.initializer_factor = 1.0  # where T5 has it: less rounding
    torch.manual_seed(0)
    model: Any = cls(config)
    return model.eval().base_model  # type: ignore[no-any-return]


class Elsewhere:
    """A folder of cases that one fresh process loads, all at once."""

    def __init__(self, place: Path, library: str) -> None:
        self.place, self.library = place, library
        self.expected: dict[str, torch.Tensor] = {}
        self.bases: dict[str, str] = {}
        self.mask = tiny.words()["attention_mask"].bool()

    def add(
        self, case: str, architecture: Architecture, save: Callable[[Any, Path], None]
    ) -> None:
        """``save(attached, folder)`` for a case named BACKBONE_ANYTHING; keeps our outputs."""
        base = case.partition("-")[0]
        model = built(base)
        inputs = tiny.inputs_of(model)
        if base == "t5_encoder":
            del inputs["decoder_input_ids"]
        if not (self.place / base).exists():
            model.save_pretrained(self.place / base)
            whole = {name: value.contiguous() for name, value in inputs.items()}
            save_file(whole, self.place / f"{base}.safetensors")
        attached = attach(model, architecture).eval()
        generator = torch.Generator().manual_seed(2)
        with torch.no_grad():
            for parameter in attached.parameters():
                parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
            answer = model(**inputs)
            if base == "t5_generation":
                answer.last_hidden_state = answer.logits
            self.expected[case] = (
                torch.cat([answer.text_embeds, answer.image_embeds], dim=-1)
                if base == "clip"
                else attached.real(answer.last_hidden_state)
            )
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
        if ours.dim() != 3 or ours.shape[:2] != self.mask.shape:
            return theirs, ours
        return theirs[self.mask], ours[self.mask]


@pytest.fixture(scope="session")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Elsewhere]:
    """``elsewhere("peft")``: a new folder of cases for a process with that library."""
    return lambda library: Elsewhere(tmp_path_factory.mktemp(library), library)
