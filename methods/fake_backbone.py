"""A backbone of fake tensors: it has shapes and dtypes, but neither weights nor memory.

Fake tensors on the CPU take the kernels that real ones take (fused attention saves queries, keys,
values and its output, no probabilities); the meta device would take others. What a backbone is
called with is real, so masks and positions are computed as in any other call.
"""

from __future__ import annotations

import functools
import inspect
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import AutoModel, PreTrainedConfig, PreTrainedModel

from peftnas.methods.anatomies.family import Family
from peftnas.methods.anatomy import Anatomy
from peftnas.methods.attach import AttachedModules
from peftnas.methods.costs import place
from peftnas.methods.describe import ConfigKey, describe, family_of
from peftnas.methods.stack_port import longest_sequence
from peftnas.spaces.architecture import Architecture


@dataclass(frozen=True)
class Reads:
    """What a backbone is called with.

    Attributes:
        batch: number of sequences.
        tokens: of each sequence, in every stack that reads words; images and sound have the one
            size that the config says.
        padded: whether some sequences are shorter by a token, so that a mask is needed.
    """

    batch: int
    tokens: int
    padded: bool = False

    def __post_init__(self) -> None:
        for name in ("batch", "tokens"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a whole number from 1 on, got {value!r}")


class FakeBackbone:
    """A base model of fake tensors on the CPU, frozen, in eval mode.

    Attributes:
        base: the model; it is changed while an architecture is attached.
        anatomy: its anatomy.
        arguments: names of the arguments that it takes.
    """

    def __init__(
        self, config: PreTrainedConfig, family: Family, attention: str | None, dtype: torch.dtype
    ) -> None:
        self._mode = FakeTensorMode(allow_non_fake_inputs=True)
        with torch.device("meta"):
            model = AutoModel.from_config(  # type: ignore[no-untyped-call]
                config, dtype=dtype, attn_implementation=attention
            )
        with self._mode:
            model.to_empty(device="cpu")
        model.tie_weights()
        self.base: PreTrainedModel = model.base_model.eval().requires_grad_(False)
        self.anatomy: Anatomy = describe(self.base, family)
        self.arguments = tuple(inspect.signature(type(self.base).forward).parameters)

    def attach(self, architecture: Architecture, dropout: float = 0.0) -> AttachedModules:
        """The architecture, its modules of fake tensors too."""
        generator = torch.Generator()
        placements = place(architecture, self.anatomy)
        with self._mode:
            placed = [(placement, placement.build(generator)) for placement in placements]
            return AttachedModules(self.base, self.anatomy, architecture, placed, dropout)

    def inputs(self, reads: Reads) -> dict[str, Any]:
        """Arguments of a call.

        Raises:
            ValueError: if the sequences are longer than the backbone takes.
        """
        self._check_length(reads)
        config: Any = self.base.config
        named: dict[str, Any] = {}
        if "use_cache" in self.arguments:
            named["use_cache"] = False
        if "pixel_values" in self.arguments:
            vision = getattr(config, "vision_config", config)
            shape = (reads.batch, vision.num_channels, *_pair(vision.image_size))
            named["pixel_values"] = self._floats(*shape)
        if "input_features" in self.arguments:
            # two convolutions, one of them with a stride of 2, give the longest sequence
            frames = 2 * config.max_source_positions
            named["input_features"] = self._floats(reads.batch, config.num_mel_bins, frames)
        # a token that stands for no padding
        words = torch.ones(reads.batch, reads.tokens, dtype=torch.long)
        words += getattr(config, "pad_token_id", None) == 1
        if "input_ids" in self.arguments:
            named["input_ids"] = words
            if reads.padded and "attention_mask" in self.arguments:
                named["attention_mask"] = mask = torch.ones_like(words)
                mask[-1, -1] = 0
        if "decoder_input_ids" in self.arguments:
            named["decoder_input_ids"] = words.clone()
        return named

    def _floats(self, *shape: int) -> Tensor:
        return torch.zeros(shape, dtype=self.base.dtype)

    def _check_length(self, reads: Reads) -> None:
        for stack in self.anatomy.stacks:
            longest = None
            if stack.tokens is not None:
                longest = longest_sequence(self.base, self.anatomy, stack)
            if longest is not None and reads.tokens > longest:
                raise ValueError(
                    f"tokens must be at most {longest} on this {self.anatomy.model_type} "
                    f"backbone, got {reads.tokens}; take fewer"
                )


def fake_backbone(
    config: PreTrainedConfig, dtype: torch.dtype, family: Family | None = None
) -> FakeBackbone:
    """The fake backbone of a config; cached by its content.

    Raises:
        UnsupportedBackboneError: if no family describes it.
    """
    key = ConfigKey(config, family or family_of(config))
    return _fake_backbone(key, config._attn_implementation, dtype)


@functools.lru_cache(maxsize=8)
def _fake_backbone(key: ConfigKey, attention: str | None, dtype: torch.dtype) -> FakeBackbone:
    return FakeBackbone(key.config(), key.family, attention, dtype)


def _pair(size: Any) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
