"""Whether a family's literal says what its modules do: a small call of the model, looked at.

``family_fit`` checks names. Here two calls of a few tokens show which tensors pass where: that the
residual stream, the norm and the exit of each sublayer are these, and who sees later tokens. What
no such call shows is not checked: query, key and value in place of one another, and the kind of
positions.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from transformers import PreTrainedModel

from peftnas.methods.anatomies.family import Tap
from peftnas.methods.anatomy import Anatomy
from peftnas.methods.family_fit import UnsupportedBackboneError
from peftnas.methods.reads import Reads, inputs_for
from peftnas.methods.sites import SublayerSite

TOKENS = 6
TOLERANCE = 1e-2
"""Of the largest value: 16 bits round that much; what is another tensor differs by far more."""

_FIRST = {"attention": ("query",), "cross_attention": ("query",)} | {
    "ffn": ("up", "gate_proj"),
    "mixer": ("in_proj",),
}
"""Linears that read what a sublayer reads."""

Seen = dict[str, Tensor]


def check_by_running(base: PreTrainedModel, anatomy: Anatomy) -> None:
    """Check what a literal says of a model against two calls of it.

    Args:
        base: the base model with its weights, carrying no architecture.
        anatomy: as the literal describes it.
    Raises:
        UnsupportedBackboneError: with the first thing that is not so.
    """
    if any(tensor.is_meta or isinstance(tensor, FakeTensor) for tensor in base.parameters()):
        return
    try:
        inputs = _inputs(base, anatomy)
    except AttributeError:
        return  # of images or sounds whose size its config says in other words
    needed = {
        name
        for name, one in inspect.signature(base.forward).parameters.items()
        if one.default is one.empty and one.kind is one.POSITIONAL_OR_KEYWORD
    }
    if needed - set(inputs):
        return  # it wants something that is not made up here
    try:
        seen = _watch(base, anatomy, inputs)
    except (TypeError, ValueError, RuntimeError, LookupError, AttributeError) as error:
        warnings.warn(
            f"the literal of family {anatomy.family!r} could not be tried out on this "
            f"{type(base).__name__}, so only its names are checked: {error}",
            stacklevel=4,
        )
        return
    exact = base.dtype.itemsize >= 4
    for misfit in (*_sublayers(anatomy, seen, exact), *_causality(base, anatomy, inputs, seen)):
        raise UnsupportedBackboneError(
            f"family {anatomy.family!r} does not fit this {type(base).__name__}: {misfit}; "
            "correct the literal (describe(model.config, family) goes without this trial)"
        )


def _inputs(base: PreTrainedModel, anatomy: Anatomy) -> dict[str, Any]:
    """Random words, images and sounds for one row."""
    generator = torch.Generator().manual_seed(0)
    inputs = inputs_for(base, anatomy, Reads(batch=1, tokens=TOKENS))
    words = int(getattr(base.config.get_text_config(), "vocab_size", 2))
    for name, value in inputs.items():
        if isinstance(value, Tensor) and value.is_floating_point():
            inputs[name] = torch.randn(value.shape, generator=generator).to(
                base.device, base.dtype
            )
        elif isinstance(value, Tensor):
            # all different, in rising order from the middle: no padding, and no end of a text
            ids = (words // 3 + torch.arange(value.shape[1])) % words
            inputs[name] = ids.expand(value.shape).to(base.device)
    return inputs


@torch.no_grad()
def _watch(base: PreTrainedModel, anatomy: Anatomy, inputs: dict[str, Any]) -> Seen:
    """What passes at each place in the first call of its module, by address and role."""
    seen: Seen = {}
    handles = []

    def keep(key: str, value: Any) -> None:
        value = value[0] if isinstance(value, tuple) else value
        if isinstance(value, Tensor):
            seen.setdefault(key, value.detach().float())

    def before(path: str, key: str, tap: Tap | None = None) -> None:
        def hook(module: Any, args: Any, kwargs: Any) -> None:
            place, name = (0, "hidden_states") if tap is None else (tap.index, tap.name)
            keep(key, args[place] if place < len(args) else kwargs.get(name))

        module = base.get_submodule(path)
        handles.append(module.register_forward_pre_hook(hook, with_kwargs=True))

    def after(path: str, key: str) -> None:
        module = base.get_submodule(path)
        handles.append(module.register_forward_hook(lambda _, args, out: keep(key, out)))

    for address, site in anatomy.sublayers.items():
        before(site.residual.module, f"{address} residual", site.residual)
        before(site.norm, f"{address} norm reads")
        after(site.norm, f"{address} norm")
        after(site.exit, f"{address} exit")
        for name in _FIRST[address.rpartition(".")[2]]:
            linear = anatomy.linears.get(f"{address}.{name}")
            if linear is not None:
                before(linear.path, f"{address} {name} reads")
    for number, layer in enumerate(anatomy.layers):
        after(layer.path, f"layers[{number}]")
    modes = {module: module.training for module in base.modules()}
    try:
        base.train(False)
        base(**inputs)
    finally:
        for module, mode in modes.items():
            module.training = mode
        for handle in handles:
            handle.remove()
    return seen


def _sublayers(anatomy: Anatomy, seen: Seen, exact: bool) -> Iterator[str]:
    """``exact``: whether what is added can be told from sums that have been rounded."""
    for layer in range(anatomy.n_layers):
        head = f"layers[{layer}]."
        sites = [site for address, site in anatomy.sublayers.items() if address.startswith(head)]
        called = True
        for site in sites:
            for misfit in _sublayer(anatomy, site, seen):
                called = False
                yield misfit
        if called and sites and anatomy.norm_order == "pre" and exact:
            yield from _added(layer, sites, seen)


def _sublayer(anatomy: Anatomy, site: SublayerSite, seen: Seen) -> Iterator[str]:
    """What is not as the literal has it at one sublayer."""
    name = site.address.rpartition(".")[2]
    field = f"sublayers[{name!r}]"
    for role, what in (
        ("residual", f"residual {site.residual.module!r}"),
        ("exit", f"exit {site.exit!r}"),
        ("norm", f"norm {site.norm!r}"),
    ):
        if f"{site.address} {role}" not in seen:
            yield f"{field}.{what} must be a module that is called with a tensor, it is not"
            return
    residual, exit_, norm = (seen[f"{site.address} {r}"] for r in ("residual", "exit", "norm"))
    if residual.numel() != exit_.numel() or residual.shape[-1] != exit_.shape[-1]:
        yield (
            f"{field}.exit must be the module whose output is added to the residual stream, of "
            f"shape {tuple(residual.shape)}, got {site.exit!r}, which gives {tuple(exit_.shape)}"
        )
        return
    reads = seen[f"{site.address} norm reads"]
    post = anatomy.norm_order == "post"
    wanted = residual + exit_.view(residual.shape) if post else residual
    if not _alike(reads, wanted):
        what = "the sum of residual and exit" if post else "the residual stream of the sublayer"
        order = f"norm_order={anatomy.norm_order!r}"
        yield (
            f"{field}.norm must be the norm that reads {what} ({order}), "
            f"got {site.norm!r}, which reads something else"
        )
        return
    for linear in _FIRST[name]:
        given = seen.get(f"{site.address} {linear} reads")
        if given is not None and not _alike(given, residual if post else norm):
            source = "residual stream" if post else f"output of its norm {site.norm!r}"
            yield f"{field} must be a sublayer whose {linear!r} reads the {source}, it does not"
            return


def _added(layer: int, sites: list[SublayerSite], seen: Seen) -> Iterator[str]:
    """Whether the stream behind a pre-norm layer is what its sublayers make of it."""
    out = seen.get(f"layers[{layer}]")
    if out is None:
        return
    flat = out.view(-1, out.shape[-1])
    exits = [seen[f"{site.address} exit"].view(flat.shape) for site in sites]
    streams = [seen[f"{site.address} residual"].view(flat.shape) for site in sites]
    one_after_another = _along(flat - streams[-1], exits[-1])
    if one_after_another or _along(flat - streams[0], torch.stack(exits).sum(0)):
        return
    names = ", ".join(site.address.rpartition(".")[2] for site in sites)
    yield (
        f"the exits of its sublayers ({names}) must be what a layer adds to the residual stream, "
        f"but {sites[0].address.partition('.')[0]} gives another sum"
    )


def _causality(
    base: PreTrainedModel, anatomy: Anatomy, inputs: dict[str, Any], seen: Seen
) -> Iterator[str]:
    """Whether a change of the last token is seen earlier in each stack that reads words."""
    for number, stack in enumerate(anatomy.stacks):
        last = number == len(anatomy.stacks) - 1
        words = "decoder_input_ids" if last and "decoder_input_ids" in inputs else "input_ids"
        ids = inputs.get(words)
        if ids is None or stack.tokens is None:
            continue
        changed = ids.clone()
        changed[:, -1] = ids[:, 0]
        key = f"layers[{stack.layers[-1]}]"
        other = _watch(base, anatomy, inputs | {words: changed})
        if key not in seen or seen[key].dim() != 3 or seen[key].shape[1] != ids.shape[1]:
            continue
        causal = _alike(seen[key][:, :-1], other[key][:, :-1], 1e-6)
        if causal != stack.causal:
            sees = "do not see later ones" if causal else "see later ones"
            of = f" of stack {stack.name!r}" if stack.name else ""
            yield f"causal{of} must be {causal}, since its tokens {sees}, got {stack.causal}"


def _alike(one: Tensor, other: Tensor, tolerance: float = TOLERANCE) -> bool:
    """Whether two are the same numbers, whatever their leading axes."""
    if one.numel() != other.numel():
        return False
    apart = (one.reshape(-1) - other.reshape(-1)).abs().max()
    return bool(apart <= tolerance * other.abs().max().clamp(min=1e-6))


def _along(one: Tensor, other: Tensor) -> bool:
    """Whether one is the other times a number."""
    return bool(torch.cosine_similarity(one.reshape(-1), other.reshape(-1), dim=0) > 0.99)
