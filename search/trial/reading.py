"""What a backbone reads in one training step or one inference pass, and what is asked of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from peftnas.methods.reads import Reads
from peftnas.search.errors import NoRoomError

LEAST_ROOM = 4
"""Tokens of a text beside a prompt at least, the least of ``Recipe.max_length``."""


@dataclass(frozen=True)
class Reading:
    """What one step or pass reads; a form says it, see ``Form.reading``.

    Attributes:
        reads: the size of what the backbone is called with.
        outputs: width of the linear head that is trained with the modules; 0: there is none.
        words: positions, of all sequences together, that the pretrained head answers with a word
            of the vocabulary; ``None``: no such head takes part.
    """

    reads: Reads
    outputs: int = 0
    words: int | None = None


def read_by_step(
    lengths: npt.NDArray[np.int64] | None, length: int, size: int, sequences: int | None = None
) -> Reads:
    """What the heaviest step on some sequences of words reads.

    Args:
        lengths: (n,) tokens of each sequence of a split, n >= 1; ``None``: as many as can be.
        length: tokens that longer ones are cut to.
        size: examples of the step; all there are where there are fewer.
        sequences: of the step, where an example is not one sequence.
    """
    if lengths is None:
        return Reads(size if sequences is None else sequences, max(1, length))
    cut = np.minimum(lengths, length)
    batch = min(size, len(cut)) if sequences is None else sequences
    differ = batch > 1 and int(cut.min()) < int(cut.max())
    return Reads(batch, max(1, int(cut.max())), padded=differ)


def largest_sum(counts: npt.NDArray[np.int64], size: int) -> int:
    """The sum of the ``size`` largest of some counts, or of all."""
    return int(np.sort(counts)[-size:].sum())


def room_beside(prompt_length: int, longest: int) -> int:
    """Tokens of a text that fit beside a prompt.

    Args:
        prompt_length: positions of the prompt.
        longest: positions of the backbone.
    Raises:
        NoRoomError: if hardly any do.
    """
    room = longest - prompt_length
    if room < LEAST_ROOM:
        raise NoRoomError(
            f"a prompt of {prompt_length} leaves no room for texts in the backbone's {longest} "
            "positions; shorten the prompt"
        )
    return room
