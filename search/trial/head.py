"""Heads: what turns the hidden states of a backbone into the answer of a task."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

from peftnas.search.seeds import child_seed

if TYPE_CHECKING:
    from transformers import PreTrainedModel


INIT_STD = 0.02


class Attached(Protocol):
    """What a head needs of the attached modules: which positions are real tokens."""

    def real(self, hidden: Tensor) -> Tensor:
        """hidden (B, l + T, d) -> (B, T, d), without the positions of a prompt."""


class Head(nn.Module):
    """Gives the answer for a batch. Its parameters are trained with every architecture."""

    def answer(self, base: PreTrainedModel, attached: Attached, batch: Any) -> Tensor:
        """Logits, float32, of the backbone with its attached modules; of texts (B, n_outputs).

        ``batch`` is what the rows of the head's form give.
        """
        raise NotImplementedError

    def count(self) -> int:
        """Trainable parameters; reported apart from those of the architecture."""
        return sum(parameter.numel() for parameter in self.parameters())


class PooledHead(Head):
    """One linear layer on the mean of the real tokens, on the first or on the last of them.

    Args:
        width: width d of the backbone.
        n_outputs: number of classes, 1 for a regression.
        pooling: "mean", "first" or "last"; positions of a prompt are not read.
        dropout: probability of dropping an element of what the linear layer reads.
        bias: whether it has a bias.
    """

    def __init__(
        self, width: int, n_outputs: int, pooling: str, dropout: float = 0.0, bias: bool = True
    ) -> None:
        super().__init__()
        self.pooling = pooling
        self.dropout = nn.Dropout(dropout)
        self.score = nn.Linear(width, n_outputs, bias=bias)

    def answer(self, base: PreTrainedModel, attached: Attached, batch: Any) -> Tensor:
        logits: Tensor = self(last_hidden(base, attached, batch), batch.attention_mask)
        return logits

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """hidden (B, T, d), mask (B, T) of real tokens, padded on the right -> (B, n_outputs)."""
        logits: Tensor = self.score(self.dropout(pool(hidden.float(), mask, self.pooling)))
        return logits


class NativeHead(Head):
    """The family's own sequence classification head, reading what that class reads.

    The class takes the first position, which may belong to a prompt. Its names of parameters are
    those of ``AutoModelForSequenceClassification``, so it can be loaded there.

    Args:
        base: the backbone; it stays as it is and takes no part in the head's parameters.
        n_outputs: number of classes, 1 for a regression.
        dropout: of the head's dropout layers, in place of the config's.
    """

    def __init__(self, base: PreTrainedModel, n_outputs: int, dropout: float = 0.0) -> None:
        super().__init__()
        whole = _whole_classifier(base, n_outputs)
        for name, child in whole.named_children():
            if name != whole.base_model_prefix:
                child.to_empty(device="cpu").float()
                child.register_forward_pre_hook(_to_float32)
                self.add_module(name, child)
        for module in self.modules():
            if isinstance(module, nn.Dropout):
                module.p = dropout
        setattr(whole, whole.base_model_prefix, base)
        self._whole = (whole,)  # in a tuple: not a submodule, which would own the backbone

    def answer(self, base: PreTrainedModel, attached: Attached, batch: Any) -> Tensor:
        logits: Tensor = self._whole[0](**batch.inputs()).logits
        return logits.float()


def build_head(
    base: PreTrainedModel, n_outputs: int, pooling: str, *, causal: bool, dropout: float, seed: int
) -> Head:
    """The head of a trial, freshly drawn; float32, on the CPU.

    Matrices come from N(0, 0.02), vectors are 0. The native head of a causal family is its linear
    layer without bias on the last real token: the same function, for any padding token.

    Args:
        base: the backbone.
        n_outputs: number of classes, 1 for a regression.
        pooling: "mean", "first", "last" or "native".
        causal: whether tokens of the backbone see earlier tokens only.
        dropout: probability of dropping an element in front of the head's layers.
        seed: of the trial.
    """
    head: Head
    if pooling != "native":
        head = PooledHead(output_width(base), n_outputs, pooling, dropout)
    elif causal:
        head = PooledHead(output_width(base), n_outputs, "last", dropout, bias=False)
    else:
        head = NativeHead(base, n_outputs, dropout)
    return start_head(head, seed)


def start_head(head: Head, seed: int) -> Head:
    """The same head, freshly drawn: matrices from N(0, 0.02), vectors 0."""
    generator = torch.Generator().manual_seed(child_seed(seed, "head"))
    with torch.no_grad():
        for parameter in head.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=INIT_STD, generator=generator)
            else:
                parameter.zero_()
    return head


def pool(hidden: Tensor, mask: Tensor, pooling: str) -> Tensor:
    """One vector a row.

    Args:
        hidden: (B, T, d).
        mask: (B, T), nonzero at real tokens; at least one a row, padding on the right.
        pooling: "mean", "first" or "last", over real tokens.
    Returns:
        (B, d).
    """
    if pooling == "first":
        return hidden[:, 0]
    if pooling == "last":
        last = mask.long().sum(dim=1) - 1
        return hidden[torch.arange(len(hidden), device=hidden.device), last]
    weight = mask.to(hidden.dtype).unsqueeze(-1)
    return (hidden * weight).sum(dim=1) / weight.sum(dim=1)


def last_hidden(base: PreTrainedModel, attached: Attached, batch: Any) -> Tensor:
    """The last hidden states of a batch at its own positions, (B, T, d)."""
    hidden = base(**batch.inputs(), **without_cache(base)).last_hidden_state
    return attached.real(hidden)


def output_width(base: PreTrainedModel) -> int:
    """Width of the last hidden states; some backbones (opt) project them to that of the words."""
    width: int = getattr(base.config, "word_embed_proj_dim", base.config.hidden_size)
    return width


def without_cache(base: PreTrainedModel) -> dict[str, bool]:
    """Keeps a decoder from filling a cache that nobody reads."""
    return {"use_cache": False} if getattr(base.config, "use_cache", False) else {}


def _to_float32(_: nn.Module, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(argument.float() for argument in arguments)


def _whole_classifier(base: PreTrainedModel, n_outputs: int) -> PreTrainedModel:
    """The family's classifier around an empty backbone."""
    from transformers import AutoModelForSequenceClassification

    config = copy.deepcopy(base.config)
    config.num_labels = n_outputs
    config.num_hidden_layers = 0  # its layers are replaced by the backbone's anyway
    with torch.device("meta"):
        whole: PreTrainedModel = AutoModelForSequenceClassification.from_config(config)  # type: ignore[no-untyped-call]
    whole.train(False)
    return whole
