"""Names of norms, and of what lies outside the layers, and the sites that they name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from peftnas.methods.anatomy import linear_address, no_such_targets, outer_norm_address
from peftnas.methods.sites import LinearSite, NormSite
from peftnas.spaces.fields import OneOf, setting

if TYPE_CHECKING:
    from peftnas.methods.anatomy import Anatomy
    from peftnas.methods.base import Method

M = TypeVar("M", bound="Method")

NORMS = ("attention_norm", "cross_attention_norm", "ffn_norm")
"""Norms of sublayers."""

INNER_NORMS = ("mixer_norm", "query_norm", "key_norm", "attention_post_norm", "ffn_post_norm")
"""Other norms of layers."""

OUTER_NORMS = ("embeddings_norm", "relative_norm", "final_norm")
"""Norms outside the layers."""

OUTER_LINEARS = ("embeddings_project", "pooler", "output_project")
"""Linears outside the layers."""


def places(
    anatomy: Anatomy, layers: Iterable[int], target: str, stack: str | None = None
) -> list[LinearSite | NormSite]:
    """Everything called ``target``, in some layers, or outside of them in one stack or in all."""
    found = anatomy.known(_called, target)
    if target in OUTER_NORMS or target in OUTER_LINEARS:
        of_stack = zip(found, anatomy.stacks, strict=True)
        return [s for s, one in of_stack if s is not None and stack in (None, one.name)]
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
    named = tuple(targets)
    if not set(named) <= set(there):
        raise ValueError(no_such_targets(f"{method} targets", named, there, anatomy.model_type))
    return tuple(name for name in there if name in named)


def stack_setting() -> Any:
    """The field ``stack`` of methods that act outside the layers too."""
    return setting(
        OneOf(None, "encoder", "decoder", "text", "vision"),
        default=None,
        help="the stack of what lies outside the layers; None: all stacks",
    )


def check_stack(method: Method, anatomy: Anatomy) -> None:
    """Raise ValueError if a method names a stack that the backbone does not have."""
    named, known = getattr(method, "stack", None), [stack.name for stack in anatomy.stacks]
    if named is not None and named not in known:
        what = f"has the stacks {', '.join(known)}" if len(known) > 1 else "has but one stack"
        raise ValueError(
            f"{type(method).__name__} needs a stack of the backbone, got stack={named!r}, and "
            f"this {anatomy.model_type} backbone {what}; leave stack out"
        )


def normal_stack(method: M, targets: Iterable[str], anatomy: Anatomy) -> M:
    """The method without a ``stack`` that leaves nothing out."""
    every = [site for target in targets for site in places(anatomy, (), target)]
    named = getattr(method, "stack", None)
    kept = [site for target in targets for site in places(anatomy, (), target, named)]
    return method if kept != every else method.replace(stack=None)
