"""Anatomy of a backbone: its sites, their shapes and its size; needs no weights.

Layers are numbered through all stacks: those of an encoder first, then those of its decoder.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from peftnas.methods.anatomies.family import NormOrder, Positions, Tap

if TYPE_CHECKING:
    from peftnas.methods.base import Placement
    from peftnas.spaces.architecture import Architecture

T = TypeVar("T")

SUBLAYERS = ("attention", "cross_attention", "ffn", "mixer")

TARGETS = (
    *("query", "key", "value", "output"),
    *("cross_query", "cross_key", "cross_value", "cross_output"),
    *("up", "gate_proj", "down"),
    *("in_proj", "x_proj"),
)
"""Names of the linears that a layer of some family has, in the order of methods' fields."""


@dataclass(frozen=True)
class Rows:
    """The outputs of a fused projection that belong to one of its linears.

    Attributes:
        part: number of the linear, 0-based.
        parts: how many linears the projection computes.
        blocks: 1 where its outputs lie part by part; the number of heads where head by head.
    """

    part: int
    parts: int
    blocks: int

    def indices(self, total: int) -> list[int]:
        """Numbers of these outputs among ``total``, ascending."""
        width = total // (self.parts * self.blocks)
        starts = [(block * self.parts + self.part) * width for block in range(self.blocks)]
        return [start + i for start in starts for i in range(width)]


@dataclass(frozen=True)
class LinearSite:
    """One linear of a backbone.

    Attributes:
        address: in our words, such as ``layers[3].attention.query``.
        path: of its module in the base model.
        n_in: inputs.
        n_out: outputs; of a fused projection those of this linear alone.
        bias: whether it has one.
        stack: number of the stack whose tokens it reads.
        rows: its part of a fused projection; ``None``: the module is this linear alone.
        transposed: whether the module keeps its weight as (n_in, n_out).
    """

    address: str
    path: str
    n_in: int
    n_out: int
    bias: bool
    stack: int = 0
    rows: Rows | None = None
    transposed: bool = False


NamedLinears = tuple[tuple[str, LinearSite], ...]


@dataclass(frozen=True)
class NormSite:
    """One norm of a backbone.

    Attributes:
        address: in our words, such as ``layers[3].ffn.norm``.
        path: of its module in the base model.
        width: length of its weight.
        bias: whether it has one.
        offset: what it adds to the weight that it keeps.
    """

    address: str
    path: str
    width: int
    bias: bool
    offset: float = 0.0


@dataclass(frozen=True)
class SublayerSite:
    """One sublayer, with full paths in the base model; see ``family.SublayerPaths``."""

    address: str
    residual: Tap
    exit: str
    norm: str
    core: str | None
    norm_order: NormOrder
    stack: int


@dataclass(frozen=True)
class LayerSite:
    """One layer of a backbone.

    Attributes:
        path: of its module in the base model.
        stack: number of the stack that it belongs to.
        width: width d of the residual stream.
        ffn_width: width f inside the FFN (or the mixer).
        heads: query heads h; 0 without attention.
        kv_heads: key-value heads g.
        head_width: width c of a head.
    """

    path: str
    stack: int
    width: int
    ffn_width: int
    heads: int
    kv_heads: int
    head_width: int


@dataclass(frozen=True)
class StackSite:
    """One stack of layers; see ``family.Stack``.

    Attributes:
        name: "" where it is the only one.
        layers: numbers of its layers.
        causal: tokens see earlier tokens only.
        entry: path of the module whose call starts it.
        tokens: arguments of the entry that hold words or their embeddings; ``None``: no words.
        embeddings: path of the embedding layer, where there is one.
        word_embeddings: path of the table of word embeddings, where there is one.
        embedding_width: width of the word embeddings, else of the stream; electra: they differ.
        patches: path of the convolution that embeds the patches of an image, where there is one.
    """

    name: str
    layers: tuple[int, ...]
    causal: bool
    entry: str
    tokens: tuple[str, str] | None
    embeddings: str | None
    word_embeddings: str | None
    embedding_width: int
    patches: str | None = None

    @property
    def prefix(self) -> str:
        """What addresses of its sites outside the layers begin with."""
        return f"{self.name}." if self.name else ""


@dataclass(frozen=True)
class Anatomy:
    """What there is in one backbone and where. Made by ``describe``; can be pickled.

    Attributes:
        family: name of the family.
        model_type: ``config.model_type``.
        norm_order: "post" or "pre".
        positions: how positions enter; see ``family.Family``.
        backbone_parameters: parameters of the base model, without any task head.
        stacks: one, or an encoder and its decoder, or the towers of two kinds of input.
        layers: every layer by its number.
        targets: names of the linears in its layers, in the order of ``TARGETS``.
        linears: every linear by address.
        norms: every norm by address.
        sublayers: every sublayer by address.
    """

    family: str
    model_type: str
    norm_order: NormOrder
    positions: Positions
    backbone_parameters: int
    stacks: tuple[StackSite, ...]
    layers: tuple[LayerSite, ...]
    targets: tuple[str, ...]
    linears: Mapping[str, LinearSite]
    norms: Mapping[str, NormSite]
    sublayers: Mapping[str, SublayerSite]

    @functools.cached_property
    def _known(self) -> dict[Any, Any]:
        return {}

    def known(self, work: Callable[..., T], *args: Any) -> T:
        """``work(self, *args)``, worked out once: what is true of this backbone for good.

        Thousands are counted on one backbone. ``work`` stands in a module; args have hashes.
        """
        key = (work, args)
        if key not in self._known:
            self._known[key] = work(self, *args)
        found: T = self._known[key]
        return found

    @property
    def n_layers(self) -> int:
        """Number of layers of all stacks."""
        return len(self.layers)

    @property
    def width(self) -> int:
        """Width of the residual stream of the first stack."""
        return self.layers[0].width

    @property
    def causal(self) -> bool:
        """Whether the stack that gives the output of the backbone sees earlier tokens only."""
        return self.stacks[-1].causal

    def has(self, layer: int, target: str) -> bool:
        """Whether a layer has this linear."""
        return linear_address(layer, target) in self.linears

    def linear(self, layer: int, name: str) -> LinearSite:
        """The linear ``name`` (query, ..., down) of a layer.

        Raises:
            ValueError: if the backbone has no such linear or layer.
        """
        site = self.linears.get(linear_address(layer, name))
        if site is None:
            self.check_targets((name,))
            if layer < self.n_layers:
                stack = self.stacks[self.layers[layer].stack].name
                raise ValueError(f"layer {layer} belongs to the {stack}, which has no {name!r}")
            raise ValueError(
                f"this {self.model_type} backbone has layers 0..{self.n_layers - 1}, got {layer}"
            )
        return site

    def linears_of(self, layer: int, targets: tuple[str, ...]) -> NamedLinears:
        """Those of the targets that a layer has, with their sites."""
        return self.known(_linears, targets)[layer]

    def check_targets(self, names: Sequence[str]) -> None:
        """Raise ``ValueError`` if one of the target names does not exist in this backbone."""
        missing = [name for name in names if name not in self.targets]
        if missing:
            raise ValueError(
                f"targets {missing} do not exist in {self.model_type} backbones; "
                f"take some of {', '.join(self.targets)}"
            )

    def sublayer(self, layer: int, name: str) -> SublayerSite:
        """A sublayer (attention, cross_attention, ffn, mixer) of a layer that has it."""
        return self.sublayers[sublayer_address(layer, name)]

    def sublayers_of(self, layer: int, names: tuple[str, ...]) -> tuple[SublayerSite, ...]:
        """Those of the named sublayers that a layer has."""
        return self.known(_sublayers, names)[layer]

    def check_sublayers(self, names: Sequence[str]) -> None:
        """Raise ``ValueError`` if no layer has one of the named sublayers."""
        there = self.known(_sublayer_names)
        missing = [name for name in names if name not in there]
        if missing:
            known = ", ".join(name for name in SUBLAYERS if name in there)
            raise ValueError(
                f"sublayers {missing} do not exist in {self.model_type} backbones; take {known}"
            )

    def check_core(self, what: str) -> None:
        """Raise ``ValueError`` if no attention takes keys and values from outside."""
        if not any(site.core for site in self.sublayers.values()):
            raise ValueError(
                f"the attention of {self.model_type} backbones takes no keys and values from "
                f"outside, so no {what.removeprefix('a ')}; leave it out"
            )

    def canonical(self, architecture: Architecture) -> Architecture:
        """See :func:`peftnas.methods.canonical.canonical`."""
        from peftnas.methods.canonical import canonical

        return canonical(architecture, self)

    def place(self, architecture: Architecture) -> tuple[Placement, ...]:
        """See :func:`peftnas.methods.costs.place`."""
        from peftnas.methods.costs import place

        return place(architecture, self)


def _linears(anatomy: Anatomy, targets: tuple[str, ...]) -> list[NamedLinears]:
    """Of each layer."""
    there = anatomy.linears
    return [
        tuple((t, there[at]) for t in targets if (at := linear_address(layer, t)) in there)
        for layer in range(anatomy.n_layers)
    ]


def _sublayers(anatomy: Anatomy, names: tuple[str, ...]) -> list[tuple[SublayerSite, ...]]:
    """Of each layer."""
    there = anatomy.sublayers
    return [
        tuple(there[at] for name in names if (at := sublayer_address(layer, name)) in there)
        for layer in range(anatomy.n_layers)
    ]


def _sublayer_names(anatomy: Anatomy) -> frozenset[str]:
    return frozenset(address.rpartition(".")[2] for address in anatomy.sublayers)


_SUBLAYER_OF = (
    dict.fromkeys(("query", "key", "value", "output"), "attention")
    | dict.fromkeys(("up", "gate_proj", "down"), "ffn")
    | dict.fromkeys(("in_proj", "x_proj"), "mixer")
)


@functools.cache
def linear_address(layer: int, name: str) -> str:
    """Address of a linear in a layer: ``layers[3].attention.query``.

    ``cross_query`` is ``layers[3].cross_attention.query``.
    """
    plain = name.removeprefix("cross_")
    sublayer = "cross_attention" if plain != name else _SUBLAYER_OF.get(name, "ffn")
    return f"layers[{layer}].{sublayer}.{plain}"


def sublayer_address(layer: int, name: str) -> str:
    """Address of a sublayer, such as ``layers[3].ffn``."""
    return f"layers[{layer}].{name}"


def outer_norm_address(name: str) -> str:
    """Address of a norm outside the layers: ``embeddings_norm`` is ``embeddings.norm``."""
    return "embeddings.norm" if name == "embeddings_norm" else name
