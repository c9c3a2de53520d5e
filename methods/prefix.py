"""Prefix tuning: trained keys and values in front of the real ones, flat or through an MLP."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from peftnas.methods.anatomy import sublayer_address
from peftnas.methods.base import Method
from peftnas.methods.gates import (
    GateTokens,
    gate_setting,
    gate_spec,
    gate_tokens_setting,
)
from peftnas.methods.layers import active_layers, place_words, value_words
from peftnas.methods.prefix_modules import FlatPrefixPlacement, MlpPrefixPlacement
from peftnas.methods.prompt import without_repetitions
from peftnas.spaces.domains import Domain
from peftnas.spaces.fields import (
    AnyOf,
    Layers,
    OneOf,
    SomeOf,
    Tokens,
    Whole,
    held,
    held_at,
    setting,
)
from peftnas.spaces.structure import ByLayer

if TYPE_CHECKING:
    from peftnas.methods.anatomy import Anatomy


@dataclass(frozen=True, kw_only=True)
class Prefix(Method):
    """Prefix tuning: attention over ``[K_p; K]`` and ``[V_p; V]``, in every active layer.

    K_p and V_p (l keys and values for each of the g key-value heads) are raw: no projection, no
    position, seen by every query. Real tokens keep positions 0..T-1. Never the identity, not even
    with zeros (they take their share of the softmax), and never mergeable.

    With ``mlp`` the keys and values of all layers come from one trained embedding (l, d) through a
    tanh MLP of that hidden width, which folds away after training. What is kept is the same, and
    so is ``function_key``, although a narrow MLP does not reach every K_p, V_p.

    With ``tokens`` it starts with what the frozen backbone computes as keys and values of these
    tokens (without positions, as all of the prefix), which helps where data are few.

    Source: Li & Liang 2101.00190; gate: Mao et al. 2110.07577, K_p and V_p times G, where the
    library `adapters` also offers one G each (``gate_outputs=2``).
    """

    kind: ClassVar[str] = "prefix"
    formula: ClassVar[str] = (
        "2*L*length*kv_width; with mlp: length*d + (d+1)*mlp + (mlp+1)*2*L*kv_width "
        "(+L*gate_outputs*(d+1) gates)"
    )
    source: ClassVar[str] = "Li & Liang 2101.00190; MLP as in the UniPELT code"

    length: int | Domain[int] | ByLayer[int] = setting(
        Whole(0),
        default=10,
        by_layer=True,
        size=True,
        help="keys and values l in front; 0 = absent",
    )
    mlp: int | None | Domain[int | None] = setting(
        AnyOf(OneOf(None), Whole(1)),
        default=None,
        help="hidden width of an MLP used in training only; None: keys and values are trained",
    )
    sublayers: tuple[str, ...] | Domain[tuple[str, ...]] = setting(
        SomeOf("attention", "cross_attention"),
        default=("attention",),
        help="attention whose keys and values it extends",
    )
    layers: tuple[int, ...] | None | Domain[Any] = setting(
        Layers(), default=None, help="layers in which it is active; None: all"
    )
    gate: str | None | Domain[str | None] = gate_setting()
    gate_tokens: GateTokens | Domain[GateTokens] = gate_tokens_setting(causal=False)
    gate_outputs: int | Domain[int] = setting(
        OneOf(1, 2),
        default=1,
        when={"gate": ("unipelt",)},
        help="one gate for keys and values, or one each",
    )

    tokens: tuple[int, ...] | None | Domain[Any] = setting(
        AnyOf(OneOf(None), Tokens()),
        default=None,
        when={"mlp": (None,)},
        help="ids of tokens whose keys and values it starts from, repeated; None: random",
    )

    def place(self, anatomy: Anatomy) -> Iterator[FlatPrefixPlacement | MlpPrefixPlacement]:
        named: tuple[str, ...] = held(self.sublayers)
        anatomy.check_sublayers(named)
        anatomy.check_core("a prefix")
        layers = self._with_some(active_layers(self, anatomy))
        for number, stack in enumerate(anatomy.stacks):
            for name in named:
                here = tuple(
                    layer
                    for layer in layers
                    if layer in stack.layers and any(anatomy.sublayers_of(layer, (name,)))
                )
                if here and self.tokens is not None:
                    _check_words(anatomy, number, name)
                if here:
                    yield from self._place(anatomy, number, name, here)

    def _place(
        self, anatomy: Anatomy, number: int, name: str, layers: tuple[int, ...]
    ) -> Iterator[FlatPrefixPlacement | MlpPrefixPlacement]:
        """The prefixes of one kind of attention in some layers of one stack."""
        shape, hidden = anatomy.layers[layers[0]], held(self.mlp)
        heads, width = shape.kv_heads, shape.head_width
        gate = gate_spec(
            held(self.gate), shape.width, held(self.gate_tokens), held(self.gate_outputs)
        )
        tokens: Any = self.tokens
        if hidden is not None:
            if isinstance(self.length, ByLayer):
                raise ValueError(
                    "Prefix with mlp computes one length for all its layers, got lengths layer by "
                    "layer; take mlp=None, or one length"
                )
            length: int = held(self.length)
            site = f"{anatomy.stacks[number].prefix}{name}.core"
            yield MlpPrefixPlacement(
                site, layers, name, length, heads, width, shape.width, hidden, gate
            )
            return
        for layer in layers:
            site = f"{sublayer_address(layer, name)}.core"
            yield FlatPrefixPlacement(
                site,
                (layer,),
                name,
                held_at(self.length, layer),
                heads,
                width,
                gate,
                held(tokens),
            )

    def prefixed_layers(self, anatomy: Anatomy) -> tuple[int, ...]:
        layers = self._with_some(active_layers(self, anatomy))
        return layers if "attention" in held(self.sublayers) else ()

    def _with_some(self, layers: tuple[int, ...]) -> tuple[int, ...]:
        """Those of the layers in which the length is above 0."""
        return tuple(layer for layer in layers if held_at(self.length, layer))

    def normal(self, anatomy: Anatomy) -> Prefix:
        """Tokens without their repetitions."""
        tokens: Any = held(self.tokens)
        if tokens is None:
            return self
        if isinstance(self.length, ByLayer):
            longest = max(length for _, length in self.length.items())
        else:
            longest = held(self.length)
        return self.replace(tokens=without_repetitions(tokens, longest))

    def words(self) -> str:
        """For example ``prefix length 10 (mlp 512) gated in layers 0-2``."""
        mlp = "" if self.mlp is None else f" (mlp {self.mlp})"
        where = (
            "" if self.sublayers == ("attention",) else f" on {', '.join(held(self.sublayers))}"
        )
        gated = "" if self.gate is None else " gated"
        return f"prefix length {value_words(self.length)}{mlp}{gated}{where}" + place_words(
            self.layers
        )


def _check_words(anatomy: Anatomy, number: int, name: str) -> None:
    """Raise ``ValueError`` if the keys and values of an attention are those of no words."""
    source = 0 if name == "cross_attention" else number
    if anatomy.stacks[source].tokens is not None:
        return
    reading = [stack for stack in anatomy.stacks if stack.tokens is not None]
    layers = tuple(layer for stack in reading for layer in stack.layers)
    remedy = f"leave tokens out, or take layers={layers} and sublayers=('attention',)"
    raise ValueError(
        f"tokens need an attention that reads words, got layers of the "
        f"{anatomy.stacks[source].name or 'one'} stack of a {anatomy.model_type} backbone, which "
        f"reads no words; {remedy if reading else 'leave tokens out'}"
    )
