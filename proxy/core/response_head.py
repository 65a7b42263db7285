"""Reads an upstream's answer head, as strictly as a client's: an upstream may be buggy or echo what attackers sent.

The same way as ``core.request_head``: one grammar narrower than RFC 9112 and than h11 for what is beyond doubt, a
careful path with h11 for the rest, and one set of rules for both (RFC 9112 sections 4 and 6.3). Every flaw is
``UPSTREAM_INVALID``; the detail says which. An application answers most deliveries of a second with the same bytes, so
the latest heads are remembered with what they mean. Interim answers (1xx) are heads like others: the shell counts and
swallows them.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import lru_cache
from math import inf
from typing import NoReturn

import h11

from proxy.core.grammar import (
    ASCII_VALUE_CHARS,
    BLANK_AT_END,
    CANONICAL_LINE,
    FIELD_LINE,
    PLAIN_VALUE_CHARS,
    TOKEN_CHARS,
    VALUE_CHARS,
    VISIBLE,
    flaw_in_bytes,
    flaw_in_field_line,
    index_lines,
    same_lines,
)
from proxy.errors import ProtocolError
from proxy.http1 import Field, Framing, ResponseHead
from proxy.reasons import Reason

MAX_HEAD = 64 * 1024  # bytes; applications set large cookies, hardly any larger than this (curl allows 300 KiB)
MAX_FIELDS = 200

FAST_HEAD = re.compile(
    rb"HTTP/1\.([01]) ([1-5][0-9]{2}) ([%b]*+)\r\n((?:%b)*+)"
    % (ASCII_VALUE_CHARS, CANONICAL_LINE % (TOKEN_CHARS, VISIBLE, PLAIN_VALUE_CHARS))
)
# The space before an absent phrase is forgotten by some servers; it decides nothing.
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9]{2})(?: ([%b]*+))?" % VALUE_CHARS)
_START = b"HTTP/1."
# Heads that are remembered, each of at most so many bytes.
_REMEMBERED = 128
_REMEMBERED_BYTES = 1024
_WITHOUT_LENGTH = frozenset({*range(100, 200), 204})
_WITHOUT_CONTENT = _WITHOUT_LENGTH | {304}
_IDLE_TIMEOUT = re.compile(rb"(?:^|[,;])[ \t]*+timeout[ \t]*+=[ \t]*+\"?([0-9]{1,9})(?![0-9])", re.IGNORECASE)
#: What an upstream promises to keep an idle connection for is used up to so much: the request needs time to get there.
_IDLE_SPARE_S = 1.0
_FRAMING_NAMES = frozenset({b"content-length", b"transfer-encoding"})


def read_response_head(buffer: bytes, method: bytes) -> tuple[ResponseHead, int] | None:
    """Read the head at the start of ``buffer``, an answer to a request with ``method``.

    Gives the head and the bytes it took, or None while it is incomplete. Raises ProtocolError, and nothing else, as
    soon as the bytes cannot become a good head.
    """
    end = buffer.find(b"\r\n\r\n", 0, MAX_HEAD)
    if end < 0:
        _judge_beginning(buffer[:MAX_HEAD])
        if len(buffer) >= MAX_HEAD:
            _refuse("head_too_large")
        return None
    read = _read_again if end <= _REMEMBERED_BYTES else _read
    return read(buffer[: end + 4], method if method == b"HEAD" else b""), end + 4


def idle_limit_s(head: ResponseHead) -> float:
    """For how many seconds the connection may be idle and still be used, by ``Keep-Alive: timeout=`` (RFC 2068 section
    19.7.1.1), 0 or less for not at all; infinity where the answer says nothing.
    """
    found = _IDLE_TIMEOUT.search(head.values.get(b"keep-alive", b""), 0, 256)
    return inf if found is None else int(found[1]) - _IDLE_SPARE_S


def _read(head: bytes, method: bytes) -> ResponseHead:
    """Read a whole head; ``method`` is HEAD, or b"" for any other. Raises ProtocolError, and nothing else."""
    match = FAST_HEAD.fullmatch(head, 0, len(head) - 2)
    if match is None or head.find(BLANK_AT_END, match.start(4)) >= 0:
        return _read_carefully(head, method)
    minor, status, phrase, block = match.groups()
    lines = block.split(b"\r\n")
    lines.pop()
    return _judge(int(status), phrase, 1 if minor == b"1" else 0, lines, asked_head=bool(method))


@lru_cache(maxsize=_REMEMBERED)
def _read_again(head: bytes, method: bytes) -> ResponseHead:
    return replace(_read(head, method), again=True)


def _judge(status: int, phrase: bytes, minor: int, lines: list[bytes], *, asked_head: bool) -> ResponseHead:
    """Apply the rules to a head whose bytes are in order; ``lines`` are its field lines, canonical."""
    if len(lines) > MAX_FIELDS:
        _refuse("head_too_large")
    if status == 101:
        _refuse("switching_protocols")
    names, values, repeated = index_lines(lines)
    fields = list(zip(names, lines, strict=True))
    close = minor == 0 or _says_close(fields, values)
    length, chunked = _declared(values, repeated, minor)
    if asked_head or status in _WITHOUT_CONTENT:
        # Such an answer has no content whatever it declares. Where some is declared some may well follow, later, and
        # would be read as the answer to the next request (threats R4). For HEAD it may follow whatever is declared.
        keep_alive = not any((close, chunked, length, asked_head))
        length = None if status in _WITHOUT_LENGTH else length
        return ResponseHead(status, phrase, minor, fields, Framing.NONE, length, keep_alive, values)
    framing = _framing(length, chunked=chunked)
    keep_alive = not close and framing is not Framing.EOF
    return ResponseHead(status, phrase, minor, fields, framing, length, keep_alive, values)


def _framing(length: int | None, *, chunked: bool) -> Framing:
    if chunked:
        return Framing.CHUNKED
    return Framing.EOF if length is None else Framing.LENGTH


def _says_close(fields: list[Field], values: dict[bytes, bytes]) -> bool:
    return b"connection" in values and any(name == b"connection" and b"close" in line.lower() for name, line in fields)


def _declared(values: dict[bytes, bytes], repeated: frozenset[bytes], minor: int) -> tuple[int | None, bool]:
    """The declared length, and whether the content is chunked (RFC 9112 section 6.3); doubt is refused."""
    if not repeated.isdisjoint(_FRAMING_NAMES):
        _refuse("framing_repeated")
    length = values.get(b"content-length")
    coding = values.get(b"transfer-encoding")
    if coding is not None:
        if length is not None:
            _refuse("cl_te")
        if minor == 0:
            _refuse("te_in_http10")
        if coding.lower() != b"chunked":
            _refuse("bad_transfer_encoding")
        return None, True
    if length is None:
        return None, False
    if not length.isdigit() or len(length) > 19:
        _refuse("bad_content_length")
    return int(length), False


def _judge_beginning(part: bytes) -> None:
    """Raise if ``part``, the beginning of a head, cannot become a good one; in the order of its bytes."""
    if not part.startswith(_START) and not _START.startswith(part):
        _refuse("bad_status_line")
    line, newline, rest = part.partition(b"\n")
    flaw = flaw_in_bytes(line + newline)
    if flaw:
        _refuse(flaw)
    if newline:
        _read_status_line(line[:-1])
    flaw = flaw_in_bytes(rest)
    if flaw:
        _refuse(flaw)


def _read_status_line(line: bytes) -> tuple[bytes, bytes, bytes]:
    """The minor version, the status and the phrase, as they stand."""
    match = _STATUS_LINE.fullmatch(line)
    if match is None:
        _refuse("bad_status_line")
    minor, status, phrase = match.groups(b"")
    return minor, status, phrase


def _read_carefully(head: bytes, method: bytes) -> ResponseHead:
    """A head that the fast grammar declined: the word for what is wrong, or what our rules and h11 both accept."""
    _judge_beginning(head)
    first, *lines = head[:-4].split(b"\r\n")
    minor, status, phrase = _read_status_line(first)
    judged = _judge(int(status), phrase, int(minor), [_read_field(line) for line in lines], asked_head=bool(method))
    _ask_h11(head, judged)
    return judged


def _read_field(line: bytes) -> bytes:
    """The field line, canonical."""
    match = FIELD_LINE.fullmatch(line)
    if match is None:
        _refuse(flaw_in_field_line(line))
    name, value = match.groups()
    return b"%b: %b" % (name, value.strip(b" \t"))


def _ask_h11(head: bytes, judged: ResponseHead) -> None:
    """Raise unless h11 reads exactly what we have read."""
    connection = h11.Connection(h11.CLIENT)
    connection.receive_data(head)
    try:
        event = connection.next_event()
    except h11.RemoteProtocolError:
        _refuse("h11")
    if (
        not isinstance(event, h11.Response | h11.InformationalResponse)
        or (event.status_code, event.reason, event.http_version)
        != (judged.status, judged.phrase, b"1.%d" % judged.minor)
        or not same_lines(judged.fields, event.headers.raw_items())
    ):
        _refuse("h11")


def _refuse(detail: str) -> NoReturn:
    raise ProtocolError(Reason.UPSTREAM_INVALID, detail)
