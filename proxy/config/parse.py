"""From TOML (or any mapping) to a ``Tree``: every key known, every value of its kind and inside its range.

All mistakes go into one ``Problems``; what is wrong is left out of the tree, so that the rest can still be judged. No
file is read here but the text that is handed in, and no secret: a reference is looked at for its prefix only.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import field

from proxy.config.kinds import read_within
from proxy.config.locate import line_of, locate
from proxy.config.problems import Mistake, Problems, nearest
from proxy.config.schema import SECTIONS, Key, Path, Section
from proxy.config.tree import Entry, Tree
from proxy.values import mutable

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
#: Words that people use for a key of ours, and that no spelling check would find.
_SYNONYMS = {
    "secret": "secrets",
    "backend": "upstream",
    "target": "upstream",
    "forward": "upstream",
    "proxy_pass": "upstream",
    "port": "listen",
    "bind": "listen",
    "methods_allowed": "methods",
    "routes": "route",
    "certificate": "cert",
    "private_key": "key",
    "expires": "not_after",
    "ips": "allow",
    "whitelist": "allow",
    "allowlist": "allow",
}


@mutable
class Source:
    """Where a mapping came from: the file's name as the user gave it, its folder, and its lines."""

    name: str
    base: str = ""
    lines: Mapping[Path, int] = field(default_factory=dict)

    def where(self, path: Path) -> str:
        """``hookward.toml:12: route.github.path``."""
        line = line_of(self.lines, path)
        shown = dotted(path)
        return ": ".join(part for part in (self.name if line is None else f"{self.name}:{line}", shown) if part)


def dotted(path: Path) -> str:
    """A path as people write it: ``route.github.secrets[1].from``."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{_key(part)}" for part in path).removeprefix(".")


def _key(part: str) -> str:
    """A key as TOML has it. In quotes where it has a dot: route ``a`` and route ``"a.b"`` are two."""
    return f'"{part}"' if "." in part else part


def parse_text(text: str, name: str, base: str, problems: Problems) -> Tree:
    """The tree of a TOML text. A syntax error is one problem, with its line, and gives an empty tree."""
    try:
        tables = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        what, line = _syntax(error, text)
        problems.add(
            f"{name}:{line}" if line else name, f"this is not TOML: {what}", "see https://toml.io for the form"
        )
        return unreadable()
    return parse_tables(tables, Source(name, base, locate(text)), problems)


def unreadable() -> Tree:
    """The tree of a source that could not be read: nobody is told that something is missing in it."""
    tree = Tree()
    tree.broken.add(())
    return tree


def parse_tables(tables: Mapping[str, object], source: Source, problems: Problems) -> Tree:
    """The tree of a mapping of TOML values."""
    walk = _Walk(source, problems)
    walk.table(tables, SECTIONS[""], ())
    return walk.tree


def read_value(key: Key, value: object) -> object:
    """``value`` read by the key's kind and checked against its range; Mistake says what is wrong."""
    return read_within(key.kind, value, key.minimum, key.maximum)


@mutable
class _Walk:
    """One pass over the tables of a source."""

    source: Source
    problems: Problems
    tree: Tree = field(default_factory=Tree)
    singles: set[Path] = field(default_factory=set)  # lists of tables that were written as one table

    def table(self, table: Mapping[str, object], section: Section, path: Path) -> None:
        if path:
            self._put(path, None)
        for name, value in table.items():
            key = section.key(name)
            at = (*path, name)
            if key is None:
                self._unknown(at, section)
            elif key.named:
                self._named(value, SECTIONS[key.table], at)
            elif key.table:
                self._nested(value, key, at)
            elif key.many:
                self._list(value, key, at)
            else:
                self._scalar(value, key, at)

    def _named(self, value: object, section: Section, at: Path) -> None:
        if not isinstance(value, Mapping):
            self._problem(at, "is not a table", f"write {section.title} and the keys below it")
            return
        for name, inner in value.items():
            below = (*at, name)
            if not _NAME.fullmatch(name):
                self._problem(below, "is not a name", "use 1 to 64 letters, digits, '.', '_' and '-'")
            elif not isinstance(inner, Mapping):
                self._problem(below, "is not a table", f"write {section.title.replace('NAME', name)} and keys below it")
            elif section.opaque:
                self._put(below, dict(inner))
                for key in inner:
                    self._put((*below, key), None)  # for its line
            else:
                self.table(inner, section, below)

    def _nested(self, value: object, key: Key, at: Path) -> None:
        section = SECTIONS[key.table]
        if not key.many:
            if isinstance(value, Mapping):
                self.table(value, section, at)
            else:
                self._problem(at, "is not a table", f"keys here: {_names(section)}")
            return
        single = not isinstance(value, list)
        items = value if isinstance(value, list) else [value]
        if single:
            self.singles.add(at)
        for index, item in enumerate(items):
            below = (*at, index)
            if isinstance(item, Mapping):
                self.table(item, section, below)
            elif key.bare and isinstance(item, str):
                self._put(below, None)
                self._scalar(item, section.key(key.bare), (*below, key.bare), shown=below)
            else:
                self._problem(below, "is not a table", f"keys here: {_names(section)}")

    def _list(self, value: object, key: Key, at: Path) -> None:
        items = value if isinstance(value, list) else [value]
        read = []
        for index, item in enumerate(items):
            try:
                read.append(read_value(key, item))
            except Mistake as mistake:
                shown = (*at, index) if isinstance(value, list) else at
                self._problem(shown, mistake.what, mistake.mend)
        if not items:
            self._problem(at, "is an empty list", "remove the key, or name at least one")
        elif len(read) == len(items):
            self._put(at, tuple(read))

    def _scalar(self, value: object, key: Key | None, at: Path, shown: Path | None = None) -> None:
        assert key is not None
        try:
            self._put(at, read_value(key, value), shown)
        except Mistake as mistake:
            self._problem(shown or at, mistake.what, mistake.mend)
            self.tree.broken.add(at)

    def _where(self, path: Path) -> str:
        """The place of ``path`` as it was written: without a number where one table stands for a list."""
        numbers = {at for at, part in enumerate(path) if isinstance(part, int) and path[:at] in self.singles}
        return self.source.where(tuple(part for at, part in enumerate(path) if at not in numbers))

    def _unknown(self, at: Path, section: Section) -> None:
        known = [key.name for key in section.keys]
        synonym = _SYNONYMS.get(str(at[-1]))
        meant = synonym if synonym in known else nearest(str(at[-1]), known)
        mend = f"did you mean {meant!r}?" if meant else f"keys here: {_names(section)}"
        self.problems.add(self._where(at), "unknown key", mend)
        if meant is not None:
            self.tree.broken.add((*at[:-1], meant))

    def _problem(self, at: Path, what: str, mend: str) -> None:
        self.tree.broken.add(at)
        self.problems.add(self._where(at), what, mend)

    def _put(self, at: Path, value: object, shown: Path | None = None) -> None:
        self.tree.entries[at] = Entry(value, self._where(shown or at), self.source.base)


def _names(section: Section) -> str:
    return ", ".join(key.name for key in section.keys)


def _syntax(error: Exception, text: str) -> tuple[str, int | None]:
    """What tomllib says, without the place, and the line. It quotes keys and single characters, never values."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply", None
    match = re.search(r" \(at (?:line ([0-9]+), column [0-9]+|end of document)\)$", str(error))
    if match is None:
        return str(error)[:160], None
    line = int(match[1]) if match[1] else text.rstrip().count("\n") + 1
    return str(error)[: match.start()][:160], line
