"""What was written, as a tree of tables: each value with the place where it stands.

Flags, environment and file each make a tree; laying one over the other is the precedence. Values have been read by the
kinds of the schema, and a table answers with the schema's default where nothing was written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import field, fields
from typing import Any, TypeVar

from proxy.config.guarded_files import beside
from proxy.config.keys import Key, Section
from proxy.config.problems import Problems
from proxy.config.schema import SECTIONS
from proxy.config.secret_files import read_reference
from proxy.errors import Mistake, Path, Place
from proxy.values import frozen

T = TypeVar("T")


@frozen
class Entry:
    """One value. ``base`` is the folder that relative paths start from.

    A value is what its kind reads, or a tuple of such; a ``Table``, a list of them, or a dictionary of them by name.
    """

    value: object = field(repr=False)  # a reference to a secret may be a secret by mistake
    place: Place
    base: str = ""


class Table:
    """One table: what was written in it, the schema's defaults behind it, and where its mistakes are told."""

    __slots__ = ("entries", "path", "place", "problems", "section")

    def __init__(self, problems: Problems, section: str = "", path: Path = (), place: Place | None = None) -> None:
        self.problems = problems
        self.section: Section = SECTIONS[section]
        self.path = path
        self.place = place  # None: it was not written
        self.entries: dict[str, Entry] = {}

    def under(self, higher: Table) -> Table:
        """This table with ``higher`` laid over it, key by key."""
        merged = Table(self.problems, path=self.path, place=self.place or higher.place)
        merged.section = self.section
        merged.entries = dict(self.entries)
        for name, entry in higher.entries.items():
            mine = merged.entries.get(name)
            merged.entries[name] = entry if mine is None else _laid_over(mine, entry, self._key(name))
        return merged

    def reach(self, path: Path, place: Place) -> Table:
        """The table at ``path`` below this one; it and those on the way are made where they are not there yet."""
        if not path:
            return self
        name = str(path[0])
        key = self._key(name)
        used = path[: 2 if key.named or key.many else 1]
        new = Table(self.problems, key.table, (*self.path, *used))
        value = self.entries.setdefault(name, Entry({} if key.named else [] if key.many else new, place)).value
        if isinstance(value, dict):
            value = value.setdefault(used[1], new)
        elif isinstance(value, list):
            value[len(value) :] = [new] if used[1] == len(value) else []
            value = value[int(used[1])]
        assert isinstance(value, Table)
        return value.reach(path[len(used) :], place)

    def put(self, path: Path, value: object, place: Place, base: str = "") -> None:
        """Write a value that has been read at ``path`` below this table."""
        self.reach(path[:-1], place).entries[str(path[-1])] = Entry(value, place, base)

    def clear(self) -> None:
        """Give up the named tables one by one: thousands of them in one go would hold up all other threads."""
        for name, key in self.section.by_name.items():
            tables = self.named(name) if key.named else {}
            while tables:
                tables.popitem()

    def leaves(self, path: Path = ()) -> Iterator[tuple[Path, Entry]]:
        """Every value that is no table, by its path from here (begun with ``path``)."""
        for name, entry in self.entries.items():
            at, value = (*path, name), entry.value
            if isinstance(value, Table):
                yield from value.leaves(at)
            elif isinstance(value, list | dict):
                for part, table in value.items() if isinstance(value, dict) else enumerate(value):
                    yield from table.leaves((*at, part))
            else:
                yield at, entry

    def __contains__(self, name: str) -> bool:
        return name in self.entries

    @property
    def exists(self) -> bool:
        """Whether anything of the table was written."""
        return self.place is not None or bool(self.entries)

    def where(self, name: str = "") -> Place:
        """The place of a key, or else of its table."""
        if name in self.entries:
            return self.entries[name].place
        own = self.place or next((entry.place for entry in self.entries.values() if self.path), None)
        return own or Place(key=(*self.path, name) if name else self.path or ("the configuration",))

    def first(self) -> Place:
        """Where the first value in it was written."""
        return next((entry.place for _, entry in self.leaves()), self.where())

    def wrong(self, name: str, what: str, mend: str) -> None:
        """Note a mistake at a key, or ("") at the table."""
        self.problems.add(self.where(name), what, mend)

    def lacks(self, name: str, what: str, mend: str, at: str = "") -> None:
        """Note at the key ``at`` that ``name`` is missing, unless it was written and could not be read."""
        if not self.doubtful(name):
            self.wrong(at, what, mend)

    def warn(self, rule: str, name: str, text: str) -> None:
        """Note a warning at a key, or ("") at the table."""
        self.problems.warn(rule, self.where(name), text)

    def written(self, name: str) -> bool:
        """Whether a key was written, be it that it could not be read."""
        return name in self.entries or self.doubtful(name)

    def doubtful(self, *names: str) -> bool:
        """Whether one of these keys was written and could not be read."""
        return any(self.problems.doubts((*self.path, name)) for name in names)

    def entry(self, name: str) -> Entry | None:
        """The entry of a key, or None where nothing was written."""
        return self.entries.get(name)

    def differs(self, name: str) -> bool:
        """Whether something else than its default, or nothing, was written at a key."""
        entry = self.entries.get(name)
        return entry is not None and entry.value not in (self._key(name).fallback, "")

    def get(self, name: str, kind: type[T]) -> T | None:
        """The value of a key (the default where nothing was written), or None where there is neither."""
        entry = self.entries.get(name)
        value = self._key(name).fallback if entry is None else entry.value
        assert value is None or isinstance(value, kind), name
        return value

    def need(self, name: str, kind: type[T]) -> T:
        """As ``get``, for keys that have a default."""
        value = self.get(name, kind)
        assert value is not None, name
        return value

    def items(self, name: str, kind: type[T]) -> tuple[T, ...]:
        """The values of a list, () where nothing was written and there is no default."""
        values = self.get(name, tuple) or ()
        assert all(isinstance(value, kind) for value in values), name
        return values

    def file(self, name: str) -> str | None:
        """The full path of a file, relative to the file that names it."""
        entry = self.entries.get(name)
        return None if entry is None else beside(entry.base, str(entry.value))

    def secret(self, name: str, environ: Mapping[str, str], making: str = "") -> bytes | None:
        """What the reference at a key leads to, or None; none there is a problem, mended by ``making``."""
        entry = self.entries.get(name)
        if entry is None:
            return None
        try:
            found = read_reference(str(entry.value), entry.base, environ, making)
        except Mistake as mistake:
            self.wrong(name, mistake.what, mistake.mend)
            return None
        for note in found.notes:
            self.warn(note.rule, name, note)
        return found.value

    def fields(self, made: type) -> dict[str, Any]:
        """The values of all keys that have a field in the class ``made``, by name; the schema sees to their kinds."""
        names = {each.name for each in fields(made)}
        keys = [key for key in self.section.keys if key.attribute in names and not key.table]
        return {key.attribute: (self.items if key.many else self.get)(key.name, object) for key in keys}

    def table(self, name: str) -> Table:
        """The table at a key; an empty one where nothing was written."""
        return self.get(name, Table) or Table(self.problems, self._key(name).table, (*self.path, name))

    def tables(self, name: str) -> list[Table]:
        """The tables of a list, in order."""
        return self.get(name, list) or []

    def named(self, name: str) -> dict[str, Table]:
        """The tables with names of the user's choice, in order."""
        return self.get(name, dict) or {}

    def _key(self, name: str) -> Key:
        key = self.section.key(name)
        assert key is not None, name
        return key


def _laid_over(lower: Entry, higher: Entry, key: Key) -> Entry:
    """A list is replaced as a whole, for keys of two places were never meant to be mixed; but the one certificate that
    flags name completes the first of a file, and leaves no other.
    """
    match lower.value, higher.value:
        case Table() as low, Table() as high:
            return Entry(low.under(high), lower.place)
        case dict() as low, dict() as high:
            both = {name: low[name].under(table) if name in low else table for name, table in high.items()}
            return Entry({**low, **both}, lower.place)
        case [Table() as low, *_], [Table() as high, *_] if not key.bare:
            return Entry([low.under(high)], lower.place)
    return higher
