"""Connects built modules to a backbone: one port for each changed place, and its hooks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, cast

from torch import nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from peftnas.methods.anatomy import Anatomy
from peftnas.methods.attention import CorePort, use_prefix_attention
from peftnas.methods.backbone_parameters import has_head
from peftnas.methods.base import (
    Affine,
    BiasDelta,
    BlockDelta,
    Bundle,
    CoreBranch,
    InputDelta,
    LayerPrompts,
    LinearDelta,
    NormDelta,
    PlacedByLayer,
    Placement,
    PrefixKeyValues,
    PromptVectors,
    RenormedDelta,
    Rescale,
    Rotation,
    SublayerDelta,
    SublayerScale,
    TrainsBackbone,
)
from peftnas.methods.call import Call, Mode
from peftnas.methods.checkpointing import PassState
from peftnas.methods.checks import check_site
from peftnas.methods.gates import Gate
from peftnas.methods.head_port import HeadPort
from peftnas.methods.lanes import Lane, LaneHook
from peftnas.methods.layers import layer_of
from peftnas.methods.linear_port import LinearPort, NormPort, PatchPort, own_part
from peftnas.methods.ports import BlockPort, SublayerPort
from peftnas.methods.prompt_layers import LayerHook
from peftnas.methods.sites import SublayerSite
from peftnas.methods.stack_port import StackPort

Placed = tuple[Placement, nn.Module]

AT_ONE_PLACE = (InputDelta, Rotation, LinearDelta, BiasDelta, NormDelta, Rescale, Affine)


class PlacedInStack(Protocol):
    """What the placement of a prompt says: the number of the stack that it enters."""

    stack: int


class Hooks:
    """All ports and hooks of one attached architecture.

    Args:
        base: the base model.
        anatomy: its anatomy.
        placed: placements and the modules built from them.
        mode: how the modules run.
        model: the model around the base model, where there is a task head.
        lane: the rows of a batch that they see, where architectures share the backbone; then who
            made the lanes hooks the entries of the stacks.
    """

    def __init__(
        self,
        base: PreTrainedModel,
        anatomy: Anatomy,
        placed: Sequence[Placed],
        mode: Mode,
        model: PreTrainedModel | None = None,
        lane: Lane | None = None,
    ) -> None:
        self.lane = lane
        self.model = model or base
        self.base = base
        self.anatomy = anatomy
        self.calls = [Call(mode) for _ in anatomy.stacks]
        self.linears: dict[str, LinearPort] = {}
        self.norms: dict[str, NormPort] = {}
        self.patches: dict[str, PatchPort] = {}
        self.cores: dict[str, CorePort] = {}
        self.blocks: dict[int, BlockPort] = {}
        self.remembering: set[int] = set()  # stacks with causal gates
        self.stacks = self._stack_ports(placed)
        self._former_attention: dict[str, str] | None = None
        self._handles: list[RemovableHandle] = []
        self.state = PassState(self.calls, [module for _, module in placed], lane)
        try:
            self._connect(self._sort(placed))
        except Exception:
            self.remove()
            raise

    def remove(self) -> None:
        """Take every hook away and give the backbone its attention function back."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        for layer in self.anatomy.layers:
            self.state.unpin(self.base.get_submodule(layer.path))
        if self._former_attention is not None:
            self.base.set_attn_implementation(self._former_attention)
            self._former_attention = None

    def _connect(self, sublayers: dict[str, list[SublayerDelta | SublayerScale]]) -> None:
        """Register all hooks; on one module in the order in which they compose."""
        if self.lane is None:
            self._hook_stacks()
        self._hook_linears()
        self._hook_norms()
        self._hook_sublayers(sublayers)
        self._hook_blocks()
        self._hook_cores()
        for path in dict.fromkeys(layer.path for layer in self.anatomy.layers):
            self._handles.append(self._module(path).register_forward_pre_hook(self.state.pin))

    def _stack_ports(self, placed: Sequence[Placed]) -> list[StackPort]:
        prefixed = has_bare_keys(placed)
        ports: list[StackPort] = []
        for number, stack in enumerate(self.anatomy.stacks):
            prompts = [
                module
                for placement, module in placed
                if isinstance(module, PromptVectors)
                and cast(PlacedInStack, placement).stack == number
            ]
            anew = {
                module.layer: module
                for placement, module in placed
                if isinstance(module, LayerPrompts)
                and cast(PlacedInStack, placement).stack == number
            }
            reads_encoder = any(
                site.stack == number and site.address.endswith(".cross_attention")
                for site in self.anatomy.sublayers.values()
            )
            encoder = ports[0] if reads_encoder else None
            entry, call = self._module(stack.entry), self.calls[number]
            args = (entry, self.base, self.anatomy, stack, prompts, prefixed, call, encoder, anew)
            ports.append(StackPort(*args))
        return ports

    def _sort(self, placed: Sequence[Placed]) -> dict[str, list[SublayerDelta | SublayerScale]]:
        sublayers: dict[str, list[SublayerDelta | SublayerScale]] = {}
        for placement, site, module in unbundled(placed):
            self._check_there(placement, site, module)
            self._connect_gates(placement, site, module)
            if isinstance(module, SublayerDelta | SublayerScale):
                sublayers.setdefault(site, []).append(module)
            elif isinstance(module, PrefixKeyValues | CoreBranch):
                self._sort_core(cast(PlacedByLayer, placement), module)
            elif isinstance(module, BlockDelta):
                self._block_port(site).deltas.append(module)
            elif isinstance(module, AT_ONE_PLACE):
                self._port(site).add(module)
                if isinstance(module, RenormedDelta):
                    port = self.linears[site]
                    module.start(own_part(port.site, port.module)[0].detach())
            elif not isinstance(module, PromptVectors | LayerPrompts | TrainsBackbone):
                raise TypeError(
                    f"{type(module).__name__} has none of the roles of methods/base.py"
                )
        return sublayers

    def _check_there(self, placement: Placement, site: str, module: nn.Module) -> None:
        anatomy = self.anatomy
        if isinstance(module, SublayerDelta | SublayerScale):
            check_site(anatomy, placement, site, anatomy.sublayers)
        elif isinstance(module, BlockDelta):
            check_site(anatomy, placement, site, [f"layers[{n}]" for n in range(anatomy.n_layers)])
        elif isinstance(module, AT_ONE_PLACE) and not site.endswith("embeddings.patches"):
            if site not in anatomy.linears:
                check_site(anatomy, placement, site, anatomy.norms)

    def _connect_gates(self, placement: Placement, site: str, module: nn.Module) -> None:
        for gate in module.modules():
            if isinstance(gate, Gate):
                layers: tuple[int, ...] = getattr(placement, "layers", ())
                linear = self.anatomy.linears.get(site)
                layer = layers[0] if layers else layer_of(site)
                number = linear.stack if linear else self.anatomy.layers[layer].stack
                gate.call = (self.calls[number],)
                if gate.spec.tokens == "causal":
                    self.remembering.add(number)

    def _sort_core(self, placement: PlacedByLayer, module: PrefixKeyValues | CoreBranch) -> None:
        for layer in placement.layers:
            site = self.anatomy.sublayer(layer, placement.sublayer)
            port = self.cores.get(site.address) or self._core_port(layer, site)
            self.cores[site.address] = port
            if isinstance(module, PrefixKeyValues):
                port.prefixes.append(module)
            else:
                port.branches.append(module)

    def _core_port(self, layer: int, site: SublayerSite) -> CorePort:
        sites = [self.anatomy.linears[f"{site.address}.{name}"] for name in ("key", "value")]
        key, value = ((linear, self._module(linear.path)) for linear in sites)
        return CorePort(layer, self.calls[site.stack], key, value)

    def _port(self, address: str) -> LinearPort | NormPort | PatchPort:
        linear = self.anatomy.linears.get(address)
        if linear is not None:
            module, call = self._module(linear.path), self.calls[linear.stack]
            return self.linears.setdefault(address, LinearPort(linear, module, call))
        for stack in self.anatomy.stacks:
            if stack.patches is not None and address == f"{stack.prefix}embeddings.patches":
                return self.patches.setdefault(address, PatchPort(self._module(stack.patches)))
        return self._norm_port(address)

    def _block_port(self, address: str) -> BlockPort:
        layer = layer_of(address)
        call = self.calls[self.anatomy.layers[layer].stack]
        return self.blocks.setdefault(layer, BlockPort(call))

    def _norm_port(self, address: str) -> NormPort:
        site = self.anatomy.norms[address]
        return self.norms.setdefault(address, NormPort(self._module(site.path), site.offset))

    def _module(self, path: str) -> nn.Module:
        try:
            return self.base.get_submodule(path)
        except AttributeError as error:
            raise ValueError(
                f"the anatomy names {path!r}, which this {type(self.base).__name__} lacks; "
                "describe the model itself: attach(model, ..., anatomy=describe(model))"
            ) from error

    def _hook_stacks(self) -> None:
        for number, port in enumerate(self.stacks):
            entry = self._module(port.stack.entry)
            self._before(entry, port.change_arguments, kwargs=True)
            if number in self.remembering:
                self._after(entry, port.finish)
            if port.prompts and port.bare:
                assert port.stack.embeddings is not None
                layer = self._module(port.stack.embeddings)
                self._after(layer, port.enter_bare)
            for changing in port.layers.changing:
                block = self._module(self.anatomy.layers[changing].path)
                self._before(block, LayerHook(port, changing, block), kwargs=True)

        last = self.stacks[-1]
        entry = self._module(last.stack.entry)
        if last.prompts and entry is not self.model and has_head(self.model, self.base):
            head = HeadPort(last)
            self._before(self.model, head.enter)
            self._after(entry, head.strip)  # some heads call that and not the base model (opt)
            leave = self.model.register_forward_hook(head.leave, always_call=True)
            self._handles.append(leave)

    def _hook_linears(self) -> None:
        for port in self.linears.values():
            if port.needs_input_hook:
                self._before(port.module, port.change_input)
            if port.needs_output_hook:
                self._after(port.module, port.change_output)
            if port.site.shared:
                owner = port.site.path.rpartition(".")[0]
                self._before(self._module(owner), port.expect_text)
                self._after(port.module, port.expect_table)

    def _hook_norms(self) -> None:
        for port in self.norms.values():
            self._after(port.norm, port.change_output)
        for patches in self.patches.values():
            self._after(patches.module, patches.change_output)

    def _hook_sublayers(self, sublayers: dict[str, list[SublayerDelta | SublayerScale]]) -> None:
        for address, deltas in sublayers.items():
            site = self.anatomy.sublayers[address]
            norm = self.norms.get(f"{address}.norm") or NormPort(self._module(site.norm))
            port = SublayerPort(site, norm, deltas, self.calls[site.stack])
            tap = self._module(site.residual.module)
            self._before(tap, port.keep_residual, kwargs=True)
            self._after(self._module(site.exit), port.add_before_norm)
            if site.norm_order == "pre":
                self._after(norm.norm, port.keep_normed)
            elif port.after:
                self._after(norm.norm, port.add_after_norm)

    def _hook_blocks(self) -> None:
        for layer, port in self.blocks.items():
            block = self._module(self.anatomy.layers[layer].path)
            self._after(block, port.change_output)

    def _hook_cores(self) -> None:
        if self.cores:
            self._former_attention = use_prefix_attention(self.base)
        for address, port in self.cores.items():
            path = self.anatomy.sublayers[address].core
            assert path is not None
            core = self._module(path)
            self._before(core, port.hand_down, kwargs=True)

    def _before(self, module: nn.Module, hook: Callable[..., Any], kwargs: bool = False) -> None:
        if self.lane is not None:
            hook = LaneHook(self.lane, hook, kwargs)
        self._handles.append(module.register_forward_pre_hook(hook, with_kwargs=kwargs))

    def _after(self, module: nn.Module, hook: Callable[..., Any]) -> None:
        if self.lane is not None:
            hook = LaneHook(self.lane, hook, kwargs=False)
        self._handles.append(module.register_forward_hook(hook))


def unbundled(placed: Sequence[Placed]) -> Iterator[tuple[Placement, str, nn.Module]]:
    """Each module with its site; those of a bundle one by one."""
    for placement, module in placed:
        if isinstance(module, Bundle):
            for site, part in zip(module.sites, module.parts, strict=True):
                yield placement, site, part
        else:
            yield placement, placement.site, module


def has_bare_keys(placed: Sequence[Placed]) -> bool:
    """Whether queries meet keys that have no position."""
    bare = (PrefixKeyValues, CoreBranch)
    return any(isinstance(module, bare) for _, _, module in unbundled(placed))


def is_attached(base: nn.Module) -> bool:
    """Whether an architecture is attached to a base model now."""
    return any(
        isinstance(getattr(getattr(hook, "port", hook), "call", None), Call)
        or isinstance(getattr(hook, "__self__", None), StackPort)
        for module in base.modules()
        for hook in module._forward_pre_hooks.values()
    )
