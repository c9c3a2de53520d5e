"""Samplers that look at a study's rungs, beside what Optuna shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from peftnas.search.sampling.view import SamplerView


class Watches:
    """A sampler that learns from the rungs themselves, not from predicted values alone."""

    def watch(self, view: SamplerView) -> None:
        """Called once, before the first ask."""
        raise NotImplementedError
