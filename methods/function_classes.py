"""Which functions modules reach together: the rules that make two architectures one class.

Each module says by ``Placement.reaches`` what it is in plainer ones (rules 4, 7 and 13 of section
5 of the methods' reference), by ``joins_by`` what it is together with another of its kind (rule
5). Here are the rules that look across modules or at the backbone: 8, 9, and 13 where an adapter
folds into a linear. Equal classes have equal functions in their reach, up to values at the edge of
it (a scale of 0); weights of the backbone are taken to have full rank.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from peftnas.methods.adapter import AdapterPlacement
from peftnas.methods.base import Placement
from peftnas.methods.bitfit import BitFitPlacement
from peftnas.methods.bottleneck import widths_of
from peftnas.methods.ia3 import IA3Placement
from peftnas.methods.key_products import idle_keys, key_products, prefixed
from peftnas.methods.layers import layer_of
from peftnas.methods.linear_adapter import LinearAdapterPlacement
from peftnas.methods.llama_adapter import LlamaAdapterPlacement
from peftnas.methods.lora import LoRAPlacement

if TYPE_CHECKING:
    from peftnas.methods.anatomy import Anatomy


def functions(placements: Iterable[Placement], anatomy: Anatomy) -> list[dict[str, Any]]:
    """The class of functions that modules on one backbone reach together; JSON values.

    Args:
        placements: all modules of an architecture.
        anatomy: of the backbone.
    """
    parts = [plain for placement in placements for plain in _plain(placement, anatomy)]
    parts = [plain for part in _folded(parts, anatomy) for plain in _plain(part, anatomy)]
    parts = _without_idle_biases(parts, anatomy)
    return [part.function() for part in _joined(_one_scale_a_product(parts, anatomy))]


def _plain(placement: Placement, anatomy: Anatomy) -> Iterator[Placement]:
    """The plainest modules that reach the same."""
    for part in placement.reaches(anatomy):
        if part == placement:
            yield part
        else:
            yield from _plain(part, anatomy)


def _joined(placements: Iterable[Placement]) -> Iterator[Placement]:
    """Rule 5: modules that add up to one put together."""
    groups: dict[str, Placement] = {}
    for placement in placements:
        size = placement.joins_by()
        if size is None:
            yield placement
            continue
        rest = {name: value for name, value in placement.function().items() if name != size}
        key = json.dumps(rest, sort_keys=True)
        groups[key] = groups[key].joined(placement) if key in groups else placement
    yield from groups.values()


def _folded(parts: list[Placement], anatomy: Anatomy) -> Iterator[Placement]:
    """Rule 13: adapters without a nonlinearity in the linear that they are in series with."""
    at: dict[str, list[Placement]] = {}
    for part in parts:
        for address in _addresses(part):
            at.setdefault(address, []).append(part)
    for part in parts:
        if isinstance(part, LinearAdapterPlacement) and _folds_forward(part, at, anatomy):
            linear = anatomy.linears[part.site]
            yield LoRAPlacement(part.site, linear.n_in, linear.n_out, part.inner[0], 1.0, None)
            if part.bias:
                yield BitFitPlacement(part.site, linear.n_out)
        elif isinstance(part, AdapterPlacement) and (behind := _folds_back(part, at, anatomy)):
            d, inner = part.width, widths_of(part.bottleneck)
            yield LinearAdapterPlacement(behind, d, d, inner, "identity", "after", part.bias, 1.0)
        else:
            yield part


def _folds_forward(
    part: LinearAdapterPlacement, at: Mapping[str, list[Placement]], anatomy: Anatomy
) -> bool:
    """Of ``W (x + U D x)``: W U is every matrix of its shape if W has full row rank."""
    if part.insertion != "before" or not _is_linear(part):
        return False
    wide = anatomy.linears[part.site].n_out <= anatomy.linears[part.site].n_in
    return wide and all(_is_affine(other) or _is_linear(other) for other in at[part.site])


def _folds_back(
    part: AdapterPlacement, at: Mapping[str, list[Placement]], anatomy: Anatomy
) -> str | None:
    """Of ``h + U D h``: the linear that gives h, if nothing else that is not affine sees it."""
    sublayer = part.site.rpartition(".")[2]
    linear = f"{part.site}.{'down' if sublayer == 'ffn' else 'output'}"
    normed = f"layers[{layer_of(part.site)}].{sublayer}_post_norm" in anatomy.norms
    if normed or linear not in anatomy.linears or not _is_linear(part):
        return None
    beside = [other for other in at[part.site] if not _reads_input(other)]
    alone = all(_is_linear(other) and other.site == part.site for other in beside)
    return linear if alone and all(map(_is_affine, at.get(linear, ()))) else None


def _addresses(part: Placement) -> set[str]:
    """Where it acts: its site, those that it names, and those of placements inside it."""
    found = {part.site}
    for value in vars(part).values():
        for inner in value if isinstance(value, tuple) else (value,):
            if isinstance(inner, Placement):
                found |= _addresses(inner)
            elif isinstance(inner, str):
                found.add(inner)
    return found


def _is_linear(part: Placement) -> bool:
    """An adapter without a nonlinearity that reads what it is behind or in front of."""
    if isinstance(part, LinearAdapterPlacement):
        return part.activation == "identity"
    if not isinstance(part, AdapterPlacement) or part.activation != "identity":
        return False
    return part.reads == "output" and part.gate is None and part.norm is None


def _is_affine(part: Placement) -> bool:
    """What changes weight and bias of a linear, and nothing else."""
    if isinstance(part, LoRAPlacement):
        return part.gate is None
    return isinstance(part, BitFitPlacement) or _is_output_scale(part)


def _is_output_scale(part: Placement) -> bool:
    return isinstance(part, IA3Placement) and part.side == "output"


def _reads_input(part: Placement) -> bool:
    """An adapter that reads what goes into its sublayer."""
    reads = ("residual", "normed_input")
    return isinstance(part, AdapterPlacement) and part.reads in reads


def _without_idle_biases(parts: list[Placement], anatomy: Anatomy) -> list[Placement]:
    """Rule 9, of whatever method the bias is."""
    idle = idle_keys(anatomy, prefixed(parts))
    return [p for p in parts if not (isinstance(p, BitFitPlacement) and p.site in idle)]


def _one_scale_a_product(parts: list[Placement], anatomy: Anatomy) -> Iterator[Placement]:
    """Rule 8: logits are products of queries and keys, so only the product of scales matters.

    Not where these queries meet other keys too. Where there are more heads of queries than of
    keys, a scale of the queries does all that one of the keys does, but not the other way round.
    """
    scaled = {part.site for part in parts if _is_output_scale(part)}
    others = prefixed(parts) | {
        (layer, part.sublayer)
        for part in parts
        if isinstance(part, LlamaAdapterPlacement)
        for layer in part.layers
    }
    products = anatomy.known(key_products).items()
    query_of = {key: query for place, (query, key) in products if place not in others}
    for part in parts:
        query = query_of.get(part.site) if _is_output_scale(part) else None
        if query is None:
            yield part
        elif anatomy.linears[query].n_out == anatomy.linears[part.site].n_out:
            yield replace(part, site=query)
        elif query not in scaled:
            yield part
