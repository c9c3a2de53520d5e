"""Which stacks of a backbone read words, for starts that are taken from them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from peftnas.methods.anatomy import Anatomy


def check_reads_words(anatomy: Anatomy, number: int, name: str) -> None:
    """Raise ``ValueError`` if the keys and values of an attention are those of no words."""
    source = 0 if name == "cross_attention" else number
    if anatomy.stacks[source].tokens is not None:
        return
    reading = [stack for stack in anatomy.stacks if stack.tokens is not None]
    layers = tuple(layer for stack in reading for layer in stack.layers)
    remedy = f"leave tokens out, or take layers={layers} and sublayers=('attention',)"
    raise ValueError(
        f"tokens need an attention that reads words, got layers of the "
        f"{anatomy.stacks[source].name or 'one'} stack of a {anatomy.model_type} backbone, which "
        f"reads no words; {remedy if reading else 'leave tokens out'}"
    )
