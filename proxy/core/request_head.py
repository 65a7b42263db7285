"""Reads a request head: one strict grammar for what is beyond doubt, a careful path with h11 for the rest.

How it works. A head ends at its first CRLF CRLF. The grammar below is narrower than RFC 9112 and narrower than h11; a
head that matches it was read once, byte by byte, and means the same to every reader. All other heads take the careful
path: it finds the word for what is wrong, or, where only something harmless is unusual (bytes over 0x7f in a value,
punctuation in a name), lets h11 have the last word. Then the same rules judge both: RFC 9112 sections 3, 6 and 9.3, and
the threat model's section 3.1. The module knows no route and no body.
"""

from __future__ import annotations

import re
from typing import NoReturn

import h11

from proxy.core.grammar import (
    BLANK_AT_END,
    CANONICAL_LINE,
    FIELD_LINE,
    MAX_NAME,
    MAX_VALUE,
    PLAIN_NAME_CHARS,
    PLAIN_VALUE_CHARS,
    TOKEN_CHARS,
    VISIBLE,
    check_host,
    flaw_in_bytes,
    flaw_in_field_line,
    index_lines,
    parse_target,
    same_lines,
)
from proxy.errors import ProtocolError
from proxy.http1 import Field, Framing, RequestHead, field, value_of
from proxy.reasons import Reason
from proxy.values import frozen

FAST_HEAD = re.compile(
    rb"([%b]++) ([%b]++) HTTP/1\.([01])\r\n((?:%b)*+)"
    % (TOKEN_CHARS, VISIBLE, CANONICAL_LINE % (PLAIN_NAME_CHARS, VISIBLE, PLAIN_VALUE_CHARS))
)
_REQUEST_LINE = re.compile(rb"([%b]++) ([%b]++) HTTP/([0-9])\.([0-9])" % (TOKEN_CHARS, VISIBLE))
_REQUEST_LINE_BEGINNING = re.compile(rb"(?:[%b]++(?: (?:[%b]++(?: [%b]*+)?+)?+)?+)?+" % (TOKEN_CHARS, VISIBLE, VISIBLE))
# Codings that RFC 9112 section 7 knows, closed by chunked: well-formed, and not for us (501). All else is a 400.
_OTHER_CODING = re.compile(
    rb"(?:(?:x-)?(?:gzip|compress)|deflate)(?:[ \t]*,[ \t]*(?:(?:x-)?(?:gzip|compress)|deflate))*[ \t]*,[ \t]*chunked",
    re.IGNORECASE,
)
_CR = 0x0D
# Asked for with every head: a member of an enum takes as long as a call.
NONE, LENGTH, CHUNKED, _ = Framing
# Tunnels and echoes, never for a guard; what else is a token is a question for the route.
_NEVER_METHODS = frozenset({b"CONNECT", b"TRACE", b"TRACK"})
#: What Connection says nearly always, and whether that is to close.
_USUAL_OPTIONS = {b"keep-alive": False, b"close": True}
# An upstream that reads "_" or "." as "-" would frame or route by these. A proxy in front of us that takes no tab for
# a blank (RFC 9110 section 5.6.3 does) would see another value of them than we do.
_FRAMING_NAMES = frozenset({b"content-length", b"transfer-encoding", b"host"})
_PLAIN_NAME = re.compile(rb"[%b]++" % PLAIN_NAME_CHARS)
_PUNCTUATION = re.compile(rb"[^0-9a-z]")


@frozen
class HeadLimits:
    """Bounds of a head: its bytes, the bytes of its target, the number of its field lines."""

    max_head: int
    max_target: int
    max_fields: int


def read_request_head(buffer: bytes, limits: HeadLimits, known: int = 0) -> tuple[RequestHead, int] | None:
    """Read the head at the start of ``buffer``, whose first ``known`` bytes were found incomplete before.

    They are not looked at again: else a head that comes byte by byte would cost the square of its length.

    Gives the head and the bytes it took (with one CRLF before it, RFC 9112 section 2.2), or None while it is
    incomplete. Raises ProtocolError, and nothing else, as soon as the bytes cannot become a good head.
    """
    start = 2 if buffer.startswith(b"\r\n") else 0
    end = buffer.find(b"\r\n\r\n", max(start, known - 3), start + limits.max_head)
    if end < 0:
        _judge_beginning(buffer[start : start + limits.max_head], limits, known - start)
        if len(buffer) - start >= limits.max_head:
            raise ProtocolError(Reason.HEAD_TOO_LARGE, "head")
        return None
    match = FAST_HEAD.fullmatch(buffer, start, end + 2)
    if match is None or buffer.find(BLANK_AT_END, match.start(4), end + 2) >= 0:
        return _read_carefully(buffer[start : end + 4], limits), end + 4
    method, target, minor, block = match.groups()
    lines = block.split(b"\r\n")
    lines.pop()
    return _judge(method, target, 1 if minor == b"1" else 0, lines, limits), end + 4


def is_canonical(head: bytes) -> bool:
    """Whether the grammar alone reads a head, which is whole."""
    return FAST_HEAD.fullmatch(head, 0, len(head) - 2) is not None and BLANK_AT_END not in head


def _judge(method: bytes, target: bytes, minor: int, lines: list[bytes], limits: HeadLimits) -> RequestHead:
    """Apply the rules to a head whose bytes are in order; ``lines`` are its field lines, canonical."""
    if len(target) > limits.max_target:
        raise ProtocolError(Reason.TARGET_TOO_LONG, "target")
    if len(lines) > limits.max_fields:
        raise ProtocolError(Reason.HEAD_TOO_LARGE, "fields")
    names, values, repeated = index_lines(lines)
    framing, length = framing_of(values, repeated, minor)
    host = _host(values, repeated, minor)
    if method in _NEVER_METHODS:
        raise ProtocolError(Reason.METHOD_NOT_ALLOWED, "method")
    origin, path, query = parse_target(method, target, host)
    return RequestHead(
        method,
        origin,
        minor,
        names,
        lines,
        path,
        query,
        host,
        framing,
        length,
        minor == 1 and not (b"connection" in values and _asks_close(values, repeated, names, lines)),
        b"expect" in values and _expects_continue(values, repeated, minor) and (framing is CHUNKED or bool(length)),
        values,
        repeated,
    )


def framing_of(values: dict[bytes, bytes], repeated: frozenset[bytes], minor: int) -> tuple[Framing, int | None]:
    """How the content's end is known (RFC 9112 section 6.3); any doubt would let two readers see two requests."""
    length = values.get(b"content-length")
    coding = values.get(b"transfer-encoding")
    if coding is not None:
        if length is not None:
            _refuse("cl_te")
        _check_coding(coding, minor, once=b"transfer-encoding" not in repeated)
        return CHUNKED, None
    if length is None:
        return NONE, None
    if not length.isdigit() or len(length) > 19 or b"content-length" in repeated:
        _refuse("bad_content_length")
    return LENGTH, int(length)


def _check_coding(coding: bytes, minor: int, *, once: bool) -> None:
    if minor == 0:
        _refuse("te_in_http10")
    if once and coding.lower() == b"chunked":
        return
    if once and _OTHER_CODING.fullmatch(coding):
        raise ProtocolError(Reason.CODING_UNSUPPORTED, "transfer_coding")
    _refuse("bad_transfer_encoding")


def _host(values: dict[bytes, bytes], repeated: frozenset[bytes], minor: int) -> bytes:
    """The one valid Host (RFC 9112 section 3.2)."""
    host = values.get(b"host")
    if host is None:
        if minor == 1:
            _refuse("host_missing")
        return b""
    if b"host" in repeated:
        _refuse("host_repeated")
    check_host(host)
    return host


def _asks_close(values: dict[bytes, bytes], repeated: frozenset[bytes], names: list[bytes], lines: list[bytes]) -> bool:
    value = values[b"connection"]
    if b"connection" in repeated:
        value = b",".join(value_of(entry) for entry in zip(names, lines, strict=True) if entry[0] == b"connection")
    elif value in _USUAL_OPTIONS:
        return _USUAL_OPTIONS[value]
    return any(option.strip(b" \t").lower() == b"close" for option in value.split(b","))


def _expects_continue(values: dict[bytes, bytes], repeated: frozenset[bytes], minor: int) -> bool:
    """Whether 100 (Continue) is awaited; an HTTP/1.0 client's expectation is ignored (RFC 9110 section 10.1.1)."""
    if minor == 0:
        return False
    if values[b"expect"].lower() != b"100-continue" or b"expect" in repeated:
        raise ProtocolError(Reason.EXPECTATION_FAILED, "expect")
    return True


def _judge_beginning(part: bytes, limits: HeadLimits, known: int = 0) -> None:
    """Raise if ``part``, the beginning of a head, cannot become a good one; its first ``known`` bytes can.

    It is judged in the order of its bytes, so that the verdict is the same in whatever pieces it comes.
    """
    if known > 0 and part.find(b"\n", 0, known) >= 0:
        # A CR at the end of what is known may be the first half of a line's end.
        if flaw := flaw_in_bytes(part[known - (part[known - 1] == _CR) :]):
            _refuse(flaw)
        return
    line, newline, rest = part.partition(b"\n")
    flaw = flaw_in_bytes(line + newline)
    if flaw:
        _refuse(flaw)
    _judge_request_line(line.removesuffix(b"\r"), limits, complete=bool(newline))
    flaw = flaw_in_bytes(rest)
    if flaw:
        _refuse(flaw)


def _judge_request_line(line: bytes, limits: HeadLimits, *, complete: bool) -> None:
    """Raise if a request line, or what has come of it, is not to be accepted."""
    if not _REQUEST_LINE_BEGINNING.fullmatch(line):
        _refuse("bad_request_line")
    parts = line.split(b" ", 2)
    if len(parts) > 1 and len(parts[1]) > limits.max_target:
        raise ProtocolError(Reason.TARGET_TOO_LONG, "target")
    if not complete:
        return
    match = _REQUEST_LINE.fullmatch(line)
    if match is None:
        _refuse("bad_request_line")
    if match.group(3) != b"1" or match.group(4) not in {b"0", b"1"}:
        raise ProtocolError(Reason.VERSION_UNSUPPORTED, "version")


def _read_carefully(head: bytes, limits: HeadLimits) -> RequestHead:
    """A head that the fast grammar declined: the word for what is wrong, or what our rules and h11 both accept."""
    _judge_beginning(head, limits)
    first, *lines = head[:-4].split(b"\r\n")
    method, target, version = first.split(b" ")
    fields = [_read_field(line) for line in lines]
    if len(fields) > limits.max_fields:
        raise ProtocolError(Reason.HEAD_TOO_LARGE, "fields")
    # Names with "_", "." and the like are dropped: an upstream that reads them as "-" (many the first, lighttpd and PHP
    # the others) must not find a signature or address in them.
    kept = [entry for entry in fields if _PLAIN_NAME.fullmatch(entry[0])]
    judged = _judge(method, target, 1 if version == b"HTTP/1.1" else 0, [line for _, line in kept], limits)
    _ask_h11(head, method, target, version, fields)
    odd = [name for name, _ in fields if not _PLAIN_NAME.fullmatch(name)]
    judged.dropped = tuple(_PUNCTUATION.sub(b"-", name).lstrip(b"-") for name in odd)
    return judged


def _read_field(line: bytes) -> Field:
    match = FIELD_LINE.fullmatch(line)
    if match is None:
        _refuse(flaw_in_field_line(line))
    name, value = match.groups()
    if len(name) > MAX_NAME or len(value) > MAX_VALUE:
        raise ProtocolError(Reason.HEAD_TOO_LARGE, "field")
    lower = name.lower()
    if not _PLAIN_NAME.fullmatch(lower) and _PUNCTUATION.sub(b"-", lower).strip(b"-") in _FRAMING_NAMES:
        _refuse("underscore_name" if b"_" in lower else "bad_field_name")
    if b"\t" in value and lower in _FRAMING_NAMES:
        _refuse("tab_in_framing")
    return field(name, value.strip(b" \t"))


def _ask_h11(head: bytes, method: bytes, target: bytes, version: bytes, fields: list[Field]) -> None:
    """Raise unless h11 reads exactly what we have read."""
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(head)
    try:
        event = connection.next_event()
    except h11.RemoteProtocolError:
        _refuse("h11")
    if (
        not isinstance(event, h11.Request)
        or (event.method, event.target, b"HTTP/" + event.http_version) != (method, target, version)
        or not same_lines(fields, event.headers.raw_items())
    ):
        _refuse("h11")


def _refuse(detail: str) -> NoReturn:
    raise ProtocolError(Reason.BAD_REQUEST, detail)
