"""What a method is: a config, modules placed at sites of a backbone, and their exact count."""

from __future__ import annotations

import dataclasses
import operator
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self

import torch
from torch import Tensor, nn

from peftnas.methods.quick_init import late_init
from peftnas.methods.trained import Trained

if TYPE_CHECKING:
    from peftnas.methods.anatomy import Anatomy


_NOTHING = object()
_count_of = operator.methodcaller("count")


@dataclass(frozen=True)
class Placement(ABC):
    """One module at one site of a backbone, with everything needed to build and count it.

    Subclasses are frozen dataclasses of plain values. Every field takes part in :meth:`identity`;
    a field with ``metadata={"function": False}`` changes the training but not the function class
    (a constant scale, an initialisation) and is left out of :meth:`function`. One with
    ``metadata={"usual": value}`` is left out of both while it holds that value, which keeps keys,
    and the seeds that follow from them, as they are without the field.

    Attributes:
        site: address of the place, such as ``layers[3].attention.query``.
        is_prefix: whether it puts keys and values in front; then it has ``layers`` and
            ``sublayer``.
    """

    kind: ClassVar[str]
    is_prefix: ClassVar[bool] = False
    site: str

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__init__" not in cls.__dict__:  # which dataclass then leaves as it is
            cls.__init__ = late_init(cls)  # type: ignore[method-assign]

    @abstractmethod
    def count(self) -> int:
        """Trainable parameters, training-only ones included."""

    def stored(self) -> int:
        """Parameters that must be kept after training; differs where some fold away."""
        return self.count()

    def stored_bytes(self, bytes_each: int = 4) -> int:
        """Bytes that must be kept after training, at ``bytes_each`` a parameter."""
        return bytes_each * self.stored()

    @abstractmethod
    def build(self, generator: torch.Generator) -> nn.Module:
        """The module, initialised from ``generator`` alone; float32, on the CPU."""

    def identity(self) -> dict[str, Any]:
        """What distinguishes the training of this module; JSON values."""
        fields: dict[str, Any] = _plain(dataclasses.asdict(self))
        usual = {
            field.name
            for field in dataclasses.fields(self)
            if field.metadata.get("usual", _NOTHING) == getattr(self, field.name)
        }
        return {"kind": self.kind} | {k: v for k, v in fields.items() if k not in usual}

    def function(self) -> dict[str, Any]:
        """What distinguishes the class of functions that it can reach; JSON values."""
        hidden = {
            field.name
            for field in dataclasses.fields(self)
            if not field.metadata.get("function", True)
        }
        return {name: value for name, value in self.identity().items() if name not in hidden}

    def reaches(self, anatomy: Anatomy) -> Iterable[Placement]:
        """Plainer modules that reach the same functions between them; itself where there are none.

        What folds away after training, and another form of the same delta, say here what they are.
        """
        return (self,)

    def joins_by(self) -> str | None:
        """The field that adds up where two such modules at one site are one larger module.

        ``""`` where a second one reaches nothing new, ``None`` where they stay two.
        """
        return None

    def joined(self, other: Self) -> Self:
        """The one module that reaches what both reach together."""
        size = self.joins_by()
        if not size:
            return self
        return dataclasses.replace(self, **{size: getattr(self, size) + getattr(other, size)})


class PlacedByLayer(Protocol):
    """What the placement of a prefix says: the layers that it serves, and where in them."""

    layers: tuple[int, ...]
    sublayer: str


class Method(Trained):
    """Base of all PEFT methods. One file a method; see CONTRIBUTING.md.

    Attributes:
        formula: the count in words, shown by ``peftnas methods``.
        source: paper, and library where it settles a detail.
        changes_weight: whether it replaces the weight of a linear, and not only adds to its
            product; such a method has fields ``targets`` and ``layers``.
        elsewhere: what other libraries have among the fields -> where it is given here.
    """

    formula: ClassVar[str]
    source: ClassVar[str]
    changes_weight: ClassVar[bool] = False
    elsewhere: ClassVar[Mapping[str, str]] = {
        "dropout": "give it to attach(..., dropout=0.1), or to the Recipe of a study"
    }

    @abstractmethod
    def place(self, anatomy: Anatomy) -> Iterator[Placement]:
        """The modules that this method puts on a backbone; nothing for a size of 0.

        Raises:
            ValueError: if it names a site or a layer that the backbone does not have.
        """

    def count(self, anatomy: Anatomy) -> int:
        """Exact number of trainable parameters on a backbone; needs no weights."""
        return sum(map(_count_of, self.place(anatomy)))

    def words(self) -> str:
        """The method in a few readable words for tables and hovers."""
        return self.kind

    def normal(self, anatomy: Anatomy) -> Method | None:
        """The same method without settings that have no effect; ``None`` when nothing is left.

        Overridden where a method has rules of its own beyond those of ``canonical.py``.
        """
        return self


# What a built module does at its site. Modules are functions of their tensors and their input:
# ``tokens`` is the (B, T) bool mask of real tokens of the call, or None when all are real.


class LinearDelta(nn.Module):
    """Adds to the output of a linear layer.

    ``reads`` names its x: ``input`` of the linear (rescaled where that is), ``rotated_input``
    what the base product reads, or ``output`` the base product with its bias. What it adds is
    multiplied with its ``gate``, if it has one, which reads the same x before any dropout.
    """

    reads: Literal["input", "rotated_input", "output"] = "input"

    def forward(self, x: Tensor, tokens: Tensor | None) -> Tensor:
        """x (B, T, n_in), or of its output (B, T, n_out) -> delta (B, T, n_out)."""
        raise NotImplementedError

    def weight_delta(self) -> Tensor | None:
        """What it adds to the weight, (n_out, n_in); ``None`` when it depends on the input."""
        return None


class RenormedDelta(LinearDelta):
    """Multiplies base product and its own delta, row by row, by a factor that depends on W."""

    def start(self, weight: Tensor) -> None:
        """Set the values that depend on the frozen weight (n_out, n_in); called by attach."""
        raise NotImplementedError

    def factor(self, weight: Tensor) -> Tensor:
        """(n_out,) in float32; 1 at the start."""
        raise NotImplementedError


class InputDelta(nn.Module):
    """Adds to the input of a linear layer."""

    def forward(self, x: Tensor, tokens: Tensor | None) -> Tensor:
        """x (B, T, n_in) -> delta (B, T, n_in)."""
        raise NotImplementedError


class Rotation(nn.Module):
    """Rotates the input of the base product of a linear layer."""

    def forward(self, x: Tensor) -> Tensor:
        """x (B, T, n_in) -> x R (B, T, n_in), R constant."""
        raise NotImplementedError

    def rotated(self, weight: Tensor) -> Tensor:
        """The weight (n_out, n_in) that does the same to an input that is not rotated."""
        raise NotImplementedError


class BiasDelta(nn.Module):
    """Adds one vector to the output of a linear layer or of a norm."""

    value: nn.Parameter  # (n,)


class NormDelta(nn.Module):
    """Adds to the weight and to the bias of a norm."""

    weight: nn.Parameter | None  # (n,)
    bias: nn.Parameter | None  # (n,)


class Rescale(nn.Module):
    """Multiplies the input or the output of a linear layer by one vector."""

    side: Literal["input", "output"]
    value: nn.Parameter  # (n,)


class Affine(nn.Module):
    """``scale * y + shift`` of the output y of a linear layer, of a norm, or of the embeddings."""

    scale: nn.Parameter  # (n,)
    shift: nn.Parameter  # (n,)


class SublayerDelta(nn.Module):
    """Adds to the residual stream after a sublayer F (attention or ffn).

    ``reads`` names its input: ``output`` h = F(.), ``sum`` h + x, ``normed_sum`` LN(h + x) with
    the sublayer's own post-norm, ``residual`` x, ``normed_input`` what F itself reads, ``stream``
    the residual stream after the sublayer (post-LN: after the norm; its delta is added there too).
    ``gate`` as in :class:`LinearDelta`.
    """

    reads: Literal["output", "sum", "normed_sum", "residual", "normed_input", "stream"]

    @property
    def idle(self) -> bool:
        """Left out in training; for methods that drop modules at random."""
        return False

    def forward(self, z: Tensor, tokens: Tensor | None) -> Tensor:
        """z (B, T, d) -> delta (B, T, d)."""
        raise NotImplementedError


class SublayerScale(nn.Module):
    """Multiplies the output of a sublayer F, before anything is added to it."""

    def forward(self, x: Tensor, tokens: Tensor | None) -> Tensor:
        """x (B, T, d), the residual stream before the sublayer -> (B, T, 1)."""
        raise NotImplementedError


class BlockDelta(nn.Module):
    """Adds to what a whole layer gives; not in the steps of a generation behind its prompt."""

    def forward(self, h: Tensor, tokens: Tensor | None) -> Tensor:
        """h (B, T, d) -> delta (B, T, d)."""
        raise NotImplementedError


class Bundle(nn.Module):
    """Modules at several sites that share tensors, which are its own.

    Attributes:
        sites: address of each part.
        parts: modules of the roles above, in the order of ``sites``.
    """

    sites: tuple[str, ...]
    parts: nn.ModuleList


class PrefixKeyValues(nn.Module):
    """Keys and values in front of those of the real tokens, for all its layers."""

    def forward(self, layer: int, hidden: Tensor, tokens: Tensor | None) -> tuple[Tensor, Tensor]:
        """hidden (B, T, d), the attention module's input -> keys, values (B, g, l, c) each."""
        raise NotImplementedError


class CoreBranch(nn.Module):
    """Attention of a layer's queries over trained prompts, added to its own attention."""

    def forward(self) -> tuple[Tensor, Tensor]:
        """Prompts (l, d), and what the branch of each head is multiplied with, (h,) or (1,)."""
        raise NotImplementedError


class PromptVectors(nn.Module):
    """Vectors put before the real tokens, or after the first of them."""

    entry: Literal["word_embeddings", "hidden"]
    position: Literal["before", "after_first"]

    def forward(self) -> Tensor:
        """(l, width of the entry)."""
        raise NotImplementedError


class LayerPrompts(nn.Module):
    """Vectors that a layer reads in the place of the prompts that come to it.

    Attributes:
        layer: its number.
    """

    layer: int

    def forward(self) -> Tensor:
        """(l, d); l may be another one than that of the prompts before."""
        raise NotImplementedError


class TrainsBackbone(nn.Module):
    """Marks full fine-tuning: the backbone's own parameters are trained, put back on detach."""


def _plain(value: Any) -> Any:
    """JSON form: tuples become lists."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(inner) for inner in value]
    return value
