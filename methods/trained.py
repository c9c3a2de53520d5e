"""The settings that every method has: how its modules train, where not as the recipe says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from peftnas.spaces.domains import Domain
from peftnas.spaces.fields import AnyOf, Configurable, Number, OneOf, setting, settings
from peftnas.spaces.training_settings import training_names

# the bounds are those of the recipe's fields
_RATE = AnyOf(OneOf(None), Number(0, above=True))
_PART = AnyOf(OneOf(None), Number(0, 1))
_DECAY = AnyOf(OneOf(None), Number(0))


@dataclass(frozen=True, kw_only=True)
class Trained(Configurable):
    """Base of methods: training settings of their own, after the fields of each method.

    They are no part of the architecture (``spaces/training_settings.py``). ``None``: as the recipe
    of the training says, which holds for the head in any case. What a recipe calls ``warmup`` is
    ``rate_warmup`` here, since AdaLoRA has a ``warmup`` of another kind.
    """

    learning_rate: float | None | Domain[float | None] = setting(
        _RATE,
        default=None,
        training="lr",
        help="highest learning rate of its modules; None: that of the recipe",
    )
    rate_warmup: float | None | Domain[float | None] = setting(
        _PART,
        default=None,
        training="warmup",
        help="part of the steps in which that rate rises; None: that of the recipe",
    )
    weight_decay: float | None | Domain[float | None] = setting(
        _DECAY,
        default=None,
        training="weight decay",
        help="decoupled weight decay of its matrices; None: that of the recipe",
    )

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__repr__" not in cls.__dict__:  # which dataclass then leaves as it is
            cls.__repr__ = _repr  # type: ignore[assignment]


def _repr(self: Trained) -> str:
    """As a dataclass writes itself; training settings last, and only where it has them."""
    cls = type(self)
    later = training_names(cls)
    shown = [(name, getattr(self, name)) for name in settings(cls)]
    parts = [f"{name}={held!r}" for name, held in shown if name not in later or held is not None]
    return f"{cls.__name__}({', '.join(parts)})"
