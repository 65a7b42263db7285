"""``frozen`` and ``mutable``: the standard dataclasses with slots, and methods that all of them share.

A start makes some hundred and thirty such classes, and the standard decorator compiles up to six methods for each. What
need not be compiled is shared here, and of a frozen class ``__init__`` alone is. ``field`` (but for ``kw_only``),
``fields`` and ``replace`` mean what they always do, and what a class writes itself is left alone. The names are those
of attrs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import MISSING, FrozenInstanceError, dataclass, field, fields
from enum import Enum
from functools import cache
from typing import Any, NoReturn, TypeVar, cast, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def frozen(cls: type[T]) -> type[T]:
    """A class whose instances never change. They are equal, and hashed, by their fields."""
    made = _made(cls, {"__repr__": _repr, "__eq__": _eq, "__hash__": _hash, **_FROZEN}, init=False)
    if "__init__" not in vars(made):
        made.__init__ = _init_of(made)  # type: ignore[method-assign]  # made for this class
    return made


@dataclass_transform(field_specifiers=(field,))
def mutable(cls: type[T]) -> type[T]:
    """A class whose instances are filled in as time goes by. They are equal by their fields and cannot be hashed."""
    return _made(cls, {"__repr__": _repr, "__eq__": _eq, "__hash__": None}, init=True)


def _made(cls: type[T], methods: dict[str, object], *, init: bool) -> type[T]:
    for name in methods.keys() - vars(cls).keys():
        setattr(cls, name, methods[name])
    made = dataclass(cls, init=init, slots=True, eq=False, repr=False)
    if "__weakref__" in vars(made):
        delattr(made, "__weakref__")  # of ``cls``, which it would keep: Python before 3.11.3 hands it on
    return made


def _init_of(cls: type) -> Callable[..., None]:
    given, lines = ["self"], []
    names: dict[str, Any] = {"__name__": cls.__module__, "put": object.__setattr__, "MISSING": MISSING}
    for each in fields(cls):
        name, other = each.name, f"other_{each.name}"
        value = name if each.init else other
        if each.default is not MISSING:
            names[other] = each.default
        elif each.default_factory is not MISSING:
            names[other] = each.default_factory
            value = f"{other}() if {name} is MISSING else {name}" if each.init else f"{other}()"
        elif not each.init:
            continue  # ``__post_init__`` sets it
        if each.init:
            given.append(name if other not in names else f"{name}={other if value is name else 'MISSING'}")
        lines.append(f"put(self, {name!r}, {value})")
    if hasattr(cls, "__post_init__"):
        lines.append("self.__post_init__()")
    exec(f"def __init__({', '.join(given)}):\n " + "\n ".join(lines or ["pass"]), names)  # noqa: S102 - of names alone
    made: Callable[..., None] = names.pop("__init__")
    made.__qualname__ = f"{cls.__qualname__}.__init__"
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


def _state(self: Any) -> list[object]:
    return [getattr(self, each.name) for each in fields(self)]


def _set_state(self: object, state: Iterable[object]) -> None:
    for each, value in zip(fields(cast("Any", self)), state, strict=True):
        object.__setattr__(self, each.name, value)


_FROZEN = {
    "__setattr__": _set_nothing,
    "__delattr__": _delete_nothing,
    "__getstate__": _state,
    "__setstate__": _set_state,
}


class IdentityEnum(Enum):
    """An enum for busy places: members are hashed as the single objects that they are, not by their names in Python."""

    __hash__ = object.__hash__
