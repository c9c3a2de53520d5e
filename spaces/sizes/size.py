"""Size: how many, exactly or within proven bounds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, eq=False)
class Size:
    """A number of architectures or points.

    It equals an ``int`` when exact. ``Real`` fields are not counted (each stands for one value).

    A space too large to list is counted part by part. That its items place together what each
    places alone, and that methods which differ in sizes alone act alike, is tried on every option
    and at random, not proven: a method of one's own that breaks it for rare values is miscounted.

    Attributes:
        low: there are at least so many.
        high: there are at most so many.
        reals: paths of the ``Real`` dimensions left out of the count.
        why: why there are only bounds, as a clause; "" where it is exact.
    """

    low: int
    high: int
    reals: tuple[str, ...] = ()
    why: str = ""

    @property
    def exact(self) -> bool:
        """Whether both bounds agree."""
        return self.low == self.high

    def __int__(self) -> int:
        if not self.exact:
            raise ValueError(f"only an exact size is a number, got {self}; use low and high")
        return self.low

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Size):
            return (self.low, self.high) == (other.low, other.high)
        if isinstance(other, int):
            return self.exact and self.low == other
        return NotImplemented

    def __hash__(self) -> int:
        return hash(self.low) if self.exact else hash((self.low, self.high))

    def __str__(self) -> str:
        if self.exact:
            return f"{self.low:,}"
        because = f" (bounds, since {self.why})" if self.why else ""
        return f"between {self.low:,} and {self.high:,}{because}"
