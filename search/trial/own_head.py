"""The head over the vocabulary that a backbone was pretrained with: is it among its weights?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from peftnas.search.errors import UsageError

if TYPE_CHECKING:
    from peftnas.search.backbone import Backbone


def own_auto(backbone: Backbone) -> str:
    """The class of transformers that loads a backbone with that head."""
    both = getattr(backbone.config(), "is_encoder_decoder", False)
    return "AutoModelForSeq2SeqLM" if both else "AutoModelForCausalLM"


def check_own_head(backbone: Backbone) -> None:
    """Refuse weights without the head, where it is no table of words that the backbone has.

    Raises:
        UsageError: naming the tensor that is missing.
    """
    import torch
    import transformers

    with torch.device("meta"):
        model = getattr(transformers, own_auto(backbone)).from_config(backbone.config())
    model.tie_weights()
    head, words = model.get_output_embeddings(), model.get_input_embeddings()
    if head is None or head.weight is words.weight:
        return
    [name] = [f"{path}.weight" for path, part in model.named_modules() if part is head]
    # a file may put the head below a name of its own
    if not any(known.endswith(name) for known in backbone.tensor_names()):
        raise UsageError(
            f"a task that the backbone's own head answers needs its weights, got {name!r} in no "
            f"file of {backbone.name!r}, whose config ties it to no other table; save the whole "
            f"model ({type(model).__name__}), not the backbone alone"
        )
