"""Names of norms, and of what lies outside the layers, and the sites that they name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from peftnas.methods.anatomy import LEAVE_OUT, linear_address, outer_norm_address
from peftnas.methods.sites import LinearSite, NormSite

if TYPE_CHECKING:
    from peftnas.methods.anatomy import Anatomy

NORMS = ("attention_norm", "cross_attention_norm", "ffn_norm")
"""Norms of sublayers."""

INNER_NORMS = ("mixer_norm", "query_norm", "key_norm", "attention_post_norm", "ffn_post_norm")
"""Other norms of layers."""

OUTER_NORMS = ("embeddings_norm", "relative_norm", "final_norm")
"""Norms outside the layers."""

OUTER_LINEARS = ("embeddings_project", "pooler", "output_project")
"""Linears outside the layers."""


def places(anatomy: Anatomy, layers: Iterable[int], target: str) -> list[LinearSite | NormSite]:
    """Everything called ``target``, in some layers or outside of them."""
    found = anatomy.known(_called, target)
    if target in OUTER_NORMS or target in OUTER_LINEARS:
        return [site for site in found if site is not None]
    return [site for layer in layers if (site := found[layer]) is not None]


def _called(anatomy: Anatomy, target: str) -> list[LinearSite | NormSite | None]:
    """The place called ``target`` of each layer, or of each stack."""
    layers, norms = range(anatomy.n_layers), anatomy.norms
    if target in OUTER_NORMS or target in OUTER_LINEARS:
        return [
            norms.get(stack.prefix + outer_norm_address(target))
            or anatomy.linears.get(stack.prefix + target)
            for stack in anatomy.stacks
        ]
    if target in NORMS or target == "mixer_norm":
        name = target.removesuffix("_norm")
        return [norms.get(f"layers[{layer}].{name}.norm") for layer in layers]
    if target in INNER_NORMS:
        return [norms.get(f"layers[{layer}].{target}") for layer in layers]
    return [anatomy.linears.get(linear_address(layer, target)) for layer in layers]


def names_there(anatomy: Anatomy, names: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the names that a backbone has something called by."""
    every = range(anatomy.n_layers)
    return tuple(name for name in names if places(anatomy, every, name))


def places_there(
    anatomy: Anatomy, targets: Iterable[str], known: tuple[str, ...], method: str
) -> tuple[str, ...]:
    """Those of ``targets`` that a backbone has; all of them must be among what it has.

    Raises:
        ValueError: if the backbone has nothing called by one of the names.
    """
    there = anatomy.known(names_there, known)
    missing = [name for name in targets if name not in there]
    if missing:
        remedy = f"take some of {', '.join(there)}" if there else LEAVE_OUT
        raise ValueError(
            f"{method} targets {missing} do not exist in {anatomy.model_type} backbones; {remedy}"
        )
    return tuple(name for name in there if name in targets)
