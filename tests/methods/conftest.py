"""Tiny random backbones of every model type that is described, and one padded batch."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest
import torch
from transformers import (
    AutoModel,
    BertConfig,
    DistilBertConfig,
    ElectraConfig,
    LlamaConfig,
    MistralConfig,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    RobertaConfig,
)

VOCABULARY = 60
SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 24,
    "max_position_embeddings": 40,
    "initializer_range": 0.3,
    "pad_token_id": 0,
}
GROUPED = SIZES | {"num_key_value_heads": 2, "bos_token_id": 1, "eos_token_id": 2}
CONFIGS: dict[str, Callable[[], PreTrainedConfig]] = {
    "bert": lambda: BertConfig(**SIZES),
    "roberta": lambda: RobertaConfig(**SIZES),
    "electra": lambda: ElectraConfig(embedding_size=8, **SIZES),
    "distilbert": lambda: DistilBertConfig(
        vocab_size=VOCABULARY,
        dim=16,
        n_layers=3,
        n_heads=4,
        hidden_dim=24,
        max_position_embeddings=40,
        initializer_range=0.3,
        pad_token_id=0,
    ),
    "llama": lambda: LlamaConfig(**GROUPED),
    "mistral": lambda: MistralConfig(sliding_window=4, **GROUPED),
    "qwen2": lambda: Qwen2Config(**GROUPED),
}


def build(name: str, attention: str = "sdpa", seed: int = 0) -> PreTrainedModel:
    """A base model in eval mode, its norms and biases away from 1 and 0."""
    torch.manual_seed(seed)
    config = CONFIGS[name]()
    config._attn_implementation = attention
    model = AutoModel.from_config(config).eval()
    for parameter in model.parameters():
        if parameter.dim() == 1:
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
    return model


@pytest.fixture
def build_backbone() -> Callable[..., PreTrainedModel]:
    """``build_backbone(name, attention="sdpa", seed=0)``."""
    return build


@pytest.fixture(params=list(CONFIGS))
def backbone(request: pytest.FixtureRequest) -> PreTrainedModel:
    """Each of the tiny backbones."""
    return build(request.param)


@pytest.fixture
def batch() -> dict[str, torch.Tensor]:
    """Three sequences of 7, 5 and 3 tokens, padded on the right."""
    torch.manual_seed(1)
    ids = torch.randint(3, VOCABULARY, (3, 7))
    mask = torch.arange(7) < torch.tensor([[7], [5], [3]])
    return {"input_ids": ids.masked_fill(~mask, 0), "attention_mask": mask.long()}


@pytest.fixture
def digest() -> Callable[[torch.nn.Module], str]:
    """Hash of every tensor of a module, names included."""

    def of(module: torch.nn.Module) -> str:
        text = hashlib.sha256()
        for name, value in module.state_dict().items():
            text.update(name.encode())
            text.update(value.detach().contiguous().view(torch.uint8).numpy().tobytes())
        return text.hexdigest()

    return of


@pytest.fixture
def disturb() -> Callable[[torch.nn.Module], None]:
    """Moves every parameter of attached modules away from its start, which may be 0."""

    def move(module: torch.nn.Module) -> None:
        generator = torch.Generator().manual_seed(2)
        with torch.no_grad():
            for parameter in module.parameters():
                noise = torch.randn(parameter.shape, generator=generator)
                parameter.add_(0.2 * noise.to(parameter.dtype))

    return move
