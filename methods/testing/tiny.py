"""Tiny backbones of every model type that is described, with random weights, and their inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from transformers import (
    AlbertConfig,
    AutoModel,
    BartConfig,
    BertConfig,
    CLIPConfig,
    DebertaV2Config,
    DistilBertConfig,
    ElectraConfig,
    Gemma2Config,
    GemmaConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MambaConfig,
    MistralConfig,
    OPTConfig,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen3Config,
    RobertaConfig,
    T5Config,
    ViTConfig,
    WhisperConfig,
)

VOCABULARY = 60
SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 24,
    "max_position_embeddings": 40,
    "initializer_range": 0.3,
    "pad_token_id": 0,
}
GROUPED: dict[str, Any] = SIZES | {"num_key_value_heads": 2, "bos_token_id": 1, "eos_token_id": 2}
# two layers each in encoder and decoder
TWO_STACKS: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "d_model": 16,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 24,
    "decoder_ffn_dim": 24,
    "init_std": 0.3,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
}
IMAGE: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 24,
    "image_size": 12,
    "patch_size": 4,
    "initializer_range": 0.3,
}

# these attend by themselves, or not at all
WITHOUT_SDPA = ("deberta", "gemma2", "mamba")


def _t5(ffn: str) -> T5Config:
    return T5Config(  # type: ignore[call-arg]
        vocab_size=VOCABULARY,
        d_model=16,
        d_kv=6,
        d_ff=24,
        num_layers=2,
        num_decoder_layers=2,
        num_heads=4,
        feed_forward_proj=ffn,
        initializer_factor=4.0,
        pad_token_id=0,
        decoder_start_token_id=0,
    )


CONFIGS: dict[str, Callable[[], PreTrainedConfig]] = {
    "bert": lambda: BertConfig(**SIZES),
    "roberta": lambda: RobertaConfig(**SIZES),
    "electra": lambda: ElectraConfig(embedding_size=8, **SIZES),
    "deberta": lambda: DebertaV2Config(  # type: ignore[call-arg]
        relative_attention=True,
        pos_att_type=["p2c", "c2p"],
        position_buckets=8,
        norm_rel_ebd="layer_norm",
        share_att_key=True,
        **SIZES,
    ),
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
    "albert": lambda: AlbertConfig(embedding_size=8, **SIZES),
    "gpt2": lambda: GPT2Config(
        vocab_size=VOCABULARY,
        n_embd=16,
        n_layer=3,
        n_head=4,
        n_positions=40,
        initializer_range=0.3,
        bos_token_id=1,
        eos_token_id=2,
    ),
    "gpt_neox": lambda: GPTNeoXConfig(bos_token_id=1, eos_token_id=2, **SIZES),
    "llama": lambda: LlamaConfig(**GROUPED),
    "mistral": lambda: MistralConfig(sliding_window=4, **GROUPED),
    "qwen2": lambda: Qwen2Config(**GROUPED),
    "qwen3": lambda: Qwen3Config(head_dim=6, **GROUPED),
    "gemma": lambda: GemmaConfig(head_dim=6, **GROUPED),
    "gemma2": lambda: Gemma2Config(head_dim=6, **GROUPED),
    "opt": lambda: OPTConfig(
        vocab_size=VOCABULARY,
        hidden_size=16,
        num_hidden_layers=3,
        num_attention_heads=4,
        ffn_dim=24,
        max_position_embeddings=40,
        init_std=0.3,
        pad_token_id=0,
    ),
    "opt_post_norm": lambda: OPTConfig(
        vocab_size=VOCABULARY,
        hidden_size=16,
        num_hidden_layers=3,
        num_attention_heads=4,
        ffn_dim=24,
        max_position_embeddings=40,
        word_embed_proj_dim=8,
        do_layer_norm_before=False,
        init_std=0.3,
        pad_token_id=0,
    ),
    "t5": lambda: _t5("relu"),
    "t5_gated": lambda: _t5("gated-gelu"),
    "bart": lambda: BartConfig(max_position_embeddings=40, **TWO_STACKS),
    "vit": lambda: ViTConfig(**IMAGE),
    "clip": lambda: CLIPConfig(
        text_config=SIZES | {"bos_token_id": 1, "eos_token_id": 2},
        vision_config=IMAGE | {"hidden_size": 20},
        projection_dim=8,
    ),
    "whisper": lambda: WhisperConfig(
        num_mel_bins=8, max_source_positions=20, max_target_positions=20, **TWO_STACKS
    ),
    "mamba": lambda: MambaConfig(
        vocab_size=VOCABULARY,
        hidden_size=16,
        num_hidden_layers=3,
        state_size=4,
        initializer_range=0.3,
        pad_token_id=0,
    ),
}

Inputs = dict[str, torch.Tensor]


def build(name: str, attention: str = "sdpa", seed: int = 0) -> PreTrainedModel:
    """A base model in eval mode, its norms and biases away from 1 and 0."""
    torch.manual_seed(seed)
    config = CONFIGS[name]()
    if name not in WITHOUT_SDPA:
        config._attn_implementation = attention
    model: PreTrainedModel = AutoModel.from_config(config)  # type: ignore[no-untyped-call]
    for parameter in model.parameters():
        if parameter.dim() == 1:
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
    return model.eval()  # type: ignore[no-any-return, no-untyped-call]


def words() -> Inputs:
    """Three sequences of 7, 5 and 3 tokens, padded on the right."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        ids = torch.randint(3, VOCABULARY, (3, 7))
    mask = torch.arange(7) < torch.tensor([[7], [5], [3]])
    return {"input_ids": ids.masked_fill(~mask, 0), "attention_mask": mask.long()}


def inputs_of(model: PreTrainedModel, batch: Inputs | None = None) -> Inputs:
    """What a tiny model reads, three examples; ``batch``: its words, by default :func:`words`."""
    batch = words() if batch is None else batch
    generator = torch.Generator().manual_seed(4)
    image = torch.randn(3, 3, 12, 12, generator=generator)
    answer = {"decoder_input_ids": batch["input_ids"].flip(1)[:, :5]}
    match model.config.model_type:
        case "vit":
            return {"pixel_values": image}
        case "clip":
            return batch | {"pixel_values": image}
        case "whisper":
            return answer | {"input_features": torch.randn(3, 8, 40, generator=generator)}
        case "t5" | "bart":
            return batch | answer
        case _:
            return batch


def output(model: PreTrainedModel, inputs: Inputs) -> torch.Tensor:
    """Everything that a base model says of its inputs, (B, ...)."""
    found = model(**inputs)
    if model.config.model_type == "clip":
        return torch.cat([found.text_embeds, found.image_embeds], dim=-1)
    hidden: torch.Tensor = found.last_hidden_state
    return hidden
