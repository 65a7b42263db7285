"""``frozen`` and ``mutable``: classes of named fields, as dataclasses make them, at a third of their price.

A start makes a hundred such classes, and the standard decorator compiles up to six methods for each: that alone took a
quarter of the time until the first answer, and most of a megabyte. Here ``dataclasses`` still reads the fields and
makes the slots, so that ``field``, ``fields`` and ``replace`` mean what they always do; but only ``__init__`` is
compiled, and all classes share the other methods. What a class writes itself is left alone. The names are those of
attrs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, FrozenInstanceError, dataclass, field, fields
from functools import cache
from typing import Any, NoReturn, TypeVar, dataclass_transform, overload

T = TypeVar("T")


@overload
@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def frozen(cls: type[T], /) -> type[T]: ...


@overload
@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def frozen(*, eq: bool = True) -> Callable[[type[T]], type[T]]: ...


def frozen(cls: type[T] | None = None, /, *, eq: bool = True) -> type[T] | Callable[[type[T]], type[T]]:
    """A class whose instances never change. They are equal, and hashed, by their fields; with ``eq`` False each is
    itself alone.
    """
    methods = {"__repr__": _repr, "__setattr__": _refuse, "__delattr__": _refuse, "__setstate__": _fill}
    methods |= {"__eq__": _eq, "__hash__": _hash} if eq else {}
    make: Callable[[type[T]], type[T]] = _maker(methods, "set(self, {0!r}, {1})")
    return make if cls is None else make(cls)


@overload
@dataclass_transform(field_specifiers=(field,))
def mutable(cls: type[T], /) -> type[T]: ...


@overload
@dataclass_transform(field_specifiers=(field,))
def mutable(*, eq: bool = True) -> Callable[[type[T]], type[T]]: ...


def mutable(cls: type[T] | None = None, /, *, eq: bool = True) -> type[T] | Callable[[type[T]], type[T]]:
    """A class whose instances are filled in as time goes by. They are equal by their fields and cannot be hashed; with
    ``eq`` False each is itself alone.
    """
    methods: dict[str, Any] = {"__repr__": _repr}
    methods |= {"__eq__": _eq, "__hash__": None} if eq else {}
    make: Callable[[type[T]], type[T]] = _maker(methods, "self.{0} = {1}")
    return make if cls is None else make(cls)


def _maker(methods: dict[str, Any], assignment: str) -> Callable[[type[T]], type[T]]:
    def make(cls: type[T]) -> type[T]:
        own = set(vars(cls))
        made = dataclass(init=False, repr=False, eq=False, slots=True)(cls)
        for name, method in methods.items():
            if name not in own:
                setattr(made, name, method)
        setattr(made, "__init__", _init(made, assignment))  # noqa: B010 - a type checker forbids the other way
        return made

    return make


def _init(cls: type, assignment: str) -> Callable[..., None]:
    """``__init__`` of a class: one assignment for each field, then ``__post_init__`` where it has one."""
    known: dict[str, Any] = {"set": object.__setattr__, "MISSING": MISSING}
    parameters = ["self"]
    body = []
    for each in fields(cls):
        name = each.name
        given = name
        if each.default_factory is not MISSING:
            known[f"make_{name}"] = each.default_factory
            given = f"make_{name}() if {name} is MISSING else {name}" if each.init else f"make_{name}()"
            parameters += [f"{name}=MISSING"] if each.init else []
        elif each.default is not MISSING:
            known[f"default_{name}"] = each.default
            parameters += [f"{name}=default_{name}"] if each.init else []
            given = name if each.init else f"default_{name}"
        elif each.init:
            parameters.append(name)
        else:
            continue  # __post_init__ fills it in
        body.append(assignment.format(name, given))
    if hasattr(cls, "__post_init__"):
        body.append("self.__post_init__()")
    source = f"def __init__({', '.join(parameters)}):\n " + "\n ".join(body or ["pass"])
    exec(source, known)  # noqa: S102 - of names that Python took for names, as dataclasses does it
    init: Callable[..., None] = known["__init__"]
    init.__qualname__ = f"{cls.__qualname__}.__init__"
    return init


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


def _fill(self: object, state: tuple[None, dict[str, Any]]) -> None:
    """A copy's fields, as ``object.__getstate__`` gives them."""
    for name, given in state[1].items():
        object.__setattr__(self, name, given)


def _refuse(self: object, name: str, *_: object) -> NoReturn:
    raise FrozenInstanceError(f"{type(self).__name__}.{name} cannot be changed")
