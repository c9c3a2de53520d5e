"""Rules of equal functions at linears and norms."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import strategies as st

from peftnas.methods import (
    IA3,
    OFT,
    SSF,
    AdaLoRA,
    Adapter,
    BitFit,
    CrossAttentionTuning,
    DyLoRA,
    LinearAdapter,
    LNTuning,
    LoKr,
    LoRA,
    SoRA,
)
from peftnas.methods.anatomy import Anatomy
from peftnas.methods.base import (
    Affine,
    BiasDelta,
    InputDelta,
    LinearDelta,
    NormDelta,
    Rescale,
    Rotation,
    SublayerDelta,
)
from peftnas.methods.linear_port import own_part
from peftnas.methods.lora import LoRADelta
from tests.methods.rules.pairs import (
    Pair,
    Rule,
    Side,
    affine_map,
    factor,
    modules,
    only,
    ranks,
    scales,
    some_layers,
    some_targets,
)

LINEARS = ("bert", "gpt2", "llama", "t5", "vit")


def carry_low_rank(one: Side, other: Side) -> None:
    """The sum of all deltas of a weight, as one product B A."""
    left = modules(one, LinearDelta)
    for site, [lora] in modules(other, LoRADelta).items():
        if lora.gate is None:
            delta = sum(module.weight_delta() for module in left[site])
            factor(delta, lora.A, lora.B, lora.placement.scale)


@st.composite
def scale_folds(draw: st.DrawFn, anatomy: Anatomy) -> Pair:
    where = {"targets": draw(some_targets(anatomy)), "layers": draw(some_layers(anatomy))}
    rank, alpha = draw(ranks), draw(scales)
    other = LoRA(rank=rank, alpha=5, rslora=draw(st.booleans()), b_rate=2, **where)
    return Pair((LoRA(rank=rank, alpha=alpha, **where),), (other,), carry_low_rank)


@st.composite
def same_rank(draw: st.DrawFn, anatomy: Anatomy) -> Pair:
    """SoRA, DyLoRA and AdaLoRA at the rank that they end with."""
    where = {"targets": draw(some_targets(anatomy)), "layers": draw(some_layers(anatomy))}
    rank, alpha = draw(ranks), draw(scales)
    one = draw(
        st.sampled_from(
            [
                SoRA(rank=rank, alpha=alpha, **where),
                DyLoRA(rank=rank + 2, used=rank, alpha=alpha, **where),
                DyLoRA(rank=rank, frozen=False, **where),
                AdaLoRA(rank=rank, target_rank=rank, alpha=alpha, **where),
                AdaLoRA(rank=rank + 2, target_rank=rank, targets=("query",), layers=(0,)),
            ]
        )
    )
    other = LoRA(rank=rank, targets=one.targets, layers=one.layers)
    return Pair((one,), (other,), carry_low_rank)


@st.composite
def sums_of_low_rank(draw: st.DrawFn, anatomy: Anatomy) -> Pair:
    where = {"targets": draw(some_targets(anatomy)), "layers": draw(some_layers(anatomy))}
    first, second = draw(ranks), draw(ranks)
    more = draw(st.sampled_from([LoRA(rank=second, alpha=3, **where), SoRA(rank=second, **where)]))
    one = (LoRA(rank=first, **where), more)
    return Pair(one, (LoRA(rank=first + second, **where),), carry_low_rank)


@st.composite
def rank_beyond(draw: st.DrawFn, anatomy: Anatomy) -> Pair:
    where = {"targets": draw(some_targets(anatomy)), "layers": draw(some_layers(anatomy))}
    one = (LoRA(rank=draw(st.integers(17, 20)), **where),)
    return Pair(one, (LoRA(rank=16, **where),), carry_low_rank)


@st.composite
def kronecker_of_one(draw: st.DrawFn, anatomy: Anatomy) -> Pair:
    where = {"targets": draw(some_targets(anatomy)), "layers": draw(some_layers(anatomy))}
    rank = draw(ranks)
    one = LoKr(rank=rank, factor=1, alpha=draw(scales), **where)
    return Pair((one,), (LoRA(rank=rank, **where),), carry_low_rank)


@st.composite
def dense(draw: st.DrawFn, anatomy: Anatomy) -> Pair:
    """The weights and biases of cross-attention, as LoRA of full rank and BitFit."""
    linears = ("cross_query", "cross_value", "cross_output")
    targets = draw(st.lists(st.sampled_from(linears), min_size=1, unique=True).map(tuple))
    one = CrossAttentionTuning(targets=targets, norm=False)
    biased = anatomy.linear(anatomy.n_layers - 1, targets[0]).bias
    other = [LoRA(rank=16, targets=targets)] + ([BitFit(targets=targets)] if biased else [])

    def carry(one: Side, other: Side) -> None:
        carry_low_rank(one, other)
        left = only(one, BiasDelta)
        for site, bias in only(other, BiasDelta).items():
            bias.value.copy_(left[site].value)

    return Pair((one,), tuple(other), carry)


@st.composite
def linear_adapters(draw: st.DrawFn, anatomy: Anatomy) -> Pair:
    """Without a nonlinearity: beside, behind or in front of a linear, a low-rank delta of it."""
    insertion = draw(st.sampled_from(["parallel", "after", "before"]))
    # behind it: no more inputs than outputs; in front of it the other way round
    fitting = [
        name
        for name in ("query", "output", "up", "down", "value")
        if (site := anatomy.linear(0, name))
        and (insertion != "after" or site.n_in <= site.n_out)
        and (insertion != "before" or site.n_in >= site.n_out)
    ]
    target = draw(st.sampled_from(fitting))
    biased = anatomy.linear(0, target).bias
    bias = draw(st.booleans()) or (insertion == "after" and biased)
    inner, rank = draw(st.sampled_from([(2, 2), ((3, 2), 2), (4, 4), (30, 16)]))
    site = anatomy.linear(0, target)
    one = LinearAdapter(
        insertion=insertion,
        bottleneck=inner,
        activation="identity",
        bias=bias,
        targets=(target,),
        scale=draw(scales),
    )
    other = [LoRA(rank=min(rank, site.n_in, site.n_out), targets=(target,))]
    other += [BitFit(targets=(target,), add=True)] if bias else []

    def carry(one: Side, other: Side) -> None:
        left = only(one, LinearDelta, InputDelta)
        biases = only(other, BiasDelta)
        for site, lora in only(other, LoRADelta).items():
            inside = left[site].inside
            m, c = affine_map(inside, inside.placement.n_in)
            linear = one.anatomy.linears[site]
            w, b = own_part(linear, one.base.get_submodule(linear.path))
            if insertion == "after":
                m, c = m @ w, c + (0 if b is None else m @ b)
            elif insertion == "before":
                m, c = w @ m, w @ c
            factor(m, lora.A, lora.B)
            if bias:
                biases[site].value.copy_(c)

    return Pair((one,), tuple(other), carry)


@st.composite
def houlsby_without_nonlinearity(draw: st.DrawFn, anatomy: Anatomy) -> Pair:
    """Behind a sublayer is behind the linear that ends it."""
    sublayer, target = draw(st.sampled_from([("attention", "output"), ("ffn", "down")]))
    fields: dict[str, Any] = {"bottleneck": draw(ranks), "activation": "identity"}
    bias, scale = draw(st.booleans()), draw(scales)
    one = Adapter(site=sublayer, placement="houlsby", bias=bias, scale=scale, **fields)
    other = LinearAdapter(insertion="after", targets=(target,), bias=bias, **fields)

    def carry(one: Side, other: Side) -> None:
        left = only(one, SublayerDelta)
        for site, module in only(other, LinearDelta).items():
            adapter, inside = left[site.rpartition(".")[0]], module.inside
            inside.down[0].load_state_dict(adapter.down.state_dict())
            for name, value in adapter.up.named_parameters():
                inside.up.get_parameter(name).copy_(scale * value)

    return Pair((one,), (other,), carry)


@st.composite
def scale_and_shift(draw: st.DrawFn, anatomy: Anatomy) -> Pair:
    """SSF at a linear is (IA)3 of its output and a bias."""
    targets = draw(some_targets(anatomy))
    start = draw(st.sampled_from(["random", "identity"]))
    one = SSF(targets=targets, start=start)
    side = {"down_side": "output"} if "down" in targets else {}
    other = (IA3(targets=targets, **side), BitFit(targets=targets, add=True))

    def carry(one: Side, other: Side) -> None:
        scales, biases = only(other, Rescale), only(other, BiasDelta)
        for site, affine in only(one, Affine).items():
            scales[site].value.copy_(affine.scale)
            if site in biases:
                biases[site].value.copy_(affine.shift / affine.scale)

    return Pair((one,), other, carry)


@st.composite
def norms(draw: st.DrawFn, anatomy: Anatomy) -> Pair:
    """SSF at a norm is its weight and bias, by whatever method the bias is trained."""
    targets = draw(st.sampled_from([("ffn_norm",), ("attention_norm", "ffn_norm")]))
    tuned = draw(
        st.sampled_from(
            [
                (LNTuning(targets=targets),),
                (LNTuning(targets=targets, parts=("weight",)), BitFit(targets=targets)),
            ]
        )
    )

    def carry(one: Side, other: Side) -> None:
        deltas, biases = only(other, NormDelta), only(other, BiasDelta)
        for site, affine in only(one, Affine).items():
            norm = one.base.get_submodule(one.anatomy.norms[site].path)
            deltas[site].weight.copy_((affine.scale - 1) * norm.weight)
            bias = (affine.scale - 1) * norm.bias + affine.shift
            (biases[site].value if biases else deltas[site].bias).copy_(bias)

    return Pair((SSF(targets=targets),), tuned, carry)


@st.composite
def bias_of_a_norm(draw: st.DrawFn, anatomy: Anatomy) -> Pair:
    targets = draw(st.sampled_from([("ffn_norm",), ("attention_norm", "ffn_norm")]))
    one, other = BitFit(targets=targets), LNTuning(targets=targets, parts=("bias",))

    def carry(one: Side, other: Side) -> None:
        left = only(one, BiasDelta)
        for site, delta in only(other, NormDelta).items():
            delta.bias.copy_(left[site].value)

    return Pair((one,), (other,), carry)


@st.composite
def twice(draw: st.DrawFn, anatomy: Anatomy) -> Pair:
    """Two scales multiply, two biases add."""
    targets = draw(some_targets(anatomy))
    scale, bias = IA3(targets=targets), BitFit(targets=targets, add=True)

    def carry(one: Side, other: Side) -> None:
        scales, biases = modules(one, Rescale), modules(one, BiasDelta)
        for site, [module] in modules(other, Rescale).items():
            module.value.copy_(scales[site][0].value * scales[site][1].value)
        for site, [module] in modules(other, BiasDelta).items():
            module.value.copy_(biases[site][0].value + biases[site][1].value)

    return Pair((scale, scale, bias, bias), (scale, bias), carry)


@st.composite
def products_of_scales(draw: st.DrawFn, anatomy: Anatomy) -> Pair:
    """Of scales of queries and keys only the product matters; a shift of keys not at all."""
    cross = "cross_" if "cross_key" in anatomy.targets and draw(st.booleans()) else ""
    q, k = (IA3(targets=(f"{cross}{name}",)) for name in ("query", "key"))
    ssf = SSF(targets=(f"{cross}key",))
    one, other = draw(
        st.sampled_from([((q, k), (q,)), ((q, k), (k,)), ((k,), (q,)), ((ssf,), (q,))])
    )

    def carry(one: Side, other: Side) -> None:
        left = modules(one, Rescale, Affine)
        for site, module in only(other, Rescale).items():
            here = site.rpartition(".")[0]
            for name in ("query", "key"):
                for scale in left[f"{here}.{name}"]:
                    module.value.mul_(scale.value if isinstance(scale, Rescale) else scale.scale)

    return Pair(one, other, carry)


@st.composite
def rotations(draw: st.DrawFn, anatomy: Anatomy) -> Pair:
    """Two rotations with the same blocks are one."""
    oft = OFT(block=draw(st.sampled_from([2, 4, 8])), targets=("query", "down"))

    def carry(one: Side, other: Side) -> None:
        left = modules(one, Rotation)
        for site, [rotation] in modules(other, Rotation).items():
            first, second = (module.blocks().double() for module in left[site])
            turn = first @ second
            eye = torch.eye(turn.shape[-1], dtype=turn.dtype)
            skew = torch.linalg.solve(eye + turn, eye - turn)  # back from Cayley's transform
            rows, columns = rotation.rows, rotation.columns
            rotation.upper.copy_(skew[:, rows, columns])

    return Pair((oft, oft), (oft,), carry)


RULES = {
    "3 a scale folds into B": Rule(scale_folds, LINEARS),
    "4 LoRA of the rank that is left": Rule(same_rank, LINEARS),
    "4 SSF is (IA)3 and a bias": Rule(scale_and_shift, ("bert", "gpt2", "llama", "vit")),
    "5 deltas of low rank add up": Rule(sums_of_low_rank, LINEARS),
    "5 scales multiply, biases add": Rule(twice, LINEARS),
    "5 rotations multiply": Rule(rotations, ("bert", "llama"), exact=False),
    "7 SSF at a norm is LN-tuning": Rule(norms, ("bert", "gpt2", "vit")),
    "7 a bias of a norm": Rule(bias_of_a_norm, ("bert", "gpt2", "vit")),
    "8 products of scales": Rule(products_of_scales, ("bert", "gpt2", "albert", "vit", "bart")),
    "11 no rank beyond that of the matrix": Rule(rank_beyond, LINEARS),
    "11 a Kronecker product of one number": Rule(kronecker_of_one, LINEARS),
    "11 a dense delta has full rank": Rule(dense, ("bart", "t5")),
    "13 adapters at linears": Rule(linear_adapters, ("bert", "gpt2", "llama", "vit"), ()),
    "13 adapters behind sublayers": Rule(
        houlsby_without_nonlinearity, ("bert", "gpt2", "llama", "albert")
    ),
}
