"""Recipe: how one architecture is fine-tuned. Each field holds a value, or a domain to search."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from peftnas.spaces.domains import Domain
from peftnas.spaces.fields import (
    AnyOf,
    Configurable,
    Number,
    OneOf,
    Whole,
    held,
    setting,
    settings,
)


@dataclass(frozen=True, kw_only=True)
class Recipe(Configurable):
    """How a trial trains: AdamW on the attached modules and the head, over a fixed backbone.

    A step is one optimiser update on ``batch_size`` examples. The learning rate rises linearly
    over the warm-up, then follows the schedule down to 0 at the last step ("constant" stays).

    Raises:
        ValueError: when a field holds a value, or a domain with a value, outside its range.

    Each field takes a value, or a domain of such values:
    """

    kind: ClassVar[str] = "recipe"

    steps: int | Domain[int] = setting(Whole(1), default=300, help="optimiser steps of a trial")
    batch_size: int | Domain[int] = setting(Whole(1), default=32, help="examples a step")
    learning_rate: float | Domain[float] = setting(
        Number(0, above=True), default=1e-3, help="highest learning rate of the modules"
    )
    head_learning_rate: float | None | Domain[float | None] = setting(
        AnyOf(OneOf(None), Number(0, above=True)),
        default=None,
        help="highest learning rate of the head; None: that of the modules",
    )
    schedule: str | Domain[str] = setting(
        OneOf("linear", "cosine", "constant"),
        default="linear",
        help="how the learning rate falls after the warm-up; 'constant': it stays",
    )
    warmup: float | Domain[float] = setting(
        Number(0, 1), default=0.06, help="part of the steps in which the learning rate rises"
    )
    weight_decay: float | Domain[float] = setting(
        Number(0), default=0.0, help="decoupled weight decay of matrices; vectors have none"
    )
    clip_norm: float | Domain[float] = setting(
        Number(0), default=1.0, help="largest norm of the gradient; 0 turns clipping off"
    )
    dropout: float | Domain[float] = setting(
        Number(0, 0.9),
        default=0.0,
        help="dropout in front of the head and of attached modules; the backbone has none",
    )
    pooling: str | Domain[str] = setting(
        OneOf("mean", "first", "last", "native"),
        default="mean",
        help="what the head reads: the mean over all tokens, the first or the last one; 'native': "
        "as the family's own classification head does",
    )
    max_length: int | Domain[int] = setting(
        Whole(4), default=128, help="tokens of one example; longer ones are cut"
    )
    dtype: str | Domain[str] = setting(
        OneOf("float32", "bfloat16"), default="float32", help="number type of the backbone"
    )
    evaluations: int | Domain[int] = setting(
        Whole(1), default=4, help="evaluations on validation, evenly spaced, the last at the end"
    )

    def to_dict(self) -> dict[str, Any]:
        """Every field by name, as JSON values.

        Raises:
            ValueError: if a field still holds a domain.
        """
        return {name: held(getattr(self, name)) for name in settings(type(self))}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Recipe:
        """The recipe that :meth:`to_dict` describes; missing fields take their defaults.

        Raises:
            ValueError: if a name is not a field of a recipe.
        """
        unknown = sorted(set(values) - set(settings(cls)))
        if unknown:
            raise ValueError(
                f"a recipe has no field {', '.join(map(repr, unknown))}; "
                f"its fields: {', '.join(settings(cls))}"
            )
        return cls(**values)


def _fields() -> Iterator[str]:
    """A line on each field, for ``help(Recipe)``: what it takes, and what that means."""
    for name, one in settings(Recipe).items():
        yield f"    {name}: {one.values.words}; {one.help}"


Recipe.__doc__ = "\n".join([(Recipe.__doc__ or "").rstrip(), *_fields(), "    "])
