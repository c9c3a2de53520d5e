"""What a backbone of any family is called with, made up to a given size, and what it answers."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from peftnas.methods.anatomy import Anatomy
from peftnas.methods.stack_port import longest_sequence


@dataclass(frozen=True)
class Reads:
    """The size of what a backbone is called with.

    Attributes:
        batch: number of sequences, from 1 on.
        tokens: of each sequence, from 1 on; images and sound have the one size that the config
            says.
        padded: whether one sequence is shorter by a token, so that attention gets a mask.
        decoder_tokens: of each sequence that the decoder of an encoder-decoder reads; ``None``: as
            many as the encoder.
        images: number of images, of a model that reads texts beside them; ``None``: ``batch``.
    """

    batch: int
    tokens: int
    padded: bool = False
    decoder_tokens: int | None = None
    images: int | None = None

    def __post_init__(self) -> None:
        for name in ("batch", "tokens", "decoder_tokens", "images"):
            value = getattr(self, name)
            if value is None and name in ("decoder_tokens", "images"):
                continue
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a whole number from 1 on, got {value!r}; take 1")

    @property
    def written(self) -> int:
        """Tokens of each sequence that a decoder behind an encoder reads."""
        return self.tokens if self.decoder_tokens is None else self.decoder_tokens


def arguments_of(base: PreTrainedModel) -> frozenset[str]:
    """Names of the arguments that a model takes."""
    return frozenset(inspect.signature(type(base).forward).parameters)


def inputs_for(base: PreTrainedModel, anatomy: Anatomy, reads: Reads) -> dict[str, Any]:
    """Arguments of a call of a base model, real tensors on the CPU; no cache is asked for.

    Raises:
        ValueError: if the sequences are longer than the backbone takes.
    """
    _check_length(base, anatomy, reads)
    arguments, config = arguments_of(base), base.config
    named: dict[str, Any] = {"use_cache": False} if "use_cache" in arguments else {}
    if "pixel_values" in arguments:
        vision: Any = getattr(config, "vision_config", config)
        size = vision.image_size
        height, width = (size, size) if isinstance(size, int) else size
        n_images = reads.batch if reads.images is None else reads.images
        image = (n_images, vision.num_channels, height, width)
        named["pixel_values"] = torch.zeros(image, dtype=base.dtype)
    if "input_features" in arguments:
        # the convolutions in front of the encoder halve the number of frames
        frames = 2 * config.max_source_positions
        sound = (reads.batch, config.num_mel_bins, frames)
        named["input_features"] = torch.zeros(sound, dtype=base.dtype)
    if "input_ids" in arguments:
        named["input_ids"] = _words(config, reads.batch, reads.tokens)
        if reads.padded:
            named["attention_mask"] = torch.ones_like(named["input_ids"])
            named["attention_mask"][-1, -1] = 0
    if "decoder_input_ids" in arguments:
        named["decoder_input_ids"] = _words(config, reads.batch, reads.written)
    return named


def answer_of(found: Any) -> Tensor:
    """What a base model gives: hidden states (B, T, d), or of two towers one vector (B, n).

    Towers that read different numbers of texts and images give their similarity (images, texts).
    """
    hidden: Tensor | None = getattr(found, "last_hidden_state", None)
    if hidden is not None:
        return hidden
    if len(found.text_embeds) != len(found.image_embeds):
        similarity: Tensor = found.logits_per_image
        return similarity
    return torch.cat([found.text_embeds, found.image_embeds], dim=-1)


def _words(config: Any, batch: int, tokens: int) -> Tensor:
    """Ids (batch, tokens) of a word that is not the one of padding."""
    word = 1 if getattr(config, "pad_token_id", None) != 1 else 0
    return torch.full((batch, tokens), word)


def _check_length(base: PreTrainedModel, anatomy: Anatomy, reads: Reads) -> None:
    for stack in anatomy.stacks:
        longest = longest_sequence(base, stack) if stack.tokens else None
        if longest is None and anatomy.positions == "learned":
            longest = getattr(base.config, "max_position_embeddings", None)
        tokens = reads.written if stack.name == "decoder" else reads.tokens
        if longest is not None and stack.tokens and tokens > longest:
            raise ValueError(
                f"tokens must be at most {longest} on this {anatomy.model_type} backbone, "
                f"got {tokens}; take fewer"
            )
