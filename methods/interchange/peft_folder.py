"""An adapter folder of HF peft, written only if peft gives our outputs from it."""

from __future__ import annotations

import copy
import math
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedModel

from peftnas.methods.attach import AttachedModules, base_of, check_attached
from peftnas.methods.hooks import is_attached
from peftnas.methods.interchange import to_peft
from peftnas.methods.interchange.compare import (
    Inputs,
    answer_of,
    difference,
    hidden_of,
    in_float32,
    quiet,
    sample,
)

if TYPE_CHECKING:
    from peft import PeftConfig, PeftModel

CONFIG = "adapter_config.json"
TENSORS = "adapter_model.safetensors"


def save_as_peft(
    attached: AttachedModules,
    folder: str | Path,
    base: str,
    *,
    fresh: PreTrainedModel,
    batch: Inputs | None = None,
) -> None:
    """Write ``adapter_config.json`` and ``adapter_model.safetensors``, or nothing at all.

    ``PeftModel.from_pretrained(AutoModel.from_pretrained(base), folder)`` loads them. Before they
    appear, peft loads them onto ``fresh``, and last hidden states are compared.

    Args:
        attached: modules with their trained values, attached and not merged.
        folder: made when missing; other files in it stay.
        base: name or folder of the backbone, as ``AutoModel.from_pretrained`` takes it.
        fresh: an untouched copy of the backbone with the same weights, with or without a head. It
            is used up: peft's modules stay in it, so load another one for other work.
        batch: what to compare on; by default random words, images or sounds.
    Raises:
        ImportError: if peft is not installed.
        TypeError: if ``attached`` is not what ``attach`` returned, or ``fresh`` is no model.
        ValueError: if peft cannot express the architecture, ``fresh`` has other weights than the
            backbone, or peft's outputs differ from ours.
    """
    check_attached(attached, "save_as_peft")
    config, tensors = to_peft(attached)
    fresh = base_of(fresh)
    _check_fresh(fresh, attached.base)
    batch = sample(attached) if batch is None else batch
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    config.base_model_name_or_path = base
    scratch = Path(tempfile.mkdtemp(prefix=".saving-", dir=folder.parent))
    try:
        with _peft_warnings(), quiet():
            _write(config, tensors, scratch)
            spare = copy.deepcopy(fresh) if fresh.dtype != torch.float32 else None
            theirs = _loaded(scratch, tensors, fresh)
            ours = hidden_of(attached, batch)
            apart = difference(ours, answer_of(theirs, batch), batch, fresh.dtype)
            if spare is not None and 1.0 < apart < math.inf:
                apart = _apart_in_float32(attached, spare, batch, scratch / "float32")
            if apart > 1.0:
                raise ValueError(
                    f"loaded with HF peft the outputs differ by {apart:.1f} times what is "
                    "tolerated, so nothing was written; keep peftnas's own format"
                )
        folder.mkdir(exist_ok=True)
        for name in (TENSORS, CONFIG):
            os.replace(scratch / name, folder / name)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _check_fresh(fresh: PreTrainedModel, base: PreTrainedModel) -> None:
    """Raise ``ValueError`` unless a base model is an untouched copy of another one."""
    if fresh is base or is_attached(fresh):
        raise ValueError("fresh must be an untouched copy of the backbone; load it once more")
    theirs, ours = fresh.state_dict(), base.state_dict()
    other = [
        name
        for name, value in ours.items()
        if name not in theirs
        or theirs[name].shape != value.shape
        or not torch.equal(theirs[name].to(value), value)
    ]
    if other:
        raise ValueError(
            "fresh must be a copy of the backbone with the same weights, but "
            f"{other[0]!r} is another there ({len(other)} of {len(ours)} tensors); load both from "
            "one folder, or copy: fresh.load_state_dict(base.state_dict()) before attaching"
        )


def _loaded(folder: Path, tensors: dict[str, Tensor], fresh: PreTrainedModel) -> PeftModel:
    """What peft makes of the folder; ValueError if it reads other tensors than were written."""
    from peft import PeftModel, get_peft_model_state_dict

    theirs = PeftModel.from_pretrained(fresh, str(folder))
    # of a state that it is given, peft does not warn that the bias of a lora_B has one axis
    read = get_peft_model_state_dict(
        theirs, state_dict=theirs.state_dict(), save_embedding_layers=False
    )
    wrong = [
        name
        for name in sorted({*read, *tensors})
        if name not in read
        or name not in tensors
        or not torch.equal(read[name].cpu(), tensors[name])
    ]
    if wrong:
        raise ValueError(
            f"HF peft does not read back what was written for it ({wrong[0]}, {len(wrong)} "
            "tensors), so nothing was written; keep peftnas's own format"
        )
    return theirs


def _apart_in_float32(
    attached: AttachedModules, spare: PreTrainedModel, batch: Inputs, scratch: Path
) -> float:
    """How far peft's function is from ours where neither is rounded to 16 bits.

    Of a composition the 16 bits of its outputs, and of the norms and biases that peft holds
    whole, add up to more than is tolerated of one method, though the functions are the same.
    """
    exact = {
        name: tensor.float() if tensor.is_floating_point() else tensor
        for name, tensor in batch.items()
    }
    with in_float32(attached.base, attached):
        config, tensors = to_peft(attached)
        _write(config, tensors, scratch)
        ours = hidden_of(attached, exact)
    with in_float32(spare):
        theirs = answer_of(_loaded(scratch, tensors, spare), exact)
    return difference(ours, theirs, exact, torch.float32)


def _write(config: PeftConfig, tensors: dict[str, Tensor], folder: Path) -> None:
    config.save_pretrained(str(folder))
    save_file(tensors, folder / TENSORS, metadata={"format": "pt"})


@contextmanager
def _peft_warnings() -> Iterator[None]:
    """Hides those that say nothing of this adapter; a missing tensor is an error."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning)
        warnings.filterwarnings("ignore", message="Token type ids are not supported")
        # of the norms that it copies
        warnings.filterwarnings("ignore", message="Unsupported layer type")
        # peft could not merge a new bias, which nobody asks it to
        warnings.filterwarnings("ignore", message=".*base layer has no bias term")
        warnings.filterwarnings("ignore", message="`lora_bias=True` was passed")
        yield
