"""Classes of named fields behave as those of ``dataclasses``, which are the measure here."""

from __future__ import annotations

import copy
import gc
import weakref
from dataclasses import FrozenInstanceError, dataclass, field, fields, replace
from typing import Any

import pytest

from proxy.values import IdentityEnum, frozen, mutable


def shape(make: Any) -> type[Any]:
    """The same class, made by ``make``: all that a field can be."""

    @make
    class Shape:
        """A shape."""

        name: str
        secret: str = field(repr=False)
        corners: int = 4
        size: float = field(default=1.5, compare=False)
        tags: list[str] = field(default_factory=list)
        seen: list[str] = field(init=False, default_factory=list)
        kind: str = field(init=False, default="flat")
        area: float = field(init=False)

        def __post_init__(self) -> None:
            object.__setattr__(self, "area", self.corners * self.size)

    return Shape


PAIRS = [
    pytest.param(shape(mutable), shape(dataclass(slots=True)), id="mutable"),
    pytest.param(shape(frozen), shape(dataclass(slots=True, frozen=True)), id="frozen"),
]


@pytest.mark.parametrize("make", [mutable, frozen])
def test_the_class_without_slots_goes(make: Any) -> None:
    left = []

    def kept(cls: type[Any]) -> Any:
        left.append(weakref.ref(cls))
        return make(cls)

    shape(kept)
    gc.collect()
    assert left[0]() is None


BOTH = pytest.mark.parametrize(("ours", "theirs"), PAIRS)


@BOTH
def test_they_take_the_same_arguments(ours, theirs):
    calls: list[Any] = [(("a", "b"), {}), (("a", "b", 3, 2.0, ["x"]), {}), (("a",), {"secret": "b", "tags": ["y"]})]
    for given in calls:
        mine, other = ours(*given[0], **given[1]), theirs(*given[0], **given[1])
        assert [getattr(mine, each.name) for each in fields(ours)] == [getattr(other, f.name) for f in fields(theirs)]
    wrong: list[Any] = [(), ("a",), ("a", "b", 1, 1.0, [], [])]
    for bad in wrong:
        for kind in (ours, theirs):
            with pytest.raises(TypeError, match=r"__init__\(\)"):
                kind(*bad)


@BOTH
def test_they_look_the_same(ours, theirs):
    assert repr(ours("a", "hunter2")) == repr(theirs("a", "hunter2"))
    assert "hunter2" not in repr(ours("a", "hunter2"))
    assert (ours.__slots__, ours.__match_args__) == (theirs.__slots__, theirs.__match_args__)
    assert ours.__doc__ == "A shape."


@BOTH
@pytest.mark.parametrize("changed", ["name", "secret", "corners", "size", "tags"])
def test_they_are_equal_by_the_same_fields(ours, theirs, changed):
    values = {"name": "z", "secret": "z", "corners": 9, "size": 9.0, "tags": ["z"]}
    for kind in (ours, theirs):
        one, other = kind("a", "b"), kind("a", "b")
        assert one == other
        # ``area`` is compared too, and made of ``size``.
        assert one != replace(other, **{changed: values[changed]})
        assert one != "a"
    assert ours("a", "b") != theirs("a", "b")


@BOTH
def test_what_is_not_compared_does_not_count(ours, theirs):
    for kind in (ours, theirs):
        other = kind("a", "b", 4, 9.0)
        object.__setattr__(other, "area", 6.0)
        assert kind("a", "b") == other


@BOTH
def test_each_has_a_list_of_its_own(ours, theirs):
    del theirs
    assert ours("a", "b").tags is not ours("a", "b").tags
    assert ours("a", "b").seen is not ours("a", "b").seen


def test_a_frozen_one_does_not_change():
    one = shape(frozen)("a", "b")
    with pytest.raises(FrozenInstanceError, match="name"):
        one.name = "b"
    with pytest.raises(FrozenInstanceError):
        del one.name
    with pytest.raises((FrozenInstanceError, TypeError)):
        one.other = 1
    assert one.name == "a"


def test_a_mutable_one_does_but_has_no_other_fields():
    one = shape(mutable)("a", "b")
    one.name = "c"
    assert one == shape_of(one, "c")
    with pytest.raises(AttributeError):
        one.other = 1
    with pytest.raises(TypeError, match="unhashable"):
        hash(one)


def shape_of(one: Any, name: str) -> Any:
    return type(one)(name, "b")


@frozen
class Point:
    """Hashed by its fields."""

    x: int
    y: int = 0
    note: str = field(default="", compare=False)


def test_a_frozen_one_is_hashed_by_what_is_compared():
    assert hash(Point(1, 2, "a")) == hash(Point(1, 2, "b")) != hash(Point(2, 1))
    assert {Point(1): "one"}[Point(1, note="again")] == "one"
    assert replace(Point(1), y=3) == Point(1, 3)
    assert copy.copy(Point(1, 2)) == copy.deepcopy(Point(1, 2)) == Point(1, 2)


class Colour(IdentityEnum):
    RED = "red"
    CRIMSON = "red"
    BLUE = "blue"


def test_members_are_found_by_what_they_are():
    assert {Colour.RED: 1, Colour.BLUE: 2}[Colour.CRIMSON] == 1
    assert Colour("blue") is copy.deepcopy(Colour.BLUE)
    assert hash(Colour.RED) == object.__hash__(Colour.RED)


@pytest.mark.parametrize("make", [frozen, mutable])
def test_what_a_class_writes_itself_stays(make):
    @make
    class Own:
        """Own."""

        x: int

        def __repr__(self) -> str:
            return "mine"

        def __eq__(self, other: object) -> bool:
            return True

        def __hash__(self) -> int:
            return 7

    own: Any = Own
    assert (repr(own(1)), own(1) == 3, hash(own(1))) == ("mine", True, 7)


def test_a_class_without_fields():
    @frozen
    class Nothing:
        """Nothing."""

    assert Nothing() == Nothing()
    assert repr(Nothing()).endswith("Nothing()")
