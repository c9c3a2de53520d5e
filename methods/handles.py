"""The way back from a model to what is attached to it, for whoever kept no handle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn
from transformers import PreTrainedModel

from peftnas.methods.checks import check_model

if TYPE_CHECKING:
    from peftnas.methods.attach import AttachedModules
    from peftnas.methods.side_by_side import SideBySide

_NAME = "_peftnas_attached"


def attached_to(model: PreTrainedModel) -> AttachedModules | SideBySide:
    """What ``attach`` or ``attach_side_by_side`` returned for a model that still carries it.

    Args:
        model: the model that was given to them, with or without its task head.
    Raises:
        TypeError: if it is no model of transformers.
        ValueError: if nothing is attached to it.
    """
    check_model(model)
    handle: Any = vars(model.base_model).get(_NAME)
    if handle is None:
        raise ValueError(
            f"attached_to needs a model that carries modules, this {type(model).__name__} carries "
            "none; attach some"
        )
    return handle  # type: ignore[no-any-return]


def remember(base: nn.Module, handle: AttachedModules | SideBySide) -> None:
    """Keep a handle at its base model: no part of its tree, and copied and pickled with it."""
    vars(base)[_NAME] = handle


def forget(base: nn.Module) -> None:
    """The base model carries nothing any more."""
    vars(base).pop(_NAME, None)
