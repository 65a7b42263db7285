"""All settings of all sources as one flat table: path -> value, and where it was written.

``("route", "github", "path")`` is a key of a table, ``("tls", 0, "cert")`` one of the first table in a list, and the
path of a table itself is there too, with the place where it begins. Flags, environment and file each make a ``Tree``;
laying one over the other is the precedence. Values have been read by the kinds of the schema. Views answer with the
schema's default where nothing was written.
"""

from __future__ import annotations

import os.path
from collections.abc import Mapping
from dataclasses import field
from typing import TypeVar

from proxy.config.schema import SECTIONS, Path
from proxy.values import frozen

T = TypeVar("T")


@frozen
class Entry:
    """One value. ``base`` is the folder that relative paths start from."""

    value: object = field(repr=False)  # a reference to a secret may be a secret by mistake
    where: str
    base: str = ""


class Tree:
    """The entries by path, in the order they were written."""

    def __init__(self, entries: Mapping[Path, Entry] | None = None) -> None:
        self.entries: dict[Path, Entry] = dict(entries or {})
        #: What was written but not understood, a misspelt key under its right name: nobody is told that it is
        #: missing, too. The empty path stands for a whole source that could not be read.
        self.broken: set[Path] = set()

    def under(self, higher: Tree) -> Tree:
        """This tree with ``higher`` laid over it, key by key.

        A list of secrets is replaced as a whole, for mixing old keys with new ones is nobody's wish; of several
        certificates only the first is left where a flag names one.
        """
        secrets = {path[: path.index("secrets") + 1] for path in higher.entries if "secrets" in path}
        has_tls = any(path[0] == "tls" for path in higher.entries)
        kept = {
            path: entry
            for path, entry in self.entries.items()
            if not any(path[: len(root)] == root for root in secrets)
            and not (has_tls and path[0] == "tls" and len(path) > 1 and path[1] != 0)
        }
        merged = Tree(kept | higher.entries)
        merged.broken = self.broken | higher.broken
        return merged

    def names(self, *prefix: str | int) -> list[str]:
        """The names of the tables below ``prefix``, in order."""
        at = len(prefix)
        return list(dict.fromkeys(str(p[at]) for p in self.entries if len(p) > at and p[:at] == prefix))

    def indexes(self, *prefix: str | int) -> list[int]:
        """The numbers of the tables in the list at ``prefix``."""
        at = len(prefix)
        found = (path[at] for path in self.entries if len(path) > at and path[:at] == prefix)
        return list(dict.fromkeys(part for part in found if isinstance(part, int)))

    def first(self, *prefix: str | int) -> str:
        """Where the first key of the table at ``prefix`` was written; "" where none was."""
        at = len(prefix)
        written = ((path, entry) for path, entry in self.entries.items() if entry.value is not None)
        return next((entry.where for path, entry in written if len(path) > at and path[:at] == prefix), "")

    def view(self, section: str, *prefix: str | int) -> View:
        """The table at ``prefix``, which the schema describes under ``section``."""
        return View(self, section, prefix)


@frozen
class View:
    """One table, with the schema's defaults behind it."""

    tree: Tree
    section: str
    prefix: Path

    def __contains__(self, name: str) -> bool:
        return (*self.prefix, name) in self.tree.entries

    @property
    def exists(self) -> bool:
        """Whether anything of the table was written."""
        return any(path[: len(self.prefix)] == self.prefix for path in self.tree.entries)

    def where(self, name: str = "") -> str:
        """The place of a key, or else of its table, for a ``Problem``."""
        for path in ((*self.prefix, name), self.prefix):
            if path in self.tree.entries:
                return self.tree.entries[path].where
        inside = [entry.where for path, entry in self.tree.entries.items() if path[: len(self.prefix)] == self.prefix]
        if self.prefix and inside:
            return inside[0]
        return ".".join(map(str, (*self.prefix, name) if name else self.prefix)) or "the configuration"

    def doubtful(self, *names: str) -> bool:
        """Whether one of these keys was written and could not be read."""
        broken, at = self.tree.broken, len(self.prefix)
        wrong = {path[at] for path in broken if len(path) > at and path[:at] == self.prefix}
        return () in broken or not wrong.isdisjoint(names)

    def entry(self, name: str) -> Entry | None:
        """The entry of a key, or None where nothing was written."""
        return self.tree.entries.get((*self.prefix, name))

    def get(self, name: str, kind: type[T]) -> T | None:
        """The value of a key (the default where nothing was written), or None where there is neither."""
        key = SECTIONS[self.section].key(name)
        assert key is not None, name
        entry = self.entry(name)
        value = entry.value if entry is not None else None if key.default is None else key.kind.read(key.default)
        assert value is None or isinstance(value, kind), name
        return value

    def need(self, name: str, kind: type[T]) -> T:
        """As ``get``, for keys that have a default."""
        value = self.get(name, kind)
        assert value is not None, name
        return value

    def items(self, name: str, kind: type[T]) -> tuple[T, ...]:
        """The values of a list, () where nothing was written and there is no default."""
        key = SECTIONS[self.section].key(name)
        assert key is not None, name
        assert key.many, name
        entry = self.entry(name)
        if entry is not None:
            values = entry.value
        else:
            default = key.default if isinstance(key.default, list) else []
            values = tuple(key.kind.read(one) for one in default)
        assert isinstance(values, tuple)
        assert all(isinstance(value, kind) for value in values), name
        return values

    def file(self, name: str) -> str | None:
        """The full path of a file, relative to the file that names it."""
        entry = self.entry(name)
        if entry is None:
            return None
        return os.path.join(entry.base, str(entry.value))  # noqa: PTH118  # "" keeps a relative path as it was typed
