"""Ports of sublayers and of whole layers: what hooks add to the residual stream.

At a sublayer every delta reads what it would read alone, and all are added to one residual
(methods.md section 1). Ports hold modules and the state of the running call; hooks are their bound
methods, so a port can be copied and pickled with the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from peftnas.methods.base import BlockDelta, SublayerDelta, SublayerScale
from peftnas.methods.call import Call, compute, gated
from peftnas.methods.linear_port import NormPort
from peftnas.methods.sites import SublayerSite


class SublayerPort:
    """All deltas added to the residual stream after one sublayer F.

    Args:
        site: the sublayer.
        norm: port of its norm.
        modules: deltas and scales in the order of the architecture, on which nothing depends.
        call: state of the running pass.
    """

    def __init__(
        self,
        site: SublayerSite,
        norm: NormPort,
        modules: Sequence[SublayerDelta | SublayerScale],
        call: Call,
    ) -> None:
        self.site = site
        self.norm = norm
        self.call = call
        self.scales = [module for module in modules if isinstance(module, SublayerScale)]
        deltas = [module for module in modules if isinstance(module, SublayerDelta)]
        after_norm = site.norm_order == "post"
        self.after = [delta for delta in deltas if delta.reads == "stream" and after_norm]
        self.before = [delta for delta in deltas if delta not in self.after]
        for delta in deltas:
            if delta.reads == "normed_sum" and not after_norm:
                raise ValueError(
                    f"{site.address} has no norm after the residual addition, so nothing can read "
                    "'normed_sum' there; read 'sum'"
                )
        self._residual: Tensor | None = None
        self._normed: Tensor | None = None
        self._output: Tensor | None = None

    def keep_residual(self, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        """Forward pre-hook at the tap of the residual."""
        tap = self.site.residual
        given = args[tap.index] if tap.index < len(args) else kwargs[tap.name]
        self._residual = self.call.by_sequence(given)

    def keep_normed(self, module: nn.Module, args: Any, out: Tensor) -> None:
        """Forward hook at the pre-norm."""
        self._normed = self.call.by_sequence(out)

    def add_before_norm(self, module: nn.Module, args: Any, out: Any) -> Any:
        """Forward hook at the exit of F: h becomes h + sum of deltas."""
        given: Tensor = out[0] if isinstance(out, tuple) else out
        total = h = self.call.by_sequence(given)
        for scale in self.scales:
            assert self._residual is not None
            total = total * compute(scale, h, self._residual, self.call.tokens)
        for delta in self.before:
            if delta.idle and delta.training:
                continue
            z = self._input(delta.reads, h)
            total = total + gated(delta, h, self.call.drop(z), z, self.call.tokens)
        if self.after:
            self._output = h
        else:
            self._forget()
        total = total.view(given.shape)
        return (total, *out[1:]) if isinstance(out, tuple) else total

    def add_after_norm(self, module: nn.Module, args: Any, out: Tensor) -> Tensor:
        """Forward hook at the post-norm, for deltas that read the stream after it."""
        alone = out
        if self.before or self.scales:
            assert self._output is not None and self._residual is not None
            alone = self.norm.apply(self._output + self._residual)
        self._forget()
        shape, out, alone = out.shape, self.call.by_sequence(out), self.call.by_sequence(alone)
        for delta in self.after:
            if delta.idle and delta.training:
                continue
            out = out + gated(delta, out, self.call.drop(alone), alone, self.call.tokens)
        return out.view(shape)

    def _input(self, reads: str, h: Tensor) -> Tensor:
        if reads == "output":
            return h
        assert self._residual is not None
        if reads == "residual":
            return self._residual
        if reads == "normed_input":
            return self._residual if self._normed is None else self._normed
        total = h + self._residual
        return self.norm.apply(total) if reads == "normed_sum" else total

    def _forget(self) -> None:
        self._residual = self._normed = self._output = None

    def __getstate__(self) -> dict[str, Any]:
        """A copy is in no pass, though checkpointing may have left one in the middle."""
        return vars(self) | {"_residual": None, "_normed": None, "_output": None}


class BlockPort:
    """All deltas added to what one layer gives."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.deltas: list[BlockDelta] = []

    def change_output(self, module: nn.Module, args: Any, out: Any) -> Any:
        """Forward hook at the layer."""
        if self.call.past:
            return out
        h: Tensor = out[0] if isinstance(out, tuple) else out
        total = h
        for delta in self.deltas:
            total = total + compute(delta, h, self.call.drop(h), self.call.text_of(h))
        return (total, *out[1:]) if isinstance(out, tuple) else total
