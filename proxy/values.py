"""``frozen`` and ``mutable``: the standard dataclasses with slots, and methods that all of them share.

A start makes some hundred and thirty such classes, and the standard decorator compiles up to six methods for each. What
need not be compiled is shared here; ``field``, ``fields`` and ``replace`` mean what they always do, and what a class
writes itself is left alone. The names are those of attrs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import FrozenInstanceError, dataclass, field, fields
from enum import Enum
from functools import cache, partial
from typing import Any, NoReturn, TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def frozen(cls: type[T]) -> type[T]:
    """A class whose instances never change. They are equal, and hashed, by their fields."""
    made = _made(cls, partial(dataclass, frozen=True), {"__repr__": _repr, "__eq__": _eq, "__hash__": _hash})
    # Those of the standard library ask for the class as it was before it had slots, and raise a TypeError.
    for name, method in (("__setattr__", _set_nothing), ("__delattr__", _delete_nothing)):
        setattr(made, name, method)
        delattr(cls, name)  # that class stays until garbage is collected, and these are compiled for each
    return made


@dataclass_transform(field_specifiers=(field,))
def mutable(cls: type[T]) -> type[T]:
    """A class whose instances are filled in as time goes by. They are equal by their fields and cannot be hashed."""
    return _made(cls, dataclass, {"__repr__": _repr, "__eq__": _eq, "__hash__": None})


def _made(cls: type[T], decorator: Callable[..., type[T]], methods: dict[str, object]) -> type[T]:
    for name in methods.keys() - vars(cls).keys():
        setattr(cls, name, methods[name])
    made = decorator(cls, slots=True, eq=False, repr=False)
    if "__weakref__" in vars(made):
        delattr(made, "__weakref__")  # of ``cls``, which it would keep: Python before 3.11.3 hands it on
    return made


@cache
def _compared(cls: type) -> tuple[str, ...]:
    # Of several upstreams one is chosen by comparing, for every delivery.
    return tuple(each.name for each in fields(cls) if each.compare)


def _key(one: Any) -> tuple[Any, ...]:
    return tuple([getattr(one, name) for name in _compared(one.__class__)])


def _eq(self: Any, other: object) -> object:
    if other.__class__ is not self.__class__:
        return NotImplemented
    return other is self or _key(self) == _key(other)


def _hash(self: Any) -> int:
    return hash(_key(self))


def _repr(self: Any) -> str:
    shown = [f"{each.name}={getattr(self, each.name)!r}" for each in fields(self) if each.repr]
    return f"{self.__class__.__qualname__}({', '.join(shown)})"


def _set_nothing(_self: object, name: str, _value: object) -> NoReturn:
    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _delete_nothing(_self: object, name: str) -> NoReturn:
    raise FrozenInstanceError(f"cannot delete field {name!r}")


class IdentityEnum(Enum):
    """An enum for busy places: members are hashed as the single objects that they are, not by their names in Python."""

    __hash__ = object.__hash__
