"""The places of a backbone that a method may change, with their paths and shapes."""

from __future__ import annotations

from dataclasses import dataclass

from peftnas.methods.anatomies.family import NormOrder, Tap


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
        shared: whether it reads, after the text, what all rows of a batch share (deberta: the
            table of distances), in the same call of the module that owns it.
    """

    address: str
    path: str
    n_in: int
    n_out: int
    bias: bool
    stack: int = 0
    rows: Rows | None = None
    transposed: bool = False
    shared: bool = False


@dataclass(frozen=True)
class NormSite:
    """One norm of a backbone.

    Attributes:
        address: in our words, such as ``layers[3].ffn.norm``.
        path: of its module in the base model.
        width: length of its weight.
        bias: whether it has one.
        offset: what it adds to the weight that it keeps.
        shared: whether it reads no text but what all rows of a batch share.
    """

    address: str
    path: str
    width: int
    bias: bool
    offset: float = 0.0
    shared: bool = False


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
        flattens: it hands down the tokens of all rows as one row after another (N, d) in places.
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
    flattens: bool = False

    @property
    def prefix(self) -> str:
        """What addresses of its sites outside the layers begin with."""
        return f"{self.name}." if self.name else ""
