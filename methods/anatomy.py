"""Anatomy of a backbone: its sites, their shapes and its size; needs no weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from peftnas.methods.anatomies.family import NormOrder, Tap

if TYPE_CHECKING:
    from peftnas.methods.base import Placement
    from peftnas.spaces.architecture import Architecture


@dataclass(frozen=True)
class LinearSite:
    """One Linear of a backbone: ``address`` in our words, ``path`` in the base model."""

    address: str
    path: str
    n_in: int
    n_out: int
    bias: bool


@dataclass(frozen=True)
class NormSite:
    """One norm of a backbone: its address, path in the base model, width; ``bias``: has one."""

    address: str
    path: str
    width: int
    bias: bool


@dataclass(frozen=True)
class SublayerSite:
    """One sublayer, with full paths in the base model; see ``family.SublayerPaths``."""

    address: str
    residual: Tap
    exit: str
    norm: str
    norm_order: NormOrder


@dataclass(frozen=True)
class Anatomy:
    """What there is in one backbone and where. Made by ``describe``; can be pickled.

    Attributes:
        family: name of the family.
        model_type: ``config.model_type``.
        n_layers: number of layers L.
        width: width d of the residual stream.
        ffn_width: width f inside the FFN.
        heads: query heads h.
        kv_heads: key-value heads g.
        head_width: width c of a head.
        embedding_width: width of the word embeddings; differs from ``width`` in some electra.
        norm_order: "post" or "pre".
        causal: whether tokens see earlier tokens only.
        learned_positions: whether positions enter with the embeddings and nowhere else.
        backbone_parameters: parameters of the base model, without any task head.
        targets: names of the linears in a layer, in the order of methods' fields.
        linears: every linear by address.
        norms: every norm by address.
        sublayers: every sublayer by address.
        cores: path of each layer's attention module.
        embeddings: path of the embedding layer.
        word_embeddings: path of the table of word embeddings.
    """

    family: str
    model_type: str
    n_layers: int
    width: int
    ffn_width: int
    heads: int
    kv_heads: int
    head_width: int
    embedding_width: int
    norm_order: NormOrder
    causal: bool
    learned_positions: bool
    backbone_parameters: int
    targets: tuple[str, ...]
    linears: Mapping[str, LinearSite]
    norms: Mapping[str, NormSite]
    sublayers: Mapping[str, SublayerSite]
    cores: tuple[str, ...]
    embeddings: str
    word_embeddings: str

    def linear(self, layer: int, name: str) -> LinearSite:
        """The linear ``name`` (query, ..., down) of a layer.

        Raises:
            ValueError: if the backbone has no such linear or layer.
        """
        site = self.linears.get(linear_address(layer, name))
        if site is None:
            self.check_targets((name,))
            raise ValueError(
                f"this {self.model_type} backbone has layers 0..{self.n_layers - 1}, got {layer}"
            )
        return site

    def check_targets(self, names: tuple[str, ...]) -> None:
        """Raise ``ValueError`` if one of the target names does not exist in this backbone."""
        missing = [name for name in names if name not in self.targets]
        if missing:
            raise ValueError(
                f"targets {missing} do not exist in {self.model_type} backbones; "
                f"take some of {', '.join(self.targets)}"
            )

    def sublayer(self, layer: int, name: Literal["attention", "ffn"]) -> SublayerSite:
        """The attention or FFN sublayer of a layer."""
        return self.sublayers[f"layers[{layer}].{name}"]

    def canonical(self, architecture: Architecture) -> Architecture:
        """See :func:`peftnas.methods.canonical.canonical`."""
        from peftnas.methods.canonical import canonical

        return canonical(architecture, self)

    def place(self, architecture: Architecture) -> tuple[Placement, ...]:
        """See :func:`peftnas.methods.costs.place`."""
        from peftnas.methods.costs import place

        return place(architecture, self)


def linear_address(layer: int, name: str) -> str:
    """Address of a linear in a layer, such as ``layers[3].attention.query``."""
    sublayer = "attention" if name in ("query", "key", "value", "output") else "ffn"
    return f"layers[{layer}].{sublayer}.{name}"


def outer_norm_address(name: str) -> str:
    """Address of a norm outside the layers: ``embeddings_norm`` is ``embeddings.norm``."""
    return "embeddings.norm" if name == "embeddings_norm" else name
