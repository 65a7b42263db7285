"""In which line of a TOML text each key stands.

``tomllib`` gives values without places, and a problem is mended faster with a line number. This scan reads a text that
``tomllib`` has accepted, so it may be simple: it follows headers, keys, brackets and strings, and what it does not
follow (a key inside an inline table) has the line of the key around it. It never raises on such a text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from proxy.errors import Path

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
        key = _KEY.match(line)
        if key is not None:
            lines.setdefault((*table, *_parts(key[1])), number)
    return lines


def line_of(lines: Mapping[Path, int], path: Path) -> int | None:
    """The line of ``path``, or of the nearest key around it; None where nothing is known."""
    for end in range(len(path), 0, -1):
        line = lines.get(path[:end])
        if line is not None:
            return line
    return None


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
