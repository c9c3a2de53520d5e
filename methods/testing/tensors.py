"""Which tensor of a reference file is which parameter of the attached modules."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import EllipsisType

from torch import Tensor, nn

from peftnas.methods.adapter import BottleneckAdapter
from peftnas.methods.anatomy import Anatomy
from peftnas.methods.attach import AttachedModules
from peftnas.methods.compacter import CompacterAdapters
from peftnas.methods.gates import Gate
from peftnas.methods.ia3 import IA3Vector
from peftnas.methods.lora import LoRADelta
from peftnas.methods.prefix_modules import FlatPrefix, MlpPrefix
from peftnas.methods.prompt import SoftPrompt
from peftnas.methods.reft import ReFTDelta, ReFTUnit

# words of our addresses behind the layer -> name in the files, of a backbone with one stack
SITE_NAMES = {
    "attention.query": "q",
    "attention.key": "k",
    "attention.value": "v",
    "ffn.up": "up",
    "ffn.down": "down",
    "attention": "attn.bottleneck",
    "cross_attention": "cross.bottleneck",
    "ffn": "ffn.bottleneck",
}
# and of one with an encoder and a decoder, where these differ
PAIR_NAMES = {
    f"{sublayer}.{name}": f"{short}.{name[0]}"
    for sublayer, short in (("attention", "self"), ("cross_attention", "cross"))
    for name in ("query", "key", "value")
}

UNIT_NAMES = {"first": "prefix", "last": "suffix", "both": "tied"}

Part = tuple[slice, int] | EllipsisType


class FileNames:
    """What the files call the places of one backbone."""

    def __init__(self, anatomy: Anatomy) -> None:
        self._anatomy = anatomy
        self._pair = len(anatomy.stacks) > 1

    def site(self, address: str) -> str:
        """``layers[3].attention.query`` is ``layer.3.q``, or ``decoder.layer.1.self.q``."""
        match = re.fullmatch(r"layers\[(\d+)\]\.(.+)", address)
        names = SITE_NAMES | PAIR_NAMES if self._pair else SITE_NAMES
        if match is None or match[2] not in names:
            raise NotImplementedError(f"the files have no name for site {address!r}")
        return f"{self._layer(int(match[1]))}.{names[match[2]]}"

    def block(self, address: str) -> str:
        """``layers[3]`` is ``layer.3``."""
        return self._layer(int(address.removeprefix("layers[").removesuffix("]")))

    def prefix(self, layer: int, sublayer: str) -> str:
        """Name of the prefix that serves a layer."""
        if sublayer == "cross_attention":
            return "prefix.cross"
        stack = self._anatomy.stacks[self._anatomy.layers[layer].stack].name
        return "prefix.encoder" if stack == "encoder" else "prefix.self"

    def prefix_gate(self, layer: int, sublayer: str) -> str:
        """Name of its gate in that layer."""
        if not self._pair:
            return f"{self._layer(layer)}.prefix_gate"
        kind = "cross" if sublayer == "cross_attention" else "self"
        return f"{self._layer(layer)}.{kind}.prefix_gate"

    def _layer(self, layer: int) -> str:
        stack = self._anatomy.stacks[self._anatomy.layers[layer].stack]
        return f"{stack.prefix}layer.{layer - stack.layers[0]}"


@dataclass(frozen=True)
class Slot:
    """One parameter and the part of a file's tensor that is its value.

    Attributes:
        name: name of the tensor in the file.
        parameter: ours.
        view: shape to see the file's tensor in; ``None``: the parameter's own.
        index: what of that view the parameter holds.
    """

    name: str
    parameter: nn.Parameter
    view: tuple[int, ...] | None = None
    index: Part = ...

    def part(self, whole: Tensor) -> Tensor:
        """The parameter's part of the whole tensor; shares its memory."""
        return whole.view(self.parameter.shape if self.view is None else self.view)[self.index]


def slots(attached: AttachedModules, stored: Mapping[str, Tensor]) -> list[Slot]:
    """A slot for each parameter that is attached.

    Args:
        attached: the case's architecture on its backbone.
        stored: the case's adapter tensors by name.
    Raises:
        NotImplementedError: if a stored tensor has no place in our modules, or the reverse.
    """
    names_of = FileNames(attached.anatomy)
    modules = [module for _, module in attached.placed]
    found = [slot for module in modules for slot in _slots_of(module, names_of)]
    found += _flat_prefix([m for m in modules if isinstance(m, FlatPrefix)], names_of)
    names = {slot.name for slot in found}
    if names != set(stored):
        raise NotImplementedError(
            "the stored tensors and our modules do not match: the file alone has "
            f"{sorted(set(stored) - names)}, we alone have {sorted(names - set(stored))}"
        )
    for slot in found:
        if slot.part(stored[slot.name]).shape != slot.parameter.shape:
            raise NotImplementedError(
                f"tensor {slot.name!r} has shape {tuple(stored[slot.name].shape)}, which does not "
                f"hold our {tuple(slot.parameter.shape)}"
            )
    return found


def _slots_of(module: nn.Module, names: FileNames) -> Iterator[Slot]:
    match module:
        case BottleneckAdapter():
            name = names.site(module.placement.site)
            for part in ("down", "up"):
                linear = getattr(module, part)
                yield Slot(f"{name}.{part}.weight", linear.weight)
                yield Slot(f"{name}.{part}.bias", linear.bias)
            if isinstance(module.scale, nn.Parameter):
                yield Slot(f"{name}.scaling", module.scale)
            yield from _gate(f"{name}.gate", module.gate)
        case LoRADelta():
            name = names.site(module.placement.site)
            yield Slot(f"{name}.lora_A", module.A)
            yield Slot(f"{name}.lora_B", module.B)
            yield from _gate(f"{name}.gate", module.gate)
        case IA3Vector():
            yield Slot(f"{names.site(module.placement.site)}.ia3", module.value)
        case MlpPrefix():
            here = module.placement
            name = names.prefix(here.layers[0], here.sublayer)
            yield Slot(f"{name}.embedding", module.embedding)
            yield Slot(f"{name}.mlp_in.weight", module.in_weight)
            yield Slot(f"{name}.mlp_in.bias", module.in_bias)
            yield Slot(f"{name}.mlp_out.weight", module.out_weight)
            yield Slot(f"{name}.mlp_out.bias", module.out_bias)
            for layer, gate in module.gates.items():
                yield from _gate(names.prefix_gate(int(layer), here.sublayer), gate)
        case SoftPrompt():
            yield Slot("prompt.embedding", module.embedding)
        case CompacterAdapters():
            yield Slot("phm_rule", module.rule)
            for site, adapter in zip(module.sites, module.parts, strict=True):
                for side in ("down", "up"):
                    place, matrix = f"{names.site(site)}.{side}", getattr(adapter, side)
                    yield Slot(f"{place}.W_left", matrix.left)
                    yield Slot(f"{place}.W_right", matrix.right)
                    yield Slot(f"{place}.b", matrix.b)
        case ReFTDelta():
            name = names.block(module.placement.site)
            for group, unit in module.units.items():
                assert isinstance(unit, ReFTUnit)
                # the stored rows are orthonormal, and their gradient is the free one
                unit.orthonormal = False
                place = f"{name}.reft.{UNIT_NAMES[group]}"
                yield Slot(f"{place}.source.weight", unit.W)
                yield Slot(f"{place}.source.bias", unit.b)
                yield Slot(f"{place}.projection.weight", unit.R)


def _flat_prefix(modules: list[FlatPrefix], names: FileNames) -> Iterator[Slot]:
    """One tensor of the file holds all layers: rows 2i, 2i + 1 of (length, 2L, heads, width)."""
    groups: dict[str, list[FlatPrefix]] = {}
    for module in sorted(modules, key=lambda module: module.placement.layers):
        name = names.prefix(module.placement.layers[0], module.placement.sublayer)
        groups.setdefault(name, []).append(module)
    everything = slice(None)
    for name, group in groups.items():
        for i, module in enumerate(group):
            here = module.placement
            view = (here.length, 2 * len(group), here.kv_heads, here.head_width)
            yield Slot(f"{name}.flat", module.keys, view, (everything, 2 * i))
            yield Slot(f"{name}.flat", module.values, view, (everything, 2 * i + 1))
            yield from _gate(names.prefix_gate(here.layers[0], here.sublayer), module.gate)


def _gate(name: str, gate: nn.Module | None) -> Iterator[Slot]:
    if gate is not None:
        assert isinstance(gate, Gate)  # the files hold no shared ones
        yield Slot(f"{name}.weight", gate.weight)
        yield Slot(f"{name}.bias", gate.bias)
