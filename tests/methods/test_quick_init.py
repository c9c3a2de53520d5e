"""Placements are frozen dataclasses as any other, but for the time that it takes to make one."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from dataclasses import dataclass, field
from typing import ClassVar

import pytest
from torch import nn

from peftnas.methods.base import Placement
from peftnas.methods.quick_init import quick_init


@dataclass(frozen=True)
class Thing(Placement):
    kind: ClassVar[str] = "thing"
    width: int
    fields: tuple[int, ...] = (1, 2)
    note: str = field(default="none", metadata={"usual": "none"})

    def count(self) -> int:
        return self.width

    def build(self, generator) -> nn.Module:
        return nn.Identity()


def test_takes_fields_by_place_and_by_name_with_defaults():
    one = Thing("a", 3)
    assert (one.site, one.width, one.fields, one.note) == ("a", 3, (1, 2), "none")
    assert one == Thing(width=3, site="a") == Thing("a", 3, (1, 2), note="none")
    assert hash(one) == hash(Thing("a", 3)) and one != Thing("a", 4)
    assert dataclasses.replace(one, width=5) == Thing("a", 5)
    assert pickle.loads(pickle.dumps(one)) == one == copy.deepcopy(one)


def test_refuses_what_a_dataclass_refuses():
    with pytest.raises(TypeError, match="width"):
        Thing("a")
    with pytest.raises(TypeError, match="depth"):
        Thing("a", 3, depth=4)
    with pytest.raises(dataclasses.FrozenInstanceError):
        Thing("a", 3).width = 4


def test_an_init_of_its_own_stays():
    @dataclass(frozen=True)
    class Fresh(Thing):
        """Nobody has made one yet."""

    @dataclass(frozen=True)
    class Own(Fresh):
        def __init__(self) -> None:
            super().__init__("own", 7)

    assert (Own().site, Own().width) == (Own().site, 7) == ("own", Own().width)
    assert Fresh("a", 1).width == 1


@pytest.mark.parametrize(
    "declared",
    [field(default_factory=tuple), field(default=0, kw_only=True)],
    ids=["factory", "keyword only"],
)
def test_fields_of_other_kinds_are_refused(declared):
    made = dataclasses.make_dataclass("Made", [("a", int), ("b", int, declared)], frozen=True)
    with pytest.raises(TypeError, match="taken by position"):
        quick_init(made)
