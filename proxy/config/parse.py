"""From TOML (or any mapping) to a tree of tables: every key known, every value of its kind and inside its range.

All mistakes go into one ``Problems``; what is wrong is left out of the tree, so that the rest can still be judged. No
file is read here but the text that is handed in, and no secret: a reference is looked at for its prefix only.

``tomllib`` gives values without places, and a problem is mended faster with a line number. ``locate`` reads a text that
``tomllib`` has accepted, so it may be simple: it follows headers, keys, brackets and strings, and what it does not
follow (a key inside an inline table) has the line of the key around it. It never raises on such a text.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import field

from proxy.config.keys import Key, Section
from proxy.config.kinds import TABLE, read_within
from proxy.config.notation import NAME, NAME_FORM
from proxy.config.problems import Problems, nearest
from proxy.config.schema import SECTIONS
from proxy.config.tree import Entry, Table
from proxy.errors import Mistake, Path, Place
from proxy.values import frozen

_EMPTY = ("is an empty list", "remove the key, or name at least one")
#: Words that people use for a key of ours, and that no spelling check would find.
_SYNONYMS = {
    **dict.fromkeys(("backend", "target", "forward", "proxy_pass"), "upstream"),
    **dict.fromkeys(("port", "bind"), "listen"),
    **dict.fromkeys(("ips", "whitelist", "allowlist"), "allow"),
    "secret": "secrets",
    "methods_allowed": "methods",
    "routes": "route",
    "certificate": "cert",
    "private_key": "key",
    "expires": "not_after",
}


@frozen
class Source:
    """Where a mapping came from: the file's name as the user gave it, its folder, and its lines."""

    name: str
    base: str = ""
    lines: Mapping[Path, int] = field(default_factory=dict)

    def place(self, path: Path) -> Place:
        """Where the key at ``path`` stands, or the nearest one around it."""
        return Place(self.name, line_of(self.lines, path), path)


def parse_text(text: str, name: str, base: str, problems: Problems) -> Table:
    """The tree of a TOML text. A syntax error is one problem, with its line, and gives an empty tree."""
    try:
        tables = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        what, line = _syntax(error, text)
        problems.add(Place(name, line), f"this is not TOML: {what}", "see https://toml.io for the form")
        problems.unreadable = True
        return Table(problems)
    return parse_tables(tables, Source(name, base, locate(text)), problems)


def parse_tables(tables: Mapping[str, object], source: Source, problems: Problems) -> Table:
    """The tree of a mapping of TOML values."""
    return _Walk(source, problems).table(tables, "", ())


def read_value(key: Key, value: object) -> object:
    """``value`` read by the key's kind and checked against its range; Mistake says what is wrong."""
    return read_within(key.kind, value, key.minimum, key.maximum)


@frozen
class _Walk:
    """One pass over the tables of a source. A path has no number where one table stands for a list."""

    source: Source
    problems: Problems

    def table(self, written: Mapping[str, object], section: str, path: Path) -> Table:
        made = Table(self.problems, section, path, self.source.place(path) if path else None)
        for name, value in written.items():
            key = made.section.key(name)
            at = (*path, name)
            if key is None:
                self._unknown(at, made.section)
                continue
            read = self._value(value, key, at)
            if read is not None:
                made.entries[name] = self._entry(read, at)
        return made

    def _value(self, value: object, key: Key, at: Path) -> object | None:
        """What is written at a key, read; None where it could not be."""
        if key.named:
            return self._named(value, key.table, at)
        if key.table:
            return self._tables(value, key, at) if key.many else self._nested(value, key, at)
        return self._list(value, key, at) if key.many else self._scalar(value, key, at, at)

    def _named(self, value: object, section: str, at: Path) -> dict[str, Table] | None:
        title = SECTIONS[section].title
        if not isinstance(value, Mapping):
            self._wrong(at, "is not a table", f"write {title} and the keys below it")
            return None
        read = {}
        for name, inner in value.items():
            below = (*at, name)
            if not NAME.fullmatch(name):
                self._wrong(below, "is not a name", NAME_FORM)
            elif not isinstance(inner, Mapping):
                self._wrong(below, "is not a table", f"write {title.replace('NAME', name)} and keys below it")
            else:
                read[name] = self.table(inner, section, below)
        return read

    def _tables(self, value: object, key: Key, at: Path) -> list[Table] | None:
        if value == [] and key.kind is not TABLE:
            self._wrong(at, *_EMPTY)
            return None
        if not isinstance(value, list):
            one = self._nested(value, key, at)
            return None if one is None else [one]
        read = [self._nested(item, key, (*at, index)) for index, item in enumerate(value)]
        return [table for table in read if table is not None]

    def _nested(self, value: object, key: Key, at: Path) -> Table | None:
        if isinstance(value, Mapping):
            return self.table(value, key.table, at)
        if not key.bare or not isinstance(value, str):
            known = f"keys here: {_names(SECTIONS[key.table])}"
            self._wrong(at, "is not a table", known if key.kind is TABLE else key.kind.form)
            return None
        made = Table(self.problems, key.table, at, self.source.place(at))
        inner = made.section.key(key.bare)
        assert inner is not None
        read = self._scalar(value, inner, (*at, key.bare), at)
        if read is not None:
            made.entries[key.bare] = self._entry(read, at)
        return made

    def _list(self, value: object, key: Key, at: Path) -> tuple[object, ...] | None:
        if not isinstance(value, list):
            read = self._scalar(value, key, at, at)
            return None if read is None else (read,)
        if not value:
            self._wrong(at, *_EMPTY)
            return None
        items = [self._scalar(item, key, at, (*at, index)) for index, item in enumerate(value)]
        return None if None in items else tuple(items)

    def _scalar(self, value: object, key: Key, at: Path, shown: Path) -> object | None:
        if value and isinstance(value, list) and not key.many:
            other = "; another one gets a route of its own" if at[0] == "route" else ""
            self._wrong(shown, "takes one value, and this is a list", f"write one of them{other}")
            return None
        try:
            return read_value(key, value)
        except Mistake as mistake:
            self.problems.doubt(at)
            self._wrong(shown, mistake.what, mistake.mend)
        return None

    def _unknown(self, at: Path, section: Section) -> None:
        known = [key.name for key in section.keys]
        if len(at) > 1 and str(at[-1]) in SECTIONS[""].by_name:
            what = f"`{at[-1]}` belongs to the top level, and stands below the header of a table"
            self.problems.add(self.source.place(at), what, "move it above the first [table] of the file")
            return
        synonym = _SYNONYMS.get(str(at[-1]))
        meant = synonym if synonym in known else nearest(str(at[-1]), known)
        mend = f"did you mean {meant!r}?" if meant else f"keys here: {_names(section)}"
        self.problems.add(self.source.place(at), "unknown key", mend)
        if meant is not None:
            self.problems.doubt((*at[:-1], meant))

    def _wrong(self, at: Path, what: str, mend: str) -> None:
        self.problems.doubt(at)
        self.problems.add(self.source.place(at), what, mend)

    def _entry(self, value: object, at: Path) -> Entry:
        return Entry(value, self.source.place(at), self.source.base)


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


_PART = r"""\s*(?:"(?:[^"\\]|\\.)*"|'[^']*'|[A-Za-z0-9_-]+)\s*"""
_KEY = re.compile(rf"({_PART}(?:\.{_PART})*)=")
_HEADER = re.compile(rf"\s*(\[\[?)({_PART}(?:\.{_PART})*)\]")
_ONE_PART = re.compile(r""""((?:[^"\\]|\\.)*)"|'([^']*)'|([A-Za-z0-9_-]+)""")
#: What matters between values: strings, comments, brackets and line ends.
_PIECE = re.compile(
    r'"""(?:[^\\]|\\.)*?"""+|' + r"'''.*?'''+|" + r'"(?:[^"\\\n]|\\.)*"|' + r"'[^'\n]*'|#[^\n]*|[\[\]{}\n]", re.DOTALL
)


def locate(text: str) -> dict[Path, int]:
    """Path of each key and table -> its line, counted from 1."""
    lines: dict[Path, int] = {}
    table: Path = ()
    counts: dict[Path, int] = {}
    for number, line in _statements(text):
        header = _HEADER.match(line)
        if header is not None:
            table = _in_lists(_parts(header[2]), counts)
            for end in range(1, len(table) + 1):
                lines.setdefault(table[:end], number)  # of `[a.b]`, a begins here as well
            if header[1] == "[[":
                counts[table] = counts.get(table, -1) + 1
                table = (*table, counts[table])
            lines.setdefault(table, number)
            continue
        if (key := _KEY.match(line)) is not None:
            lines.setdefault((*table, *_parts(key[1])), number)
    return lines


def line_of(lines: Mapping[Path, int], path: Path) -> int | None:
    """The line of ``path``, or of the nearest key around it; None where nothing is known."""
    return next((lines[path[:end]] for end in range(len(path), 0, -1) if path[:end] in lines), None)


def _in_lists(path: Path, counts: Mapping[Path, int]) -> Path:
    """``path`` with the number of the current element behind each name of a list of tables but the last."""
    out: Path = ()
    for part in path[:-1]:
        out = (*out, part)
        if out in counts:
            out = (*out, counts[out])
    return (*out, path[-1])


def _parts(text: str) -> Path:
    return tuple(match[1] or match[2] or match[3] or "" for match in _ONE_PART.finditer(text))


def _statements(text: str) -> list[tuple[int, str]]:
    """The lines that begin a statement: not those inside a multi-line string, array or table."""
    starts = [(1, 0)]
    depth = 0
    number = 1
    for piece in _PIECE.finditer(text):
        word = piece[0]
        if word in "[{":
            depth += 1
        elif word in "]}":
            depth -= 1
        elif word == "\n":
            number += 1
            if depth == 0:
                starts.append((number, piece.end()))
        else:
            number += word.count("\n")
    ends = [start for _, start in starts[1:]] + [len(text)]
    return [(number, text[start:end]) for (number, start), end in zip(starts, ends, strict=True)]
