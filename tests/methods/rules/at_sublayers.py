"""Rules of equal functions of adapters, prefixes, prompts and edits."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor, nn

from peftnas.methods import (
    VPT,
    AdaMix,
    Adapter,
    GatedLoRAPrefix,
    LinearAdapter,
    Prefix,
    Prompt,
    PTuning,
    ReFT,
    SparseAdapter,
)
from peftnas.methods.adamix import AdaMixDelta
from peftnas.methods.anatomy import Anatomy
from peftnas.methods.base import (
    BlockDelta,
    PromptVectors,
    SublayerDelta,
)
from peftnas.methods.prefix_modules import FlatPrefix, MlpPrefix
from peftnas.methods.sparse_adapter import SparseAdapterDelta
from tests.methods.rules.pairs import (
    COMPANY,
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
)

Units = tuple[Tensor, Tensor, Tensor, Tensor]

SUBLAYERS = ("bert", "gpt2", "llama", "albert", "vit")
WORDS = ("bert", "gpt2", "llama", "t5")


def units(module: Any) -> Units:
    """D, b_D, U and b_U of an adapter, its scale in the latter two."""
    if isinstance(module, AdaMixDelta):
        parts = [
            torch.stack([getattr(expert, name) for expert in experts]).mean(0)
            for experts in (module.down, module.up)
            for name in ("weight", "bias")
        ]
        return tuple(parts)  # type: ignore[return-value]
    if isinstance(module, SparseAdapterDelta):
        return module.down.weight(), module.down_bias, module.up.weight(), module.up_bias
    down, up, scale = module.down, module.up, module.scale
    return down.weight, down.bias, scale * up.weight, scale * up.bias


def carry_units(one: Side, other: Side) -> None:
    """The hidden units of all adapters of a sublayer, side by side."""
    left = modules(one, SublayerDelta)
    for site, adapter in only(other, SublayerDelta).items():
        downs, down_biases, ups, up_biases = zip(*map(units, left[site]), strict=True)
        adapter.down.weight.copy_(torch.cat(downs))
        adapter.down.bias.copy_(torch.cat(down_biases))
        adapter.up.weight.copy_(torch.cat(ups, dim=1) / adapter.scale)
        adapter.up.bias.copy_(sum(up_biases) / adapter.scale)


activations = st.sampled_from(["relu", "gelu", "tanh"])
insertions = st.sampled_from(
    [
        {"placement": "houlsby"},
        {"placement": "pfeiffer"},
        {"placement": "after_ln"},
        {"insertion": "parallel"},
        {"insertion": "parallel", "parallel_input": "residual"},
    ]
)


@st.composite
def plain_adapters(draw: st.DrawFn, anatomy: Anatomy) -> Pair:
    """AdaMix averaged, a sparse adapter that keeps all, a scale folded in: a plain adapter."""
    fields = {
        "site": draw(st.sampled_from(["attention", "ffn", "both"])),
        "bottleneck": draw(ranks),
        "activation": draw(activations),
        "layers": draw(some_layers(anatomy)),
    }
    other = Adapter(placement="houlsby", **fields)
    one = draw(
        st.sampled_from(
            [
                AdaMix(experts=3, **fields),
                AdaMix(experts=2, shared_up=False, **fields),
                SparseAdapter(sparsity=0.0, **fields),
                other.replace(scale=draw(scales)),
                other.replace(scale="learned"),
            ]
        )
    )
    return Pair((one,), (other,), carry_units)


@st.composite
def sums_of_adapters(draw: st.DrawFn, anatomy: Anatomy) -> Pair:
    fields = {"activation": draw(activations), "layers": draw(some_layers(anatomy))}
    fields |= draw(insertions)
    first, second, scale = draw(ranks), draw(ranks), draw(scales)
    one = (Adapter(bottleneck=first, scale=scale, **fields), Adapter(bottleneck=second, **fields))
    other = Adapter(bottleneck=first + second, scale=draw(scales), **fields)
    return Pair(one, (other,), carry_units)


@st.composite
def sums_of_linear_adapters(draw: st.DrawFn, anatomy: Anatomy) -> Pair:
    fields = {
        "insertion": draw(st.sampled_from(["parallel", "after", "before"])),
        "activation": draw(activations),
        "targets": draw(st.sampled_from([("query",), ("output", "down")])),
        "bias": True,
    }
    first, second = draw(ranks), draw(ranks)
    one = tuple(LinearAdapter(bottleneck=rank, scale=2.0, **fields) for rank in (first, second))
    other = LinearAdapter(bottleneck=first + second, **fields)

    def carry(one: Side, other: Side) -> None:
        left = modules(one, nn.Module)
        for site, found in modules(other, nn.Module).items():
            inside = [module.inside for module in left[site] if hasattr(module, "inside")]
            [joined] = [module.inside for module in found if hasattr(module, "inside")]
            down, up = joined.down[0], joined.up
            down.weight.copy_(torch.cat([part.down[0].weight for part in inside]))
            down.bias.copy_(torch.cat([part.down[0].bias for part in inside]))
            up.weight.copy_(2 * torch.cat([part.up.weight for part in inside], dim=1))
            up.bias.copy_(2 * sum(part.up.bias for part in inside))

    return Pair(one, (other,), carry)


@st.composite
def smallest_width(draw: st.DrawFn, anatomy: Anatomy) -> Pair:
    """Without a nonlinearity only the smallest width of an adapter matters."""
    fields = {"activation": "identity"} | draw(insertions)
    widths, smallest = draw(st.sampled_from([((3, 2), 2), ((2, 5, 4), 2), (20, 16)]))
    one, other = Adapter(bottleneck=widths, **fields), Adapter(bottleneck=smallest, **fields)

    def carry(one: Side, other: Side) -> None:
        left = only(one, SublayerDelta)
        for site, adapter in only(other, SublayerDelta).items():
            m, c = affine_map(lambda z, site=site: left[site](z, None), 16)
            factor(m, adapter.down.weight, adapter.up.weight)
            adapter.down.bias.zero_()
            adapter.up.bias.copy_(c)

    return Pair((one,), (other,), carry)


@st.composite
def prefixes(draw: st.DrawFn, anatomy: Anatomy) -> Pair:
    """A prefix with an MLP is a flat one; two are one that is longer."""
    layers, length, gate = draw(some_layers(anatomy)), draw(ranks), None
    mlp = Prefix(length=length, mlp=3, layers=layers)
    if draw(st.booleans()):
        gate, outputs = "unipelt", draw(st.sampled_from([1, 2]))
        fields: dict[str, Any] = {"gate": gate, "gate_outputs": outputs}
        one: tuple[Prefix, ...] = (mlp.replace(**fields),)
        other = Prefix(length=length, layers=layers, **fields)
    else:
        more = draw(ranks)
        one = (mlp, Prefix(length=more, layers=layers))
        other = Prefix(length=length + more, layers=layers, tokens=draw(starts(anatomy)))

    def carry(one: Side, other: Side) -> None:
        left = _flat_prefixes(one)
        for flat in (module for _, module in other.placed if isinstance(module, FlatPrefix)):
            here = left[flat.placement.layers[0]]
            flat.keys.copy_(torch.cat([keys for keys, _, _ in here]))
            flat.values.copy_(torch.cat([values for _, values, _ in here]))
            if flat.gate is not None:
                flat.gate.load_state_dict(here[0][2].state_dict())

    return Pair(one, (other,), carry)


def starts(anatomy: Anatomy) -> st.SearchStrategy[Any]:
    words = all(stack.tokens for stack in anatomy.stacks)
    return st.sampled_from([None, (3, 4)]) if words else st.none()


def _flat_prefixes(attached: Side) -> dict[int, list[tuple[Tensor, Tensor, Any]]]:
    """Keys, values and gate of every prefix of each layer."""
    found: dict[int, list[tuple[Tensor, Tensor, Any]]] = {}
    for _, module in attached.placed:
        if isinstance(module, FlatPrefix):
            layer = module.placement.layers[0]
            found.setdefault(layer, []).append((module.keys, module.values, module.gate))
        elif isinstance(module, MlpPrefix):
            for layer in module.placement.layers:
                gate = module.gates[str(layer)] if module.gates else None
                found.setdefault(layer, []).append((*module.folded(layer), gate))
    return found


@st.composite
def central_gates(draw: st.DrawFn, anatomy: Anatomy) -> Pair:
    """The prefix behind a central gate with and without its MLP."""
    one = GatedLoRAPrefix(rank=draw(ranks), length=draw(ranks), mlp=3)

    def carry(one: Side, other: Side) -> None:
        [(_, bundle)] = [pair for pair in one.placed if isinstance(pair[1].parts[0], MlpPrefix)]
        mlp, loras = bundle.parts[0], dict(zip(bundle.sites[1:], bundle.parts[1:], strict=True))
        for _, flat in other.placed:
            layer = flat.placement.layers[0]
            keys, values = mlp.folded(layer)
            flat.parts[0].keys.copy_(keys)
            flat.parts[0].values.copy_(values)
            flat.parts[0].gate.load_state_dict(mlp.gates[str(layer)].state_dict())
            for site, lora in zip(flat.sites[1:], flat.parts[1:], strict=True):
                lora.load_state_dict(loras[site].state_dict())

    return Pair((one,), (one.replace(mlp=None),), carry)


@st.composite
def prompts(draw: st.DrawFn, anatomy: Anatomy) -> Pair:
    """P-tuning folds into a prompt; two prompts are one that is longer."""
    first, second = draw(ranks), draw(ranks)
    place = draw(st.sampled_from([{}, {"position": "after_first"}]))
    encoder = draw(st.sampled_from([{"hidden": 3}, {"encoder": "lstm", "hidden": 2}]))
    one = (PTuning(length=first, **encoder, **place), Prompt(length=second, **place))
    start = draw(st.sampled_from(["random", "vocabulary"]))
    other = Prompt(length=first + second, start=start, **place)

    def carry(one: Side, other: Side) -> None:
        [left] = modules(one, PromptVectors).values()
        [[right]] = modules(other, PromptVectors).values()
        right.embedding.copy_(torch.cat([prompt() for prompt in left]))

    return Pair(one, (other,), carry)


@st.composite
def shallow(draw: st.DrawFn, anatomy: Anatomy) -> Pair:
    """VPT in the first layer alone is a prompt after the first token."""
    length = draw(ranks)
    one = draw(st.sampled_from([VPT(length=length, deep=False), VPT(length=length, layers=(0,))]))
    other = Prompt(length=length, entry="hidden", position="after_first")

    def carry(one: Side, other: Side) -> None:
        [left], [right] = (only(side, PromptVectors).values() for side in (one, other))
        right.embedding.copy_(left())

    return Pair((one,), (other,), carry)


@st.composite
def edits(draw: st.DrawFn, anatomy: Anatomy) -> Pair:
    """The forms of ReFT reach the same edits, M h + c of rank r."""
    forms = draw(st.permutations(["loreft", "noreft", "direft"]))
    fields = {"rank": draw(ranks), "tied": draw(st.booleans()), "last": draw(st.integers(0, 2))}
    one, other = (ReFT(form=form, **fields) for form in forms[:2])

    def carry(one: Side, other: Side) -> None:
        left = only(one, BlockDelta)
        for site, delta in only(other, BlockDelta).items():
            for name, unit in delta.units.items():
                before = left[site].units[name]
                m, c = affine_map(before, 16)
                u, _, _ = torch.linalg.svd(torch.cat([m, c[:, None]], dim=1))
                turn = u[:, : len(unit.R)].T  # orthonormal rows, which is right for all forms
                unit.R.copy_(turn)
                unit.W.copy_(turn @ m + (turn if unit.subtracts else 0))
                unit.b.copy_(turn @ c)

    return Pair((one,), (other,), carry)


RULES = {
    "4 one adapter is left": Rule(plain_adapters, SUBLAYERS),
    "4 and 5 prefixes": Rule(prefixes, (*WORDS, "albert", "qwen3", "vit")),
    "4 a prefix behind a central gate": Rule(central_gates, ("bert", "llama")),
    "4 and 5 prompts": Rule(prompts, WORDS),
    "4 VPT in one layer is a prompt": Rule(shallow, ("bert", "llama", "vit")),
    "4 forms of ReFT": Rule(edits, ("bert", "llama", "vit"), COMPANY[:2], exact=False),
    "5 hidden units add up": Rule(sums_of_adapters, SUBLAYERS),
    "5 hidden units at linears add up": Rule(
        sums_of_linear_adapters, ("bert", "gpt2", "llama"), COMPANY[::2]
    ),
    "13 the smallest width": Rule(smallest_width, SUBLAYERS),
}
