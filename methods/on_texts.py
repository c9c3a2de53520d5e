"""What an architecture does to the texts that a backbone reads and writes; needs no weights."""

from __future__ import annotations

import torch
from transformers import PreTrainedConfig

from peftnas.methods.anatomies.family import Family
from peftnas.methods.base import Method
from peftnas.methods.fake_backbone import fake_backbone
from peftnas.methods.tracing import generates
from peftnas.spaces.architecture import Architecture, as_architecture


def prompt_length(
    architecture: Architecture | Method,
    config: PreTrainedConfig,
    *,
    dtype: torch.dtype = torch.float32,
    family: Family | None = None,
) -> int:
    """Positions that prompts take from every text in the first stack.

    Args:
        architecture: methods holding values, or one such method.
        config: of the backbone; of its base model.
        dtype: of the backbone.
        family: description of a family that the package does not know.
    Raises:
        ValueError: if the architecture does not fit the backbone.
        UnsupportedBackboneError: if no family describes the backbone.
    """
    return fake_backbone(config, dtype, family).prompt_length(as_architecture(architecture))


def writes_word_by_word(
    architecture: Architecture | Method,
    config: PreTrainedConfig,
    *,
    dtype: torch.dtype = torch.float32,
    family: Family | None = None,
) -> bool:
    """Whether words come one by one from a cache of keys and values.

    The backbone has to have one, and no gate of the stack that writes may take its mean over a
    whole text. The arguments and errors are those of :func:`prompt_length`.
    """
    backbone = fake_backbone(config, dtype, family)
    attached = backbone.attach(as_architecture(architecture))
    try:
        return generates(backbone, attached)
    finally:
        attached.detach()
