"""The pieces of grammar that heads and chunks share, as sources of regular expressions over bytes (RFC 9110, RFC 9112).

Every repetition is possessive: a match is one pass over the bytes and never steps back, so hostile input costs linear
time. Inside a repeated group there is nothing to step back into, which Python before 3.11.5 got wrong. Nothing here
decides anything; what is narrower than the RFC says so.

A field line is canonical where it reads ``name: value`` with one space between them and no blank at the end: so nearly
all clients write them, so we write them, and such a line crosses as it is.
"""

from __future__ import annotations

import re

from proxy.http1 import Field

#: What may stand in a token, for use inside ``[…]`` (RFC 9110 section 5.6.2).
TOKEN_CHARS = rb"!#$%&'*+.^_`|~0-9A-Za-z\-"
#: Those of the names that all applications read alike. CGI and what descends from it (PHP, WSGI, FastCGI) write a name
#: as that of a variable, and some put "_" not for "-" alone but for all that is neither letter nor digit.
PLAIN_NAME_CHARS = rb"0-9A-Za-z\-"
VISIBLE = rb"\x21-\x7e"
#: Bytes of a field value (RFC 9110 section 5.5), with and without obs-text.
VALUE_CHARS = rb"\t\x20-\x7e\x80-\xff"
ASCII_VALUE_CHARS = rb"\t\x20-\x7e"
#: ``ASCII_VALUE_CHARS`` without the tab: hardly any client writes one, and old servers do not take it for a blank.
PLAIN_VALUE_CHARS = rb"\x20-\x7e"

MAX_NAME = 256  # bytes of a field name
MAX_VALUE = 8192  # bytes of a field value

#: Canonical field lines, each with its end, for use inside ``(?:…)*+``; a blank before the end is asked for by
#: :data:`BLANK_AT_END`. What is empty or written otherwise is for the careful path.
CANONICAL_LINE = rb"[%%b]{1,%d}+: [%%b][%%b]{0,%d}+\r\n" % (MAX_NAME, MAX_VALUE - 1)
BLANK_AT_END = b" \r\n"

FIELD_LINE = re.compile(rb"([%b]++):([%b]*+)" % (TOKEN_CHARS, VALUE_CHARS))

#: Control bytes that no head may hold; CR and LF are judged as line ends, NUL has a word of its own.
_CONTROLS = bytes(byte for byte in (*range(1, 32), 127) if byte not in b"\t\r\n")


_NONE: frozenset[bytes] = frozenset()


def index_lines(lines: list[bytes]) -> tuple[list[bytes], dict[bytes, bytes], frozenset[bytes]]:
    """The names of canonical ``lines``, the first value of each name, and the names that came more than once."""
    names: list[bytes] = []
    values: dict[bytes, bytes] = {}
    repeated = _NONE
    for line in lines:
        name, _, value = line.partition(b": ")
        name = name.lower()
        names.append(name)
        if name in values:
            repeated |= {name}
        else:
            values[name] = value
    return names, values, repeated


def same_lines(fields: list[Field], read: list[tuple[bytes, bytes]]) -> bool:
    """Whether another reader has read these fields as these names and values; h11 writes codings in lower case."""
    return [line.lower() for _, line in fields] == [(b"%b: %b" % pair).lower() for pair in read]


def flaw_in_bytes(part: bytes) -> str | None:
    """The word for the first kind of byte in ``part`` that no head may hold, or None.

    ``part`` may be cut off anywhere: a CR at its very end is no flaw, its LF may yet come.
    """
    breaks = part.count(b"\r\n")
    if part.count(b"\n") != breaks:
        return "bare_lf"
    if part.count(b"\r") - part.endswith(b"\r") != breaks:
        return "bare_cr"
    if b"\0" in part:
        return "nul"
    if len(part.translate(None, _CONTROLS)) != len(part):
        return "control_byte"
    return None


def flaw_in_field_line(line: bytes) -> str:
    """The word for what is wrong with a field line that :data:`FIELD_LINE` refused."""
    if line[:1] in {b" ", b"\t"}:
        return "obs_fold"
    name, colon, _ = line.partition(b":")
    if not colon:
        return "no_colon"
    if name != name.rstrip(b" \t"):
        return "space_before_colon"
    return "bad_field_name"
