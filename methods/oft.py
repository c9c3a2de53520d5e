"""OFT: frozen weights, rotated by a block-diagonal orthogonal matrix."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from peftnas.methods.base import Method, Placement, Rotation
from peftnas.methods.linears import layers_setting, sites_of, targets_setting, targets_words
from peftnas.spaces.domains import Domain
from peftnas.spaces.fields import Whole, held, setting

if TYPE_CHECKING:
    from peftnas.methods.anatomy import Anatomy


@dataclass(frozen=True)
class OFTPlacement(Placement):
    """The rotation of one Linear's input: width n_in, blocks of width b that divides it."""

    kind: ClassVar[str] = "oft"
    width: int
    block: int

    def count(self) -> int:
        """n_in / b * b(b-1)/2."""
        return self.width // self.block * (self.block * (self.block - 1) // 2)

    def joins_by(self) -> str | None:
        return ""

    def build(self, generator: torch.Generator) -> OFTRotation:
        return OFTRotation(self)


class OFTRotation(Rotation):
    """``x R``, R block-diagonal with blocks (I - Q)(I + Q)^-1, Q skew-symmetric.

    The upper triangles of all Q (n_in / b, b(b-1)/2) start at 0: the identity.
    """

    def __init__(self, placement: OFTPlacement) -> None:
        super().__init__()
        self.placement = placement
        count = placement.width // placement.block
        self.upper = nn.Parameter(torch.zeros(count, placement.count() // count))
        rows, columns = torch.triu_indices(placement.block, placement.block, 1)
        self.register_buffer("rows", rows, persistent=False)
        self.register_buffer("columns", columns, persistent=False)

    def blocks(self) -> Tensor:
        """The blocks of R, (n_in / b, b, b) in float32."""
        size = self.placement.block
        upper = self.upper.float()  # there is no solver in 16 bits
        skew = upper.new_zeros(len(upper), size, size)
        rows, columns = self.get_buffer("rows"), self.get_buffer("columns")
        every = torch.arange(len(upper), device=upper.device)[:, None]
        skew = skew.index_put((every, rows, columns), upper)
        skew = skew - skew.transpose(1, 2)
        eye = torch.eye(size, device=upper.device)
        rotation: Tensor = torch.linalg.solve(eye + skew, eye - skew, left=False)
        return rotation

    def forward(self, x: Tensor) -> Tensor:
        """x (B, T, n_in) -> (B, T, n_in)."""
        shaped = x.view(*x.shape[:-1], -1, self.placement.block)
        return torch.einsum("...nb,nbc->...nc", shaped, self.blocks().to(x.dtype)).flatten(-2)

    def rotated(self, weight: Tensor) -> Tensor:
        """W R^T, (n_out, n_in)."""
        shaped = weight.reshape(len(weight), -1, self.placement.block)
        turned = torch.einsum("onc,nbc->onb", shaped, self.blocks().to(weight.dtype))
        return turned.flatten(-2)


@dataclass(frozen=True, kw_only=True)
class OFT(Method):
    """OFT: ``W R^T x + b``, R block-diagonal and orthogonal (exact Cayley transform).

    Singular values of W stay, and so does the angle between any two of its rows. A block is the
    largest divisor of n_in up to ``block``.

    Source: Qiu et al. 2306.07280; rotates the input, as HF peft with use_cayley_neumann=False.
    """

    kind: ClassVar[str] = "oft"
    formula: ClassVar[str] = "each target: n_in / block * block * (block - 1) / 2"
    source: ClassVar[str] = "Qiu 2306.07280; as in HF peft with the exact Cayley transform"
    changes_weight: ClassVar[bool] = True

    block: int | Domain[int] = setting(
        Whole(0), default=32, size=True, help="width b of the rotated blocks; 0 or 1 = absent"
    )
    targets: tuple[str, ...] | Domain[tuple[str, ...]] = targets_setting()
    layers: tuple[int, ...] | None | Domain[Any] = layers_setting()

    def place(self, anatomy: Anatomy) -> Iterator[OFTPlacement]:
        wanted = held(self.block)
        for _, site in sites_of(self, anatomy):
            highest = min(wanted, site.n_in)
            block = next((b for b in range(highest, 1, -1) if site.n_in % b == 0), 1)
            if block > 1:
                yield OFTPlacement(site.address, site.n_in, block)

    def normal(self, anatomy: Anatomy) -> OFT:
        """The width of the largest block that there is."""
        return self.replace(block=max(part.block for part in self.place(anatomy)))

    def words(self) -> str:
        """For example ``oft block 32 on query, value in layers 0-2``."""
        return f"oft block {self.block}" + targets_words(self)
