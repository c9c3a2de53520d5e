"""A rule about equal architectures as its tests see it: pairs, and how values are carried over."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor, nn
from transformers import PreTrainedModel

from peftnas.methods import LoRA, Method, ReFT, describe
from peftnas.methods.adalora import AdaLoRABundle
from peftnas.methods.anatomy import Anatomy
from peftnas.methods.attach import AttachedModules
from peftnas.methods.base import Affine, Placement, Rescale
from peftnas.methods.hooks import unbundled
from peftnas.methods.linear_adapter import LinearAdapter
from peftnas.methods.testing.tiny import CONFIGS, build


@dataclass(frozen=True)
class Side:
    """What a pair has on one side: its modules, and the backbone that they are attached to."""

    placed: tuple[tuple[Placement, nn.Module], ...]
    anatomy: Anatomy
    base: PreTrainedModel


Carry = Callable[[Side, Side], None]

# what may stand beside a pair: not affine, so no rule may take it for something else
COMPANY = (
    LoRA(rank=1, targets=("value",), gate="unipelt"),
    LinearAdapter(bottleneck=2, targets=("up",), activation="tanh"),
    ReFT(rank=2),
)
# float64 throughout; their RMS norms compute in float32
ROUNDED = ("llama", "qwen3", "t5")


@dataclass(frozen=True)
class Pair:
    """Two architectures that a rule calls equal.

    Attributes:
        one: methods of the first, whose modules get random values.
        other: methods of the second.
        carry: gives the modules of the second (its second argument) the function of the first.
    """

    one: tuple[Method, ...]
    other: tuple[Method, ...]
    carry: Carry


@dataclass(frozen=True)
class Rule:
    """Pairs of one rule, and the backbones that it is tried on.

    Attributes:
        company: methods that may stand beside them.
        exact: whether all modules compute in float64 there; OFT and LoReFT do not.
    """

    pairs: Callable[[Anatomy], st.SearchStrategy[Pair]]
    backbones: tuple[str, ...]
    company: tuple[Method, ...] = COMPANY
    exact: bool = True


@functools.cache
def anatomy_of(name: str) -> Anatomy:
    return describe(CONFIGS[name]())


@functools.cache
def backbone(name: str) -> PreTrainedModel:
    """A tiny backbone in float64."""
    return build(name).double()


def modules(side: Side, *roles: type) -> dict[str, list[Any]]:
    """The modules of some roles, by the address of their site, in the written order."""
    found: dict[str, list[Any]] = defaultdict(list)
    for _, site, module in unbundled(side.placed):
        if isinstance(module, roles):
            found[site].append(module)
    return found


def only(side: Side, *roles: type) -> dict[str, Any]:
    """The same where there is one a site."""
    return {site: one for site, [one] in modules(side, *roles).items()}


@torch.no_grad()
def disturb(attached: AttachedModules, seed: int) -> None:
    """Move every parameter away from its start; factors stay above 0."""
    generator = torch.Generator().manual_seed(seed)
    for part in attached.modules():
        for name, parameter in part.named_parameters(recurse=False):
            noise = 0.3 * torch.randn(parameter.shape, generator=generator).to(parameter)
            factor = isinstance(part, Rescale) or (isinstance(part, Affine) and name == "scale")
            parameter.copy_(parameter * noise.exp() if factor else parameter + noise)
    for _, module in attached.placed:
        if isinstance(module, AdaLoRABundle):  # the ranks that the end of a training leaves
            for part in module.parts:
                part.get_parameter("E")[module.placement.target_rank :] = 0


def factor(matrix: Tensor, down: Tensor, up: Tensor, scale: float = 1.0) -> None:
    """Set ``down`` and ``up`` so that ``scale * up @ down`` is the matrix, which is that low."""
    u, s, vt = torch.linalg.svd(matrix, full_matrices=False)
    rank = min(len(down), len(s))
    assert s[rank:].sum() <= 1e-9 * s.sum(), "the rank does not suffice"
    down.zero_()[:rank] = vt[:rank]
    up.zero_()[:, :rank] = u[:, :rank] * s[:rank] / scale


def affine_map(run: Callable[[Tensor], Tensor], width: int) -> tuple[Tensor, Tensor]:
    """M and c of ``z -> M z + c``."""
    shift = run(torch.zeros(1, width, dtype=torch.float64))[0]
    return (run(torch.eye(width, dtype=torch.float64)) - shift).T, shift


def copy_alike(one: Side, other: Side) -> None:
    """The same values in modules of one kind at one site, in the written order."""
    left: dict[tuple[str, str], list[nn.Module]] = defaultdict(list)
    for placement, module in one.placed:
        left[placement.kind, placement.site].append(module)
    for placement, module in other.placed:
        module.load_state_dict(left[placement.kind, placement.site].pop(0).state_dict())


def some_layers(anatomy: Anatomy) -> st.SearchStrategy[tuple[int, ...] | None]:
    """All layers, or some; the last one, which has all that any layer has, is among them."""
    last = anatomy.n_layers - 1
    some = st.lists(st.integers(0, last), unique=True, max_size=2)
    return st.none() | some.map(lambda chosen: tuple(sorted({*chosen, last})))


def some_targets(anatomy: Anatomy) -> st.SearchStrategy[tuple[str, ...]]:
    known = st.lists(st.sampled_from(anatomy.targets), min_size=1, max_size=3, unique=True)
    return known.map(tuple)


ranks = st.integers(1, 4)
scales = st.sampled_from([0.5, 2.0, 3.0])
