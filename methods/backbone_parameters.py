"""The parameters of a backbone, without those of a task head that lies in the base model."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import AutoModel, PreTrainedModel


def backbone_parameters(base: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters by name; each once, where several modules share it.

    Some models with a head are their own base model (t5's for generation): then the head's
    parameters are left out, if it shares them with no part of the backbone.
    """
    named = dict(base.named_parameters())
    if not isinstance(base, PreTrainedModel) or isinstance(base, _bare_classes(base)):
        return named
    with torch.device("meta"):
        bare = AutoModel.from_config(base.config)  # type: ignore[no-untyped-call]
    # a part alone may have its own name for what the whole shares (bart's decoder: its words)
    known = {name for name, _ in bare.base_model.named_parameters(remove_duplicate=False)}
    return {name: parameter for name, parameter in named.items() if name in known}


def has_head(model: nn.Module, base: nn.Module) -> bool:
    """Whether there is more to a model than its backbone; some are their own base model."""
    bare = not isinstance(base, PreTrainedModel) or isinstance(base, _bare_classes(base))
    return model is not base or not bare


def _bare_classes(base: PreTrainedModel) -> tuple[type, ...]:
    """Classes of the backbone of a config, without any head."""
    found: Any = AutoModel._model_mapping.get(type(base.config), None)
    kinds = found if isinstance(found, tuple) else (found,)
    return tuple(kind for kind in kinds if kind is not None) or (nn.Module,)
