"""The form in which one family of backbones is described: module paths as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

NormOrder = Literal["post", "pre"]
Positions = Literal["learned", "rotary", "relative", "none"]


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
class Fused:
    """One linear of several that one projection computes at once.

    Attributes:
        path: of the projection, inside the layer.
        part: number of the linear among them, 0-based.
        parts: how many they are; all have the same number of outputs.
        per_head: its outputs lie head by head (head, part, width), not part by part.
    """

    path: str
    part: int
    parts: int = 3
    per_head: bool = False


@dataclass(frozen=True)
class SublayerPaths:
    """Where one sublayer F reads and is added to the residual stream; paths relative to the layer.

    Attributes:
        residual: x, the residual stream before the sublayer (and before a pre-norm).
        exit: module whose output (of a tuple: the first item) is h = F(.), before the residual
            addition: after its dropout, where that is a module, and after a norm of F's own.
        norm: post-LN: the norm applied to h + x; pre-LN: the norm applied to x.
        core: the module that calls the attention function; ``None`` where the sublayer calls none
            that a prefix can enter.
    """

    residual: Tap
    exit: str
    norm: str
    core: str | None = None


@dataclass(frozen=True)
class Stack:
    """One stack of equal layers: a whole backbone, its encoder, its decoder, its text tower.

    All paths are relative to the base model, those of linears and sublayers to a layer.

    Attributes:
        name: "" where the backbone has only one; else "encoder", "decoder", "text", "vision".
        entry: module whose call starts the stack; "" is the base model.
        layers: path of the list of layers.
        linears: site name -> path of the linear inside a layer: query, key, value, output,
            cross_query, ..., up, gate_proj, down, in_proj, ...
        sublayers: "attention", "cross_attention", "ffn", "mixer" -> where they are.
        causal: tokens see earlier tokens only.
        tokens: arguments of the entry that hold what a word embedding reads, or the embeddings
            themselves; ``None`` where it reads no words.
        embeddings: path of the module whose output goes into the first layer (or into a projection
            before it), and whose length sets that of the attention mask; ``None`` where no module
            is that.
        word_embeddings: path of the table of word embeddings; ``None``: there are no words.
        outer_linears: linears outside the layers, where they exist: pooler, embeddings_project.
        outer_norms: norms outside the layers: embeddings_norm, final_norm.
        inner_norms: norms of a layer besides those of its sublayers, where they exist, relative to
            the layer: query_norm, key_norm, attention_post_norm, ffn_post_norm.
        patches: path of the convolution that embeds the patches of an image, where there is one.
        shared: linears and norms that read what all rows of a batch share (a table of distances),
            with the values that the config then has. A linear of a layer reads the text first, in
            each call of the module that owns it; such a norm never does.
        flattens: it hands down the tokens of all rows as one row after another (N, d) in places.
        config: attribute of the config that has this stack's sizes; "" is the config itself.
        heads: attribute with the number of query heads; ``None``: the stack has no attention.
    """

    layers: str
    linears: Mapping[str, str | Fused]
    sublayers: Mapping[str, SublayerPaths]
    causal: bool
    embeddings: str | None
    word_embeddings: str | None
    name: str = ""
    entry: str = ""
    tokens: tuple[str, str] | None = ("input_ids", "inputs_embeds")
    outer_linears: Mapping[str, str] = field(default_factory=dict)
    outer_norms: Mapping[str, str] = field(default_factory=dict)
    inner_norms: Mapping[str, str] = field(default_factory=dict)
    patches: str | None = None
    shared: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    flattens: bool = False
    config: str = ""
    heads: str | None = "num_attention_heads"


@dataclass(frozen=True)
class Family:
    """Backbones that share one layout. Adding a family is writing one literal of this class.

    Paths are relative to the base model (``model.base_model``), so task heads do not matter.

    Attributes:
        name: short name, such as "bert".
        model_types: values of ``config.model_type`` that have this layout.
        norm_order: "post" for ``LN(x + F(x))``, "pre" for ``x + F(LN x)``.
        positions: "learned" (they enter with the embeddings and nowhere else), "rotary" (queries
            and keys are rotated), "relative" (attention logits depend on distances), "none".
        stacks: in the order in which their layers are numbered: an encoder before its decoder.
        norm_offset: what its norms add to the weight that they keep (gemma: 1).
        when: values of the config that a model of this layout has, where one model type has
            several layouts.
    """

    name: str
    model_types: tuple[str, ...]
    norm_order: NormOrder
    positions: Positions
    stacks: tuple[Stack, ...]
    norm_offset: float = 0.0
    when: Mapping[str, Any] = field(default_factory=dict)
