"""SparseAdapter: adapters of whose weights only the most important ones exist."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from peftnas.methods.adapter import Adapter, AdapterPlacement
from peftnas.methods.base import Method, Placement, SublayerDelta
from peftnas.methods.bottleneck import ACTIVATIONS, widths_of
from peftnas.methods.layers import place_words, value_words
from peftnas.spaces.domains import Domain
from peftnas.spaces.fields import Layers, Number, OneOf, Whole, held, setting
from peftnas.spaces.structure import ByLayer

if TYPE_CHECKING:
    from peftnas.methods.anatomy import Anatomy

Score = Literal["snip", "magnitude", "random"]
INIT_STD = 0.02


@dataclass(frozen=True)
class SparseAdapterPlacement(Placement):
    """One sparse adapter.

    Attributes:
        adapter: what it is a part of.
        sparsity: part of each matrix that does not exist.
        score: how the rest is chosen.
    """

    kind: ClassVar[str] = "sparse_adapter"
    adapter: AdapterPlacement
    sparsity: float
    score: Score = field(metadata={"function": False})

    @property
    def kept(self) -> int:
        """Entries of each of the two matrices that exist, at least 1."""
        [bottleneck] = widths_of(self.adapter.bottleneck)
        return max(1, round((1 - self.sparsity) * self.adapter.width * bottleneck))

    def count(self) -> int:
        """Two times the kept entries, + r + d."""
        [bottleneck] = widths_of(self.adapter.bottleneck)
        return 2 * self.kept + bottleneck + self.adapter.width

    def stored_bytes(self, bytes_each: int = 4) -> int:
        """Those of the parameters, and of the places of the kept entries of both matrices."""
        [bottleneck] = widths_of(self.adapter.bottleneck)
        places = _bytes_of_places(self.kept, self.adapter.width * bottleneck)
        return super().stored_bytes(bytes_each) + 2 * places

    def reaches(self, anatomy: Anatomy) -> tuple[Placement, ...]:
        """Where every entry is kept, the adapter."""
        [bottleneck] = widths_of(self.adapter.bottleneck)
        return (self.adapter if self.kept == self.adapter.width * bottleneck else self,)

    def build(self, generator: torch.Generator) -> SparseAdapterDelta:
        return SparseAdapterDelta(self, generator)


class SparseMatrix(nn.Module):
    """A matrix of which some entries are trained and the others are 0.

    Attributes:
        values: the trained entries, (k,).
        index: their places in the flattened matrix, (k,) int32; in a state dict one bit an entry
            of the matrix where that is less.
        pruned: whether they are chosen for good; a scalar that is saved with them, so that a
            loaded matrix is not chosen from again.
    """

    def __init__(
        self, n_out: int, n_in: int, kept: int, score: Score, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.shape = (n_out, n_in)
        start = INIT_STD * torch.randn(n_out * n_in, generator=generator)
        ranking = torch.rand(len(start), generator=generator) if score == "random" else start.abs()
        index = ranking.topk(kept).indices.sort().values
        self.register_buffer("index", index.int())
        self.register_buffer("pruned", torch.tensor(score != "snip"))
        self.values = nn.Parameter(start[index])
        # the whole start, until SNIP has chosen from it
        self._start = start if score == "snip" else None
        self._whole: Tensor | None = None

    def weight(self) -> Tensor:
        """(n_out, n_in)."""
        if self._whole is not None:
            return self._whole.to(self.values.dtype).view(self.shape)
        zeros = self.values.new_zeros(self.shape[0] * self.shape[1])
        return zeros.index_put((self.get_buffer("index"),), self.values).view(self.shape)

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        index, whole = self.get_buffer("index"), self.shape[0] * self.shape[1]
        packed = _pack(index, whole) if _as_bits(len(index), whole) else index.int()
        destination[f"{prefix}index"] = packed

    def _load_from_state_dict(
        self, state_dict: Any, prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        packed = state_dict.get(f"{prefix}index")
        if packed is not None:
            bits = packed.dtype == torch.uint8
            state_dict[f"{prefix}index"] = _unpack(packed) if bits else packed.long()
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    @property
    def unpruned(self) -> bool:
        """Whether SNIP has not chosen yet; until then the largest entries are taken."""
        return not self.get_buffer("pruned")

    @torch.no_grad()
    def begin_pruning(self) -> None:
        """Compute with the whole start from now on, the entries of ``values`` as they are."""
        if self.unpruned and self._start is not None:
            whole = self._start.to(self.values).index_put((self.get_buffer("index"),), self.values)
            self._whole = whole.requires_grad_()

    @property
    def has_scores(self) -> bool:
        """Whether a backward pass since :meth:`begin_pruning` has left a gradient."""
        return self._whole is not None and self._whole.grad is not None

    @torch.no_grad()
    def prune(self) -> None:
        """Keep the entries with the largest ``|w dL/dw|`` of the backward pass before.

        One that the pass did not reach keeps those with the largest ``|w|``.
        """
        if self._whole is not None and self._whole.grad is not None:
            sensitivity = (self._whole * self._whole.grad).abs()
            index = sensitivity.topk(len(self.values)).indices.sort().values
            self.get_buffer("index").copy_(index)
            self.values.copy_(self._whole[index])
        self.get_buffer("pruned").fill_(True)
        self._whole = self._start = None


def _as_bits(kept: int, whole: int) -> bool:
    """Whether one bit an entry of the matrix takes less than four bytes a kept one."""
    return -(-whole // 8) < 4 * kept


def _bytes_of_places(kept: int, whole: int) -> int:
    return -(-whole // 8) if _as_bits(kept, whole) else 4 * kept


def _pack(index: Tensor, whole: int) -> Tensor:
    """Places as bits, (ceil(whole / 8),) of uint8."""
    bits = torch.zeros(-(-whole // 8) * 8, dtype=torch.int32, device=index.device)
    bits[index] = 1
    worth = 2 ** torch.arange(8, dtype=torch.int32, device=index.device)
    return (bits.view(-1, 8) * worth).sum(dim=1).to(torch.uint8)


def _unpack(packed: Tensor) -> Tensor:
    places = torch.arange(8, dtype=torch.int32, device=packed.device)
    bits = (packed.int()[:, None] >> places) & 1
    return bits.view(-1).nonzero()[:, 0]


class SparseAdapterDelta(SublayerDelta):
    """``U phi(D z + b_D) + b_U``, D and U sparse, both drawn from N(0, 0.02)."""

    def __init__(self, placement: SparseAdapterPlacement, generator: torch.Generator) -> None:
        super().__init__()
        self.placement = placement
        self.reads = placement.adapter.reads
        d, [r] = placement.adapter.width, widths_of(placement.adapter.bottleneck)
        self.down = SparseMatrix(r, d, placement.kept, placement.score, generator)
        self.up = SparseMatrix(d, r, placement.kept, placement.score, generator)
        self.down_bias = nn.Parameter(torch.zeros(r))
        self.up_bias = nn.Parameter(torch.zeros(d))

    def forward(self, z: Tensor, tokens: Tensor | None) -> Tensor:
        """z (B, T, d) -> delta (B, T, d)."""
        inner = nn.functional.linear(z, self.down.weight(), self.down_bias)
        act = ACTIVATIONS[self.placement.adapter.activation]
        return nn.functional.linear(act(inner), self.up.weight(), self.up_bias)


@dataclass(frozen=True, kw_only=True)
class SparseAdapter(Method):
    """SparseAdapter: an adapter of which a part of each matrix exists, chosen before training.

    - "snip": the entries with the largest ``|w dL/dw|`` on one batch;
    - "magnitude": the largest |w|;
    - "random".

    What is chosen stays; biases are whole. Kept after training are the entries and their places.
    Each matrix keeps the same part (the paper's SNIP ranks all matrices together), so that the
    count is known beforehand. Both matrices start at random, since scores of D would be 0 beside a
    U of 0: near the identity, not at it.

    Source: He et al. 2210.04284. Large-Sparse: raise the bottleneck by 1 / (1 - sparsity).
    """

    kind: ClassVar[str] = "sparse_adapter"
    formula: ClassVar[str] = (
        "each site: 2 * round((1 - sparsity) * d * bottleneck) + bottleneck + d"
    )
    source: ClassVar[str] = "He 2210.04284"

    site: str | Domain[str] = setting(
        OneOf("attention", "ffn", "both", "mixer"),
        default="ffn",
        help="the sublayer that it is added to",
    )
    bottleneck: int | Domain[int] | ByLayer[int] = setting(
        Whole(0), default=128, by_layer=True, size=True, help="width r inside; 0 = absent"
    )
    sparsity: float | Domain[float] = setting(
        Number(0, 1), default=0.8, help="part of each matrix that does not exist; 1 = absent"
    )
    score: Score | Domain[Any] = setting(
        OneOf("snip", "magnitude", "random"), default="snip", help="how entries are chosen"
    )
    activation: str | Domain[str] = setting(
        OneOf(*ACTIVATIONS), default="relu", help="nonlinearity inside"
    )
    layers: tuple[int, ...] | None | Domain[Any] = setting(
        Layers(), default=None, help="layers in which it is active; None: all"
    )

    def place(self, anatomy: Anatomy) -> Iterator[SparseAdapterPlacement]:
        sparsity: float = held(self.sparsity)
        if sparsity == 1:
            return
        plain = Adapter(
            site=self.site,
            placement="houlsby",
            bottleneck=self.bottleneck,
            activation=self.activation,
            layers=self.layers,
        )
        for adapter in plain.place(anatomy):
            score: Score = held(self.score)
            yield SparseAdapterPlacement(adapter.site, adapter, float(sparsity), score)

    def normal(self, anatomy: Anatomy) -> SparseAdapter:
        """Where every entry is kept, none is chosen."""
        return self.replace(score="snip") if self.sparsity == 0 else self

    def words(self) -> str:
        """For example ``sparse adapter ffn bottleneck 128 sparsity 0.8 (snip) relu``."""
        return (
            f"sparse adapter {self.site} bottleneck {value_words(self.bottleneck)} sparsity "
            f"{self.sparsity:g} ({self.score}) {self.activation}" + place_words(self.layers)
        )
