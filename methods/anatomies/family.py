"""The form in which one family of backbones is described: module paths as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

NormOrder = Literal["post", "pre"]


@dataclass(frozen=True)
class Tap:
    """A tensor on its way into a module.

    Attributes:
        module: path of the module; inside a layer, relative to the layer.
        index: position of the argument.
        name: name of the argument, for callers that pass it as keyword.
    """

    module: str
    index: int
    name: str


@dataclass(frozen=True)
class SublayerPaths:
    """Where one sublayer F reads and is added to the residual stream; paths relative to the layer.

    Attributes:
        residual: x, the residual stream before the sublayer (and before a pre-norm).
        exit: module whose output (of a tuple: the first item) is h = F(.), after its dropout and
            before the residual addition.
        norm: post-LN: the norm applied to h + x; pre-LN: the norm applied to x.
    """

    residual: Tap
    exit: str
    norm: str


@dataclass(frozen=True)
class Family:
    """Backbones that share one layout. Adding a family is writing one literal of this class.

    All paths are relative to the base model (``model.base_model``), so task heads do not matter.

    Attributes:
        name: short name, such as "bert".
        model_types: values of ``config.model_type`` that have this layout.
        norm_order: "post" for ``LN(x + F(x))``, "pre" for ``x + F(LN x)``.
        causal: tokens see earlier tokens only.
        learned_positions: positions enter with the embeddings and nowhere else (no rotary ones,
            no norm on queries and keys).
        layers: path of the list of layers.
        linears: site name -> path of the Linear inside a layer: query, key, value, output, up,
            gate_proj, down.
        attention: the attention sublayer.
        ffn: the FFN sublayer.
        core: path in a layer of the module that calls the attention function.
        embeddings: path of the module whose output goes into the first layer (or into
            ``embeddings_project``).
        word_embeddings: path of the table of word embeddings.
        outer_linears: linears outside the layers, where they exist: pooler, embeddings_project.
        outer_norms: norms outside the layers: embeddings_norm, final_norm.
    """

    name: str
    model_types: tuple[str, ...]
    norm_order: NormOrder
    causal: bool
    learned_positions: bool
    layers: str
    linears: Mapping[str, str]
    attention: SublayerPaths
    ffn: SublayerPaths
    core: str
    embeddings: str
    word_embeddings: str
    outer_linears: Mapping[str, str] = field(default_factory=dict)
    outer_norms: Mapping[str, str] = field(default_factory=dict)
