"""Which tensor of a reference file is which parameter of the attached modules."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import EllipsisType

from torch import Tensor, nn

from peftnas.methods.adapter import BottleneckAdapter
from peftnas.methods.attach import AttachedModules
from peftnas.methods.gates import Gate
from peftnas.methods.ia3 import IA3Vector
from peftnas.methods.lora import LoRADelta
from peftnas.methods.prefix import FlatPrefix, MlpPrefix
from peftnas.methods.prompt import SoftPrompt

# last word of our addresses -> name in the files
SITE_NAMES = {
    "query": "q",
    "key": "k",
    "value": "v",
    "up": "up",
    "down": "down",
    "attention": "attn.bottleneck",
    "ffn": "ffn.bottleneck",
}

Part = tuple[slice, int] | EllipsisType


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
    modules = [module for _, module in attached.placed]
    found = [slot for module in modules for slot in _slots_of(module)]
    found += _flat_prefix([module for module in modules if isinstance(module, FlatPrefix)])
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


def _slots_of(module: nn.Module) -> Iterator[Slot]:
    match module:
        case BottleneckAdapter():
            name = _file_name(module.placement.site)
            for part in ("down", "up"):
                linear = getattr(module, part)
                yield Slot(f"{name}.{part}.weight", linear.weight)
                yield Slot(f"{name}.{part}.bias", linear.bias)
            if isinstance(module.scale, nn.Parameter):
                yield Slot(f"{name}.scaling", module.scale)
            yield from _gate(f"{name}.gate", module.gate)
        case LoRADelta():
            name = _file_name(module.placement.site)
            yield Slot(f"{name}.lora_A", module.A)
            yield Slot(f"{name}.lora_B", module.B)
            yield from _gate(f"{name}.gate", module.gate)
        case IA3Vector():
            yield Slot(f"{_file_name(module.placement.site)}.ia3", module.value)
        case MlpPrefix():
            yield Slot("prefix.self.embedding", module.embedding)
            yield Slot("prefix.self.mlp_in.weight", module.in_weight)
            yield Slot("prefix.self.mlp_in.bias", module.in_bias)
            yield Slot("prefix.self.mlp_out.weight", module.out_weight)
            yield Slot("prefix.self.mlp_out.bias", module.out_bias)
            for layer, gate in module.gates.items():
                assert isinstance(gate, Gate)
                yield from _gate(f"layer.{layer}.prefix_gate", gate)
        case SoftPrompt():
            yield Slot("prompt.embedding", module.embedding)


def _flat_prefix(modules: list[FlatPrefix]) -> Iterator[Slot]:
    """One tensor of the file holds all layers: rows 2i, 2i + 1 of (length, 2L, heads, width)."""
    ordered = sorted(modules, key=lambda module: module.placement.layers)
    for i, module in enumerate(ordered):
        here = module.placement
        view = (here.length, 2 * len(ordered), here.kv_heads, here.head_width)
        everything = slice(None)
        yield Slot("prefix.self.flat", module.keys, view, (everything, 2 * i))
        yield Slot("prefix.self.flat", module.values, view, (everything, 2 * i + 1))
        yield from _gate(f"layer.{here.layers[0]}.prefix_gate", module.gate)


def _gate(name: str, gate: Gate | None) -> Iterator[Slot]:
    if gate is not None:
        yield Slot(f"{name}.weight", gate.weight)
        yield Slot(f"{name}.bias", gate.bias)


def _file_name(site: str) -> str:
    """``layers[3].attention.query`` is ``layer.3.q`` in the files."""
    match = re.fullmatch(r"layers\[(\d+)\](?:\.\w+)*\.(\w+)", site)
    if match is None or match[2] not in SITE_NAMES:
        raise NotImplementedError(f"the files have no name for site {site!r}")
    return f"layer.{match[1]}.{SITE_NAMES[match[2]]}"
