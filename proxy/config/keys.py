"""What the schema says of one key and one table. This module reads nothing and decides nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import field

from proxy.config.kinds import SIZE, TIME, Kind
from proxy.config.sizes import show_size, show_time
from proxy.core.payload import Glob, PayloadCondition, Pointer, Wanted
from proxy.errors import Mistake
from proxy.values import frozen


@frozen
class Key:
    """One key of a table. ``default``, ``minimum`` and ``maximum`` are written as in TOML."""

    name: str
    kind: Kind
    doc: str
    default: object = None
    many: bool = False  # a list; a single value counts as a list of one
    minimum: object = None
    maximum: object = None
    at_limit: str = ""
    tighten: bool = False  # a route may set it too, but not loosen it
    flag: str = ""  # without "--"
    table: str = ""  # the section that describes the table (or, with ``many``, each table of the list)
    named: bool = False  # a table of tables with names of the user's choice
    bare: str = ""  # of a table: the key that a text in its place stands for
    repeat: bool = False  # the flag may be given several times though the key is no list
    fallback: object = field(init=False, repr=False)  # the default, read

    def __post_init__(self) -> None:
        default = self.default
        read = tuple(map(self.kind.read, default)) if isinstance(default, list) else default
        read = read if default is None or self.many else self.kind.read(default)
        object.__setattr__(self, "fallback", read)

    @property
    def attribute(self) -> str:
        """The name of its field in ``Settings``, ``Limits`` or ``ServerLimits``: times end in ``_s``."""
        return self.name + "_s" if self.kind is TIME else self.name

    def show(self, value: float) -> str:
        """A value that was read, as one writes it."""
        if self.kind is TIME:
            return show_time(value)
        return show_size(int(value)) if self.kind is SIZE else str(value)


@frozen
class Section:
    """One table of the file."""

    title: str
    doc: str
    keys: tuple[Key, ...]
    by_name: Mapping[str, Key] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_name", {key.name: key for key in self.keys})

    def key(self, name: str) -> Key | None:
        """The key called ``name``."""
        return self.by_name.get(name)


# -- ``where`` of a route: a table of places in a payload and what must be there, read into conditions.

FORM = 'write { "action" = ["opened"], "repository.full_name" = "org/*" }'
_PLACE_FORM = 'write keys with dots between them, such as "repository.full_name"; "labels[].name" is of each element'
#: Of one route: each looks at the payload again.
MAX_CONDITIONS = 32


def read_where(value: object) -> tuple[PayloadCondition, ...]:
    """The conditions of a table; one in a table stands below its name. Mistake says which of them is wrong."""
    if not isinstance(value, Mapping):
        raise Mistake("is not a table", FORM)
    conditions = tuple(_condition(place, wanted) for place, wanted in _flat(value))
    if not conditions:
        raise Mistake("is an empty table", "remove the key, or name what must be there")
    if len(conditions) > MAX_CONDITIONS:
        raise Mistake(f"has {len(conditions)} conditions", f"at most {MAX_CONDITIONS} are looked at")
    return conditions


def _place(value: object) -> object:
    if not isinstance(value, str):
        raise Mistake("is not a text", _PLACE_FORM)
    try:
        return Pointer.parse(value).text if value else ""
    except ValueError:
        raise Mistake(f"{value[:80]!r} is no place in a payload", _PLACE_FORM) from None


WHERE = Kind("table", FORM, read_where)
PLACE = Kind("place in a payload", _PLACE_FORM, _place)


def _flat(table: Mapping[str, object], above: str = "") -> Iterator[tuple[str, object]]:
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{name}.")
        else:
            yield above + name, value


def _condition(place: str, wanted: object) -> PayloadCondition:
    shown = place[:80]
    try:
        pointer = Pointer.parse(place)
    except ValueError:
        raise Mistake(f"{shown!r} is no place in a payload", _PLACE_FORM) from None
    values = wanted if isinstance(wanted, list) else [wanted]
    if not values:
        raise Mistake(f"{shown!r} has an empty list", "remove it, or name at least one value")
    one_of, none_of = [], []
    for value in values:
        if isinstance(value, str) and value.startswith("!"):
            none_of.append(_glob(shown, value[1:]))
        else:
            one_of.append(_wanted(shown, value))
    return PayloadCondition(pointer, tuple(one_of), tuple(none_of))


def _wanted(shown: str, value: object) -> Wanted:
    if isinstance(value, str):
        return _glob(shown, value)
    if isinstance(value, bool | int | float):
        return value
    raise Mistake(f"{shown!r} has a value that is no text, number or boolean", "write one of these, or a list of them")


def _glob(shown: str, text: str) -> Glob:
    try:
        return Glob.parse(text)
    except ValueError as error:
        mend = "a backslash stands before * and ! that mean themselves, and before another one"
        raise Mistake(f"{shown!r}: {text[:80]!r} {error}", mend) from None
