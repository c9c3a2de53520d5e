"""Prompt tuning as HF peft holds it: vectors before the word embeddings of a text.

A prompt that a network computes (P-tuning) is one of these once it is trained.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from peftnas.methods.attach import AttachedModules
from peftnas.methods.base import PromptVectors
from peftnas.methods.interchange.paths import refusal

if TYPE_CHECKING:
    from peft import PeftConfig


def to_peft(attached: AttachedModules) -> tuple[PeftConfig, dict[str, Tensor]]:
    """The config, and ``prompt_embeddings`` (l, d); several prompts stand one after another."""
    from peft import PromptTuningConfig

    vectors: list[Tensor] = []
    reads = attached.base.main_input_name
    for placement, module in attached.placed:
        assert isinstance(module, PromptVectors)
        if reads != "input_ids":
            why = f"its prompts stand before words, and this backbone reads {reads}"
            raise refusal(placement, why)
        if module.entry != "word_embeddings":
            raise refusal(placement, "its prompts enter as words, not after the embedding layer")
        if module.position != "before":
            raise refusal(placement, "its prompts stand before the first token, not after it")
        vectors.append(module().detach())
    whole = torch.cat(vectors)
    config = PromptTuningConfig(
        task_type="FEATURE_EXTRACTION",
        inference_mode=True,
        num_virtual_tokens=len(whole),
        token_dim=whole.shape[1],
        num_layers=attached.anatomy.n_layers,
        num_attention_heads=attached.anatomy.layers[0].heads,
        num_transformer_submodules=1,
    )
    return config, {"prompt_embeddings": whole}
