"""The form in which one family of backbones is described: module paths as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from peftnas.methods.anatomies.literal_checks import (
    check_kind,
    check_mapping,
    check_text,
    check_tuple,
    check_whole,
    check_word,
)
from peftnas.methods.anatomies.names import SUBLAYERS, TARGETS

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

    def __post_init__(self) -> None:
        check_text("Tap.module", self.module)
        check_whole("Tap.index", self.index, 0)
        check_text("Tap.name", self.name)


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

    def __post_init__(self) -> None:
        check_text("Fused.path", self.path)
        check_whole("Fused.parts", self.parts, 2)
        check_whole("Fused.part", self.part, 0, self.parts - 1)


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

    def __post_init__(self) -> None:
        check_kind("SublayerPaths.residual", self.residual, Tap)
        check_text("SublayerPaths.exit", self.exit)
        check_text("SublayerPaths.norm", self.norm)
        check_text("SublayerPaths.core", self.core, none=True)


@dataclass(frozen=True)
class Stack:
    """One stack of equal layers: a whole backbone, its encoder, its decoder, its text tower.

    All paths are relative to the base model, those of linears and sublayers to a layer.

    Attributes:
        name: "" where the backbone has only one; else "encoder", "decoder", "text", "vision".
        entry: module whose call starts the stack; "" is the base model.
        layers: path of the list of layers.
        linears: site name (one of ``names.TARGETS``) -> path of the linear inside a layer; there
            must be "up" or "in_proj".
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
        optional: names of outer linears, outer norms and inner norms that only some models of the
            family have; the paths of all others must exist.
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
    optional: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("layers", "embeddings", "word_embeddings", "patches", "heads"):
            check_text(f"Stack.{name}", getattr(self, name), none=name != "layers")
        for name in ("name", "entry", "config"):
            check_text(f"Stack.{name}", getattr(self, name), empty=True)
        if self.tokens is not None:
            check_tuple("Stack.tokens", self.tokens, str)
        check_kind("Stack.causal", self.causal, bool)
        self._check_linears()
        check_mapping("Stack.sublayers", self.sublayers, SUBLAYERS)
        if not self.sublayers:
            raise ValueError(
                "Stack.sublayers must name at least one sublayer, got {}; "
                f"say where one of {', '.join(SUBLAYERS)} is"
            )
        for name, paths in self.sublayers.items():
            check_kind(f"Stack.sublayers[{name!r}]", paths, SublayerPaths)
        named = set()
        for field_name in ("outer_linears", "outer_norms", "inner_norms"):
            paths_of = getattr(self, field_name)
            check_mapping(f"Stack.{field_name}", paths_of)
            for name, path in paths_of.items():
                check_text(f"Stack.{field_name}[{name!r}]", path)
            named |= set(paths_of)
        if self.optional:
            check_tuple("Stack.optional", self.optional, str)
            for name in self.optional:
                check_word("a name in Stack.optional", name, sorted(named))

    def _check_linears(self) -> None:
        check_mapping("Stack.linears", self.linears, TARGETS)
        for name, where in self.linears.items():
            if not isinstance(where, Fused):
                check_text(f"Stack.linears[{name!r}]", where)
        held: dict[Any, str] = {}
        for name, where in self.linears.items():
            # what a part is of, and which part
            place = (where.path, where.part) if isinstance(where, Fused) else (where, None)
            if place in held:
                raise ValueError(
                    "Stack.linears must name each linear once, got "
                    f"{(place[0] if isinstance(where, Fused) else where)!r} as {held[place]!r} "
                    f"and {name!r}; correct one of the two"
                )
            held[place] = name
        if not {"up", "in_proj"} & set(self.linears):
            raise ValueError(
                "Stack.linears must have 'up' (or 'in_proj' of a mixer), whose outputs are the "
                f"width inside a layer, got {', '.join(self.linears) or 'none'}; add it"
            )
        if ("query" in self.linears) != ("key" in self.linears):
            raise ValueError(
                "Stack.linears must have both 'query' and 'key', or none of them, got "
                f"{', '.join(self.linears)}; add the other"
            )
        fused = any(isinstance(where, Fused) for where in self.linears.values())
        if self.heads is None and (fused or "query" in self.linears):
            raise ValueError(
                "Stack.heads must name the attribute of the config with the number of heads where "
                "there is a query or a Fused, got None; such as 'num_attention_heads'"
            )


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

    def __post_init__(self) -> None:
        check_text("Family.name", self.name)
        check_tuple("Family.model_types", self.model_types, str)
        check_word("Family.norm_order", self.norm_order, get_args(NormOrder))
        check_word("Family.positions", self.positions, get_args(Positions))
        check_tuple("Family.stacks", self.stacks, Stack)
        check_mapping("Family.when", self.when)
        titles = [stack.name for stack in self.stacks]
        if len(set(titles)) < len(titles):
            raise ValueError(
                f"the stacks of a Family must have names of their own, got {titles}; "
                "call them 'encoder' and 'decoder', or 'text' and 'vision'"
            )
