"""What the schema says of one key and one table. This module reads nothing and decides nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from proxy.config.kinds import SIZE, TIME, Kind
from proxy.config.sizes import show_size, show_time
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
