"""Site table of a backbone: its stacks, layers, linears and norms, and what can be attached."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from peftnas.methods import Anatomy, Method
    from peftnas.methods.sites import LinearSite, NormSite, StackSite


@dataclass(frozen=True)
class Site:
    """One linear or norm, or the like ones of several layers.

    Attributes:
        sublayer: that it belongs to; "" outside of all sublayers.
        name: as methods' fields name it: query, cross_query, down; attention_norm, pooler.
        norm: whether it is a norm.
        n_in: inputs; of a norm its width.
        n_out: outputs, of a fused projection those of this linear alone; of a norm its width.
        bias: whether it has one.
        part: number of the linear in a fused projection, 1-based; 0: a module of its own.
        parts: how many linears the projection computes; 1: it is not fused.
        transposed: whether its module keeps the weight as (n_in, n_out).
        path: of its module in the base model, ``{i}`` for the layer's number in its stack.
    """

    sublayer: str
    name: str
    norm: bool
    n_in: int
    n_out: int
    bias: bool
    part: int
    parts: int
    transposed: bool
    path: str


@dataclass(frozen=True)
class LayerGroup:
    """Layers of one stack that are alike.

    Attributes:
        layers: their numbers, through all stacks.
        path: of such a layer, ``{i}`` for its number in the stack.
        numbers: what ``{i}`` stands for in their paths.
        width: of the residual stream.
        ffn_width: inside the FFN or the mixer.
        heads: query heads; 0 without attention.
        kv_heads: key-value heads.
        head_width: of a head.
        sublayers: in their order.
        prefix: those that a prefix can enter.
        sites: linears and norms, sublayer by sublayer.
    """

    layers: tuple[int, ...]
    path: str
    numbers: tuple[str, ...]
    width: int
    ffn_width: int
    heads: int
    kv_heads: int
    head_width: int
    sublayers: tuple[str, ...]
    prefix: tuple[str, ...]
    sites: tuple[Site, ...]


@dataclass(frozen=True)
class StackTable:
    """One stack: ``entries`` of a prompt into it, groups of its layers, sites outside of them."""

    name: str
    layers: tuple[int, ...]
    causal: bool
    entries: tuple[str, ...]
    entry_width: int
    groups: tuple[LayerGroup, ...]
    outside: tuple[Site, ...]


@dataclass(frozen=True)
class Attachable:
    """One method with its defaults: its words and trainable parameters, or why it is refused."""

    kind: str
    words: str
    trainable: int | None
    percent: float | None
    refusal: str


@dataclass(frozen=True)
class SiteTable:
    """What ``peftnas doctor --backbone`` says; ``name``: what the backbone is called."""

    name: str
    family: str
    model_type: str
    norm_order: str
    positions: str
    n_layers: int
    backbone_parameters: int
    stacks: tuple[StackTable, ...]
    methods: tuple[Attachable, ...]


def site_table(name: str, anatomy: Anatomy) -> SiteTable:
    """The site table of a backbone; needs no weights."""
    from peftnas.methods import METHODS

    return SiteTable(
        name=name,
        family=anatomy.family,
        model_type=anatomy.model_type,
        norm_order=anatomy.norm_order,
        positions=anatomy.positions,
        n_layers=anatomy.n_layers,
        backbone_parameters=anatomy.backbone_parameters,
        stacks=tuple(_stack(anatomy, number) for number in range(len(anatomy.stacks))),
        methods=tuple(_attachable(method, anatomy) for method in METHODS.values()),
    )


def _attachable(method: type[Method], anatomy: Anatomy) -> Attachable:
    from peftnas.methods import Architecture, count

    held = method()
    try:
        trainable = count(Architecture(held), anatomy)
    except ValueError as error:  # how a method refuses a backbone that lacks what it needs
        return Attachable(method.kind, held.words(), None, None, str(error))
    percent = 100 * trainable / anatomy.backbone_parameters
    return Attachable(method.kind, held.words(), trainable, percent, "")


def _stack(anatomy: Anatomy, number: int) -> StackTable:
    stack = anatomy.stacks[number]
    groups: dict[tuple[object, ...], list[int]] = {}
    for layer in stack.layers:
        groups.setdefault(_likeness(anatomy, stack, layer), []).append(layer)
    entries = _prompt_entries(anatomy, number)
    return StackTable(
        name=stack.name,
        layers=stack.layers,
        causal=stack.causal,
        entries=entries,
        entry_width=stack.embedding_width,
        groups=tuple(_group(anatomy, stack, layers) for layers in groups.values()),
        outside=tuple(_outside(anatomy, number)),
    )


def _prompt_entries(anatomy: Anatomy, number: int) -> tuple[str, ...]:
    """The different places at which a prompt can enter a stack."""
    from peftnas.methods.prompt import Prompt, PromptPlacement

    found: list[str] = []
    for entry in ("word_embeddings", "hidden"):
        try:
            placements = list(Prompt(length=1, entry=entry).place(anatomy))
        except ValueError:  # this entry does not exist here
            continue
        found += [
            part.entry
            for part in placements
            if isinstance(part, PromptPlacement) and part.stack == number
        ]
    return tuple(dict.fromkeys(found))


def _likeness(anatomy: Anatomy, stack: StackSite, layer: int) -> tuple[object, ...]:
    """What equal layers have in common."""
    shape = anatomy.layers[layer]
    sizes = (shape.width, shape.ffn_width, shape.heads, shape.kv_heads, shape.head_width)
    return (*sizes, _prefixed(anatomy, layer), *_sites(anatomy, stack, layer))


def _group(anatomy: Anatomy, stack: StackSite, layers: Sequence[int]) -> LayerGroup:
    from peftnas.methods.anatomy import SUBLAYERS

    first, pattern = anatomy.layers[layers[0]], _Pattern(anatomy, stack)
    head = f"layers[{layers[0]}]."
    return LayerGroup(
        layers=tuple(layers),
        path=pattern.of(first.path, layers[0]),
        numbers=tuple(pattern.number(layer) for layer in layers),
        width=first.width,
        ffn_width=first.ffn_width,
        heads=first.heads,
        kv_heads=first.kv_heads,
        head_width=first.head_width,
        sublayers=tuple(name for name in SUBLAYERS if head + name in anatomy.sublayers),
        prefix=_prefixed(anatomy, layers[0]),
        sites=_sites(anatomy, stack, layers[0]),
    )


def _prefixed(anatomy: Anatomy, layer: int) -> tuple[str, ...]:
    head = f"layers[{layer}]."
    return tuple(
        address.removeprefix(head)
        for address, site in anatomy.sublayers.items()
        if address.startswith(head) and site.core is not None
    )


def _sites(anatomy: Anatomy, stack: StackSite, layer: int) -> tuple[Site, ...]:
    """Linears and norms of a layer, sublayer by sublayer; norms of no sublayer come last."""
    from peftnas.methods.anatomy import SUBLAYERS

    head, pattern = f"layers[{layer}].", _Pattern(anatomy, stack)
    found = [
        _linear(site, address.removeprefix(head), pattern.of(site.path, layer))
        for address, site in anatomy.linears.items()
        if address.startswith(head)
    ]
    found += [
        _norm(site, address.removeprefix(head), pattern.of(site.path, layer))
        for address, site in anatomy.norms.items()
        if address.startswith(head)
    ]
    order = (*SUBLAYERS, "")
    return tuple(sorted(found, key=lambda site: order.index(site.sublayer)))


def _outside(anatomy: Anatomy, number: int) -> Iterable[Site]:
    """Linears and norms of a stack that lie in no layer."""
    prefix = anatomy.stacks[number].prefix
    others = [stack.prefix for stack in anatomy.stacks if stack.prefix]
    for address, norm in anatomy.norms.items():
        if _is_outside(address, prefix, others):
            yield _norm(norm, address.removeprefix(prefix), norm.path)
    for address, linear in anatomy.linears.items():
        if _is_outside(address, prefix, others):
            yield _linear(linear, address.removeprefix(prefix), linear.path)


def _is_outside(address: str, prefix: str, others: Sequence[str]) -> bool:
    if address.startswith("layers["):
        return False
    return address.startswith(prefix) if prefix else not address.startswith(tuple(others))


def _linear(site: LinearSite, address: str, path: str) -> Site:
    sublayer, _, name = address.rpartition(".")
    part, parts = (site.rows.part + 1, site.rows.parts) if site.rows else (0, 1)
    name = f"cross_{name}" if sublayer == "cross_attention" else name
    return Site(
        sublayer, name, False, site.n_in, site.n_out, site.bias, part, parts, site.transposed, path
    )


def _norm(site: NormSite, address: str, path: str) -> Site:
    sublayer, _, name = address.rpartition(".")
    name = f"{sublayer}_{name}" if sublayer else name
    sublayer = "" if sublayer == "embeddings" else sublayer
    return Site(sublayer, name, True, site.width, site.width, site.bias, 0, 1, False, path)


class _Pattern:
    """Paths of a stack's layers with ``{i}`` where they differ."""

    def __init__(self, anatomy: Anatomy, stack: StackSite) -> None:
        self._paths = {layer: anatomy.layers[layer].path.split(".") for layer in stack.layers}
        columns = list(zip(*self._paths.values(), strict=True))
        differ = [i for i, column in enumerate(columns) if len(set(column)) > 1]
        self._where = differ or [i for i, column in enumerate(columns) if column[0].isdigit()][-1:]

    def number(self, layer: int) -> str:
        """What ``{i}`` is for a layer."""
        return ",".join(self._paths[layer][i] for i in self._where)

    def of(self, path: str, layer: int) -> str:
        """The path of a module in a layer, as it reads for all of them."""
        parts, own = path.split("."), self._paths[layer]
        if parts[: len(own)] != own:  # a module that all layers share
            return path
        for name, i in zip("ijk", self._where, strict=False):
            parts[i] = f"{{{name}}}"
        return ".".join(parts)
