"""A toy backbone and toy methods without torch, to test spaces alone.

They show every shape that real ones have: sizes, targets, layers, conditional fields, gates, a
module that spans layers with a part of its own, spellings that train the same, and a rule that
looks across methods.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from peftnas.spaces import Architecture, ByLayer, Configurable, setting
from peftnas.spaces.fields import Layers, Number, OneOf, SomeOf, Whole, default_of, settings

WIDTH = 10


@dataclass(frozen=True)
class Part:
    """One module: what it is, where, how large."""

    kind: str
    site: str
    facts: tuple[Any, ...]
    size: int
    training: tuple[Any, ...] = ()
    layers: tuple[int, ...] = ()

    def count(self) -> int:
        return self.size

    def stored_bytes(self, bytes_each: int = 4) -> int:
        return bytes_each * self.size

    def identity(self) -> dict[str, Any]:
        return self.function() | {"training": list(self.training)}

    def function(self) -> dict[str, Any]:
        return {"kind": self.kind, "site": self.site, "facts": list(self.facts)}


@dataclass(frozen=True, kw_only=True)
class Box(Configurable):
    """Like an adapter: rank, a conditional placement, an activation, a gate."""

    kind: ClassVar[str] = "toy_box"
    rank: Any = setting(Whole(0), default=4, by_layer=True, size=True)
    site: Any = setting(OneOf("attention", "ffn", "both"), default="ffn")
    style: Any = setting(OneOf("serial", "parallel"), default="serial")
    placement: Any = setting(OneOf("a", "b"), default="a", when={"style": ("serial",)})
    activation: Any = setting(OneOf("relu", "gelu"), default="relu", by_layer=True)
    scale: Any = setting(Number(0, above=True), default=1.0)
    layers: Any = setting(Layers(), default=None)
    gate: Any = setting(OneOf(None, "unipelt"), default=None)

    def place(self, anatomy: ToyAnatomy) -> Iterator[Part]:
        for layer in _layers(self, anatomy):
            here = self.at(layer)
            for site in ("attention", "ffn") if here.site == "both" else (here.site,):
                facts = (here.rank, here.style, here.placement, here.activation, here.gate)
                count = 2 * here.rank * WIDTH + (WIDTH + 1 if here.gate else 0)
                if here.rank:
                    yield Part(
                        self.kind, f"layers[{layer}].{site}", facts, count, (float(here.scale),)
                    )


@dataclass(frozen=True, kw_only=True)
class Low(Configurable):
    """Like LoRA: rank and targets."""

    kind: ClassVar[str] = "toy_low"
    rank: Any = setting(Whole(0), default=8, by_layer=True, size=True)
    targets: Any = setting(SomeOf("query", "key", "value"), default=("query",), by_layer=True)
    layers: Any = setting(Layers(), default=None)
    gate: Any = setting(OneOf(None, "unipelt"), default=None)

    def place(self, anatomy: ToyAnatomy) -> Iterator[Part]:
        widths = {"query": 2 * WIDTH, "key": WIDTH + 4, "value": WIDTH + 4}
        for layer in _layers(self, anatomy):
            here = self.at(layer)
            for target in here.targets if here.rank else ():
                if target not in anatomy.targets:
                    raise ValueError(f"targets must be in {anatomy.targets}, got {target!r}")
                extra = WIDTH + 1 if here.gate else 0
                site = f"layers[{layer}].attention.{target}"
                yield Part(
                    self.kind, site, (here.rank, here.gate), here.rank * widths[target] + extra
                )


@dataclass(frozen=True, kw_only=True)
class Span(Configurable):
    """Like a prefix: one module for all its layers; with ``shared``, a part that does not grow."""

    kind: ClassVar[str] = "toy_span"
    length: Any = setting(Whole(0), default=3, size=True)
    shared: Any = setting(OneOf(False, True), default=False)
    layers: Any = setting(Layers(), default=None)
    gate: Any = setting(OneOf(None, "unipelt"), default=None)

    def place(self, anatomy: ToyAnatomy) -> Iterator[Part]:
        layers = _layers(self, anatomy)
        if self.length and layers:
            count = 2 * self.length * WIDTH * len(layers) + (7 if self.shared else 0)
            facts = (self.length, self.shared, self.gate, layers)
            yield Part(self.kind, "attention", facts, count, layers=layers)


@dataclass(frozen=True, kw_only=True)
class Bias(Configurable):
    """Like BitFit: on the key it has an effect beside a Span only; a site outside the layers."""

    kind: ClassVar[str] = "toy_bias"
    targets: Any = setting(
        SomeOf("query", "key", "value", "embeddings"), default=("query", "key", "value")
    )
    layers: Any = setting(Layers(), default=None)

    def place(self, anatomy: ToyAnatomy) -> Iterator[Part]:
        for target in self.targets:
            if target == "embeddings":
                yield Part(self.kind, "embeddings", (), WIDTH)
                continue
            for layer in _layers(self, anatomy):
                yield Part(self.kind, f"layers[{layer}].attention.{target}", (), WIDTH)


@dataclass(frozen=True, kw_only=True)
class Soft(Configurable):
    """Like a prompt: no layers, no gate."""

    kind: ClassVar[str] = "toy_soft"
    length: Any = setting(Whole(0), default=5, size=True)

    def place(self, anatomy: ToyAnatomy) -> Iterator[Part]:
        if self.length:
            yield Part(self.kind, "embeddings", (self.length,), self.length * WIDTH)


@dataclass(frozen=True)
class ToyAnatomy:
    """A backbone of ``n_layers`` with 1,000 parameters a layer.

    ``decoder``: how many of them, the last ones, are a stack of their own.
    """

    n_layers: int = 3
    targets: tuple[str, ...] = ("query", "key", "value")
    decoder: int = 0

    @property
    def stack_sizes(self) -> tuple[int, ...]:
        both = (self.n_layers - self.decoder, self.decoder)
        return both if self.decoder else both[:1]

    @property
    def backbone_parameters(self) -> int:
        return 1000 * self.n_layers

    def canonical(self, architecture: Architecture) -> Architecture:
        spans = any(isinstance(m, Span) and list(m.place(self)) for m in architecture.methods)
        normal = [self._normal(method, spans) for method in architecture.methods]
        kept = [method for method in normal if method is not None and list(method.place(self))]
        return Architecture(*sorted(kept, key=lambda method: (method.kind, repr(method))))

    def place(self, architecture: Architecture) -> tuple[Part, ...]:
        return tuple(part for method in architecture.methods for part in method.place(self))

    def functions(self, placements: Iterable[Part]) -> list[dict[str, Any]]:
        return [part.function() for part in placements]

    def _normal(self, method: Any, spans: bool) -> Any:
        if isinstance(method, Bias) and not spans:
            method = method.replace(targets=tuple(t for t in method.targets if t != "key"))
        layers = getattr(method, "layers", None)
        if layers is not None and max(layers, default=0) >= self.n_layers:
            raise ValueError(f"layers must be < {self.n_layers}, got {max(layers)}")
        held = {name: getattr(method, name) for name in settings(type(method))}
        changes: dict[str, Any] = {
            name: default_of(type(method), name) for name in held if not method.active(name, held)
        }
        if layers is not None or any(isinstance(value, ByLayer) for value in held.values()):
            changes |= self._layered(method, held)
        return method.replace(**changes) if changes else method

    def _layered(self, method: Any, held: dict[str, Any]) -> dict[str, Any]:
        """Layers where nothing is placed dropped, equal values joined, all layers -> None."""
        active = tuple(
            layer
            for layer in sorted(_layers(method, self))
            if list(dataclasses.replace(method, layers=(layer,)).place(self))
        )
        if not active:
            return {"layers": ()}
        changes: dict[str, Any] = {"layers": None if len(active) == self.n_layers else active}
        for name, value in held.items():
            if isinstance(value, ByLayer):
                kept = {layer: value[layer] for layer in active}
                same = len(set(kept.values())) == 1
                changes[name] = kept[active[0]] if same else ByLayer(kept)
        return changes


def _layers(method: Any, anatomy: ToyAnatomy) -> tuple[int, ...]:
    layers = set(range(anatomy.n_layers) if method.layers is None else method.layers)
    for name in settings(type(method)):
        value = getattr(method, name)
        if isinstance(value, ByLayer):
            layers &= set(value.layers)
    return tuple(sorted(layers))
