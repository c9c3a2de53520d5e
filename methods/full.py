"""Full fine-tuning, the upper baseline: every parameter of the backbone is trained."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from peftnas.methods.backbone_parameters import backbone_parameters
from peftnas.methods.base import Method, Placement, TrainsBackbone
from peftnas.spaces.fields import Configurable

if TYPE_CHECKING:
    from peftnas.methods.anatomy import Anatomy


@dataclass(frozen=True)
class FullPlacement(Placement):
    """The whole backbone; ``parameters``: how many it has."""

    kind: ClassVar[str] = "full"
    parameters: int

    def count(self) -> int:
        """All parameters of the base model."""
        return self.parameters

    def build(self, generator: torch.Generator) -> WholeBackbone:
        return WholeBackbone()


class WholeBackbone(TrainsBackbone):
    """Holds the backbone's own parameters while they are trained."""

    def __init__(self) -> None:
        super().__init__()
        self._base: dict[str, nn.Parameter] = {}
        self._former: dict[str, Tensor] = {}

    def adopt(self, base: nn.Module) -> None:
        """Take in the parameters of ``base``, make them trainable and remember their values."""
        for name, parameter in backbone_parameters(base).items():
            parameter.requires_grad_(True)
            self._base[name] = parameter
            self._former[name] = parameter.detach().clone()
            self.register_parameter(_own(name), parameter)

    def release(self) -> None:
        """Put the former values back into the backbone; the trained ones stay here as copies."""
        for name, parameter in self._base.items():
            trained = nn.Parameter(parameter.detach().clone())
            self.register_parameter(_own(name), trained)
            with torch.no_grad():
                parameter.copy_(self._former[name])
            parameter.grad = None
        self._base, self._former = {}, {}


@dataclass(frozen=True, kw_only=True)
class FullFineTuning(Method):
    """Trains every parameter of the base model; the former values are put back on detach."""

    kind: ClassVar[str] = "full"
    formula: ClassVar[str] = "all parameters of the backbone"
    source: ClassVar[str] = "the usual baseline"

    def place(self, anatomy: Anatomy) -> Iterator[FullPlacement]:
        yield FullPlacement("backbone", anatomy.backbone_parameters)

    def clash(self, other: Configurable) -> str | None:
        if not isinstance(other, FullFineTuning):
            return None
        return "full fine-tuning trains the whole backbone, got it twice; drop one"

    def words(self) -> str:
        """``full fine-tuning``."""
        return "full fine-tuning"


def _own(name: str) -> str:
    return name.replace(".", "/")  # torch allows no dot in the name of a parameter
