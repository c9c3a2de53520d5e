"""Rules of equal training: two spellings of one network have one train key and one output."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from peftnas.methods import (
    IA3,
    OFT,
    SSF,
    VPT,
    AdaLoRA,
    AdaMix,
    Adapter,
    BitFit,
    CoDA,
    Compacter,
    DyLoRA,
    GatedLoRAPrefix,
    LinearAdapter,
    LlamaAdapter,
    LoRA,
    Method,
    Prefix,
    Prompt,
    ReFT,
    SparseAdapter,
    VeRA,
)
from peftnas.methods.anatomy import Anatomy
from peftnas.spaces.structure import ByLayer
from tests.methods.rules.pairs import Pair, Rule, copy_alike, ranks, some_targets

ALL = ("bert", "gpt2", "llama", "t5", "vit")

PRESENT = (
    LoRA(rank=2),
    Adapter(bottleneck=3),
    Prefix(length=2),
    IA3(targets=("value",)),
    LinearAdapter(bottleneck=2, targets=("up",)),
)
ABSENT = (
    LoRA(rank=0, alpha=3),
    LoRA(rank=0, gate="unipelt", gate_tokens="all"),
    LoRA(targets=()),
    LoRA(layers=()),
    LoRA(rank=ByLayer({0: 0, 1: 0}), rslora=True),
    Adapter(bottleneck=0, activation="tanh", scale="learned"),
    Adapter(bottleneck=0, gate="unipelt"),
    Prefix(length=0, mlp=5, gate="unipelt", gate_outputs=2),
    Prompt(length=0, entry="hidden"),
    VPT(length=0),
    VPT(layers=()),
    SparseAdapter(sparsity=1.0),
    SparseAdapter(bottleneck=0),
    IA3(targets=(), down_side="output"),
    SSF(targets=()),
    OFT(block=0),
    OFT(block=1),
    ReFT(rank=0, form="direft"),
    LlamaAdapter(length=0, gate_form="per_layer"),
    Compacter(bottleneck=0, parts=7),
    VeRA(rank=0, projection_seed=4),
    AdaLoRA(rank=0, warmup=0.5),
    DyLoRA(rank=0, frozen=False),
    AdaMix(bottleneck=0, experts=7),
    LinearAdapter(bottleneck=0, bias=True),
    GatedLoRAPrefix(rank=0, length=0, mlp=4),
    GatedLoRAPrefix(targets=(), length=0),
)


@st.composite
def absent(draw: st.DrawFn, anatomy: Anatomy) -> Pair:
    present = draw(st.sampled_from(PRESENT))
    gone = draw(st.lists(st.sampled_from(ABSENT), min_size=1, max_size=3))
    # all prompts of an architecture enter at one place, and VPT is the only one
    gone = [one for one in gone if not isinstance(one, VPT | Prompt)] or gone[:1]
    return Pair((*gone, present), (present,), copy_alike)


def without_effect(rank: int, length: int) -> list[tuple[Method, Method]]:
    """Rule 2, and 3 where the effective scale is the same: two spellings each, of three layers."""
    lora, prefix, adapter = LoRA(rank=rank), Prefix(length=length), Adapter(bottleneck=rank)
    gated, opened = lora.replace(gate="unipelt"), adapter.replace(gate="unipelt")
    part = AdaLoRA(rank=rank, target_rank=rank)
    return [
        (GatedLoRAPrefix(rank=rank, length=0), lora),
        (GatedLoRAPrefix(rank=0, length=length, mlp=3), prefix.replace(mlp=3)),
        (gated.replace(alpha=3, rslora=True), gated),
        (lora.replace(gate_tokens="all", alpha=rank), lora),
        (prefix.replace(gate_tokens="all", gate_outputs=2), prefix),
        (adapter.replace(gate_tokens="all", parallel_input="residual"), adapter),
        (opened.replace(parallel_input="residual"), opened),
        (adapter.replace(layers=(1,), drop_below=1), adapter.replace(layers=(1,))),
        (adapter.replace(bottleneck=(rank,), drop_below=9), adapter.replace(drop_below=2)),
        (LoRA(rank=4, alpha=8), LoRA(rank=4, alpha=4, rslora=True)),
        (DyLoRA(rank=rank, used=rank), DyLoRA(rank=rank)),
        (DyLoRA(rank=1, frozen=False, alpha=1), DyLoRA(rank=1)),
        (part.replace(warmup=0.0, cooldown=0.7, alpha=rank), part),
        (AdaMix(bottleneck=rank, experts=1, shared_up=False), AdaMix(bottleneck=rank, experts=1)),
        (
            SparseAdapter(bottleneck=rank, sparsity=0.0, score="magnitude"),
            SparseAdapter(bottleneck=rank, sparsity=0.0),
        ),
        (prefix.replace(tokens=(3, 4) * length), prefix.replace(tokens=(3, 4))),
        (
            Prompt(length=3, start="tokens", tokens=(5, 6, 5, 9)),
            Prompt(length=3, start="tokens", tokens=(5, 6)),
        ),
        (ReFT(rank=rank, last=0, tied=True), ReFT(rank=rank, last=0)),
        (IA3(targets=("value",), down_side="output"), IA3(targets=("value",))),
        (OFT(block=7), OFT(block=4)),
        (OFT(block=99), OFT(block=16)),
    ]


@st.composite
def fields(draw: st.DrawFn, anatomy: Anatomy) -> Pair:
    one, other = draw(st.sampled_from(without_effect(draw(ranks), draw(ranks))))
    return Pair((one,), (other,), copy_alike)


@st.composite
def all_tokens_kept(draw: st.DrawFn, anatomy: Anatomy) -> Pair:
    rank = draw(ranks)
    coda = CoDA(token_keep_ratio=1.0, bottleneck=rank)
    return Pair((coda,), (Adapter(insertion="parallel", bottleneck=rank),), copy_alike)


@st.composite
def order(draw: st.DrawFn, anatomy: Anatomy) -> Pair:
    every = [*PRESENT, OFT(block=4), OFT(block=2), SSF(targets=("query",)), Prompt(length=1)]
    methods = draw(st.lists(st.sampled_from(every), min_size=2, max_size=5, unique=True))
    return Pair(tuple(methods), tuple(draw(st.permutations(methods))), copy_alike)


@st.composite
def tables(draw: st.DrawFn, anatomy: Anatomy) -> Pair:
    """One value a layer, however it is written; a layer without is one that is left out."""
    sizes = draw(st.lists(st.integers(0, 2), min_size=anatomy.n_layers, max_size=anatomy.n_layers))
    targets = draw(some_targets(anatomy).filter(lambda some: "query" in some))
    active = [(layer, size) for layer, size in enumerate(sizes) if size]
    table = ByLayer(dict(enumerate(sizes)))
    if draw(st.booleans()):
        one: Method = LoRA(rank=table, targets=targets)
        other = [LoRA(rank=size, targets=targets[::-1], layers=(at,)) for at, size in active]
    else:
        one = Adapter(bottleneck=table, site="both")
        other = [
            Adapter(bottleneck=size, site=site, layers=(at,), placement="houlsby")
            for at, size in active[::-1]
            for site in ("ffn", "attention")
        ]
    return Pair((one,), tuple(other), copy_alike)


@st.composite
def dropped_layers(draw: st.DrawFn, anatomy: Anatomy) -> Pair:
    """AdapterDrop of n layers is a mask."""
    n, rank = draw(st.integers(1, anatomy.n_layers - 1)), draw(ranks)
    table = ByLayer({layer: 0 if layer < n else rank for layer in range(anatomy.n_layers)})
    kept = tuple(range(n, anatomy.n_layers))
    method = draw(st.sampled_from([Adapter(bottleneck=table), LoRA(rank=table)]))
    size = "bottleneck" if isinstance(method, Adapter) else "rank"
    return Pair((method,), (method.replace(layers=kept, **{size: rank}),), copy_alike)


@st.composite
def names_of_inputs(draw: st.DrawFn, anatomy: Anatomy) -> Pair:
    """After a norm both inputs of a parallel adapter are one; before it a serial one has one."""
    if anatomy.norm_order == "post":
        parallel = Adapter(insertion="parallel", bottleneck=draw(ranks))
        return Pair((parallel,), (parallel.replace(parallel_input="residual"),), copy_alike)
    serial = Adapter(placement="after_ln", bottleneck=draw(ranks))
    return Pair((serial,), (serial.replace(placement="pfeiffer"),), copy_alike)


@st.composite
def biases_of_keys(draw: st.DrawFn, anatomy: Anatomy) -> Pair:
    """A key bias is idle, but in layers with a prefix."""
    last = anatomy.n_layers - 1
    targets = draw(st.sampled_from([("query", "key"), ("key", "up", "value"), None]))
    kept = BitFit(targets=targets).named_targets(anatomy)
    kept = tuple(name for name in kept if name not in ("key", "cross_key"))
    beside: tuple[Any, ...] = draw(
        st.sampled_from([(), (LoRA(rank=1),), (LlamaAdapter(length=2),), (Prefix(length=1),)])
    )
    if isinstance(beside[:1] and beside[0], Prefix):
        beside = (Prefix(length=1, layers=(last,)),)
        one = BitFit(targets=targets, layers=tuple(range(last)))
        other = BitFit(targets=kept, layers=tuple(range(last)))
    else:
        one, other = BitFit(targets=targets), BitFit(targets=kept)
    return Pair((one, *beside), (other, *beside), copy_alike)


@st.composite
def shared_layers(draw: st.DrawFn, anatomy: Anatomy) -> Pair:
    """The one layer of albert, by its number or as all."""
    method = draw(st.sampled_from([*PRESENT, SSF(targets=("up",))]))
    return Pair((method.replace(layers=(0,)),), (method,), copy_alike)


RULES = {
    "1 size 0 is absence": Rule(absent, ALL),
    "2 and 3 fields without an effect": Rule(fields, ("bert", "gpt2", "llama")),
    "2 CoDA that keeps all": Rule(all_tokens_kept, ("bert", "albert", "vit")),
    "5 order": Rule(order, ("bert", "llama")),
    "6 layer by layer": Rule(tables, ALL),
    "6 AdapterDrop": Rule(dropped_layers, ALL),
    "7 names of inputs": Rule(names_of_inputs, ("bert", "albert", "gpt2", "llama")),
    "9 biases of keys": Rule(biases_of_keys, ("bert", "gpt2", "vit", "bart")),
    "10 shared layers": Rule(shared_layers, ("albert",)),
}
