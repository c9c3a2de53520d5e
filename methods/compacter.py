"""Compacter: adapters whose matrices are sums of Kronecker products with one shared rule."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from peftnas.methods.base import Bundle, Method, Placement, SublayerDelta
from peftnas.methods.bottleneck import ACTIVATIONS
from peftnas.methods.layers import active_layers, place_words
from peftnas.spaces.domains import Domain
from peftnas.spaces.fields import Layers, OneOf, Whole, held, setting

if TYPE_CHECKING:
    from peftnas.methods.anatomy import Anatomy

_SUBLAYERS = {"attention": ("attention",), "ffn": ("ffn",), "both": ("attention", "ffn")} | {
    "mixer": ("mixer",)
}
INIT_STD = 0.01


@dataclass(frozen=True)
class CompacterPlacement(Placement):
    """All adapters of one Compacter, since they share the rule.

    Attributes:
        sites: the sublayers that they are added to.
        width: width d of the residual stream.
        bottleneck: r, at least 1.
        parts: n, how many Kronecker products a matrix is the sum of.
        activation: a key of ``ACTIVATIONS``.
    """

    kind: ClassVar[str] = "compacter"
    sites: tuple[str, ...]
    width: int
    bottleneck: int
    parts: int
    activation: str

    def count(self) -> int:
        """n^3, and 2(d + r) + r + d an adapter."""
        d, r = self.width, self.bottleneck
        return self.parts**3 + len(self.sites) * (2 * (d + r) + r + d)

    def build(self, generator: torch.Generator) -> CompacterAdapters:
        return CompacterAdapters(self, generator)


class CompacterAdapters(Bundle):
    """The rule (n, n, n), drawn from N(0, 0.01), and the adapters that share it."""

    def __init__(self, placement: CompacterPlacement, generator: torch.Generator) -> None:
        super().__init__()
        self.placement = placement
        self.sites = placement.sites
        n = placement.parts
        self.rule = nn.Parameter(torch.randn(n, n, n, generator=generator) * INIT_STD)
        self.parts = nn.ModuleList(CompacterAdapter(self, generator) for _ in placement.sites)


class CompacterAdapter(SublayerDelta):
    """``A(h) = U phi(D h + b_D) + b_U`` at one sublayer, D and U by :class:`SharedKronecker`."""

    reads = "output"

    def __init__(self, bundle: CompacterAdapters, generator: torch.Generator) -> None:
        super().__init__()
        here = bundle.placement
        self.activation = here.activation
        self.down = SharedKronecker(bundle, here.width, here.bottleneck, generator)
        self.up = SharedKronecker(bundle, here.bottleneck, here.width, generator)

    def forward(self, z: Tensor, tokens: Tensor | None) -> Tensor:
        """z (B, T, d) -> (B, T, d)."""
        delta: Tensor = self.up(ACTIVATIONS[self.activation](self.down(z)))
        return delta


class SharedKronecker(nn.Module):
    """``x H + b`` with H (n_in, n_out) the sum over i of ``kron(rule_i, left_i right_i)``.

    left (n, n_in / n, 1) and right (n, 1, n_out / n) start Glorot-uniform slice by slice, b at 0.
    """

    def __init__(
        self, bundle: CompacterAdapters, n_in: int, n_out: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        self._bundle = (bundle,)  # in a tuple: not a submodule, which would own the rule again
        n = bundle.placement.parts
        left, right = torch.empty(n, n_in // n, 1), torch.empty(n, 1, n_out // n)
        for part in (*left, *right):
            nn.init.xavier_uniform_(part, generator=generator)
        self.left = nn.Parameter(left)
        self.right = nn.Parameter(right)
        self.b = nn.Parameter(torch.zeros(n_out))

    def forward(self, x: Tensor) -> Tensor:
        """x (..., n_in) -> (..., n_out)."""
        rule = self._bundle[0].rule.to(x.dtype)
        n = len(rule)
        # x sum_i kron(S_i, u_i v_i), without the large matrix
        shaped = x.view(*x.shape[:-1], n, -1)
        inner = torch.einsum("...aj,ij->...ai", shaped, self.left.squeeze(-1).to(x.dtype))
        mixed = torch.einsum("...ai,iab->...bi", inner, rule)
        return (mixed @ self.right.squeeze(1)).flatten(-2) + self.b


@dataclass(frozen=True, kw_only=True)
class Compacter(Method):
    """Compacter: Houlsby adapters ``h + U phi(D h + b_D) + b_U`` with Kronecker matrices.

    ``D^T = sum_i kron(S_i, u_i v_i)`` with vectors u_i, v_i of its own and matrices S_i (n, n)
    shared by all adapters; U likewise. Compacter++ has adapters at the FFN alone (site "ffn").
    Starts about 0.01 from the identity; not mergeable.

    Source: Karimi Mahabadi et al. 2106.04647; rank 1, as in the library `adapters`.
    """

    kind: ClassVar[str] = "compacter"
    formula: ClassVar[str] = "parts^3, and each site: 2*(d + bottleneck) + bottleneck + d"
    source: ClassVar[str] = "Karimi Mahabadi 2106.04647; as in `adapters`"

    site: str | Domain[str] = setting(
        OneOf("attention", "ffn", "both", "mixer"),
        default="both",
        help="the sublayers it is added to",
    )
    bottleneck: int | Domain[int] = setting(
        Whole(0), default=24, size=True, help="width r inside, a multiple of parts; 0 = absent"
    )
    parts: int | Domain[int] = setting(
        Whole(1), default=4, help="Kronecker products a matrix; divides d and bottleneck"
    )
    activation: str | Domain[str] = setting(
        OneOf(*ACTIVATIONS), default="gelu", help="nonlinearity inside"
    )
    layers: tuple[int, ...] | None | Domain[Any] = setting(
        Layers(), default=None, help="layers in which it is active; None: all"
    )

    def place(self, anatomy: Anatomy) -> Iterator[CompacterPlacement]:
        bottleneck, parts = held(self.bottleneck), held(self.parts)
        names = _SUBLAYERS[held(self.site)]
        anatomy.check_sublayers(names, among=tuple(_SUBLAYERS))
        by_width: dict[int, list[str]] = {}
        for layer in active_layers(self, anatomy) if bottleneck else ():
            sites = [site.address for site in anatomy.sublayers_of(layer, names)]
            by_width.setdefault(anatomy.layers[layer].width, []).extend(sites)
        for width, sites in by_width.items():
            for name, size in (("width", width), ("bottleneck", bottleneck)):
                if size % parts:
                    raise ValueError(
                        f"Compacter needs parts that divide the {name} {size}, got {parts}; "
                        "change parts or bottleneck"
                    )
            yield CompacterPlacement(
                "shared", tuple(sites), width, bottleneck, parts, held(self.activation)
            )

    def words(self) -> str:
        """For example ``compacter attention+ffn bottleneck 24 parts 4 gelu in layers 0-2``."""
        where = "+".join(_SUBLAYERS[held(self.site)])
        return (
            f"compacter {where} bottleneck {self.bottleneck} parts {self.parts} {self.activation}"
            + place_words(self.layers)
        )
