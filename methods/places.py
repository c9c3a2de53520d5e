"""Names of norms, and of what lies outside the layers, and the sites that they name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from peftnas.methods.anatomy import LinearSite, NormSite, linear_address, outer_norm_address

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


def places(
    anatomy: Anatomy, layers: Iterable[int], target: str
) -> Iterator[LinearSite | NormSite]:
    """Everything called ``target``, in some layers or outside of them."""
    found: list[LinearSite | NormSite | None]
    if target in OUTER_NORMS or target in OUTER_LINEARS:
        found = [
            anatomy.norms.get(stack.prefix + outer_norm_address(target))
            or anatomy.linears.get(stack.prefix + target)
            for stack in anatomy.stacks
        ]
    elif target in NORMS or target == "mixer_norm":
        name = target.removesuffix("_norm")
        found = [anatomy.norms.get(f"layers[{layer}].{name}.norm") for layer in layers]
    elif target in INNER_NORMS:
        found = [anatomy.norms.get(f"layers[{layer}].{target}") for layer in layers]
    else:
        found = [anatomy.linears.get(linear_address(layer, target)) for layer in layers]
    yield from (site for site in found if site is not None)


def places_there(
    anatomy: Anatomy, targets: Iterable[str], known: Iterable[str], method: str
) -> tuple[str, ...]:
    """Those of ``targets`` that a backbone has; all of them must be among what it has.

    Raises:
        ValueError: if the backbone has nothing called by one of the names.
    """
    every = range(anatomy.n_layers)
    there = [name for name in known if any(True for _ in places(anatomy, every, name))]
    missing = [name for name in targets if name not in there]
    if missing:
        raise ValueError(
            f"{method} targets {missing} do not exist in {anatomy.model_type} backbones; "
            f"take some of {', '.join(there)}"
        )
    return tuple(name for name in there if name in targets)
