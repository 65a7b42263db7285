"""The words of HTTP/1.1: heads as values, and the only place that writes them (RFC 9110, RFC 9112).

The heads here hold validated bytes: the grammars in ``core.request_head`` and ``core.response_head`` make
them, and what is written below is joined from parsed parts, never copied from a peer. This module does not parse,
does not decide and knows no connection.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from dataclasses import field as attribute
from datetime import UTC, datetime
from http import HTTPStatus

from proxy.reasons import Reason
from proxy.values import IdentityEnum, frozen, mutable

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_HTTP_DATE = re.compile(r"[A-Z][a-z]{2}, ([0-9]{2}) ([A-Z][a-z]{2}) ([0-9]{4}) ([0-9]{2}):([0-9]{2}):([0-9]{2}) GMT")

#: Content on its way. A view may lie in the buffer of the loop's reads: it is used up before the next one, or copied.
Piece = bytes | memoryview

#: (name in lower case, the field line as it is written: the name as it was sent, ": ", the value without blanks around)
Field = tuple[bytes, bytes]


class Framing(IdentityEnum):
    """How the end of a message's content is known (RFC 9112 section 6.3)."""

    NONE = "none"
    LENGTH = "length"
    CHUNKED = "chunked"
    EOF = "eof"  # answers only: the content ends with the connection


@mutable
class RequestHead:
    """A request's start line and field lines, validated; ``path`` and ``query`` are the target in origin-form."""

    method: bytes
    target: bytes  # origin-form (or ``*``): absolute-form has been reduced
    minor: int  # HTTP/1.<minor>
    names: Sequence[bytes]  # of its field lines, in lower case
    lines: list[bytes]  # as they are written: the name as it was sent, ": ", the value without blanks around
    path: bytes
    query: bytes | None  # without "?"; None where the target has none
    host: bytes  # b"" only in HTTP/1.0 without Host
    framing: Framing
    content_length: int | None  # bytes; None unless framing is LENGTH
    keep_alive: bool
    expect_continue: bool
    values: dict[bytes, bytes]  # lower-case name -> first value
    repeated: frozenset[bytes] = frozenset()  # names that came more than once
    dropped: tuple[bytes, ...] = ()  # names of fields that count for nothing; "-" for each odd mark in them
    again: bool = attribute(default=False, compare=False)  # it was known, but for some of its lines
    plan: object = attribute(default=None, compare=False)  # and what was made of one like it, a ``DeliveryPlan``

    @property
    def fields(self) -> list[Field]:
        """Its field lines, each with its name."""
        return list(zip(self.names, self.lines, strict=True))

    def get(self, name: bytes) -> bytes | None:
        """The value of the first field line called ``name`` (lower case), or None."""
        return self.values.get(name)

    def get_all(self, name: bytes) -> list[bytes]:
        """All values of ``name`` (lower case) in the order they came."""
        if name not in self.repeated:
            value = self.values.get(name)
            return [] if value is None else [value]
        return [value_of(entry) for entry in self.fields if entry[0] == name]


@dataclass(frozen=True, slots=True, eq=False)
class ResponseHead:
    """An answer's status line and field lines, validated. One value may serve many answers, so it is never changed."""

    status: int
    phrase: bytes
    minor: int
    fields: list[Field]
    framing: Framing
    content_length: int | None  # also kept for HEAD and 304, where no content follows
    keep_alive: bool
    values: dict[bytes, bytes] = attribute(default_factory=dict)
    again: bool = False  # it is remembered, and comes again where the application says the same

    def get(self, name: bytes) -> bytes | None:
        """The value of the first field line called ``name`` (lower case), or None."""
        return self.values.get(name)


def field(name: bytes, value: bytes) -> Field:
    """A field line of validated parts."""
    return name.lower(), b"%b: %b" % (name, value)


def value_of(entry: Field) -> bytes:
    """The value of a field line."""
    return entry[1][len(entry[0]) + 2 :]


def phrase_of(status: int) -> bytes:
    """The standard reason phrase of a status (RFC 9110 section 15), or an empty one."""
    try:
        return HTTPStatus(status).phrase.encode("ascii")
    except ValueError:
        return b""


def utc_text(seconds: float, form: str = "%Y-%m-%dT%H:%M:%SZ") -> str:
    """``seconds`` since the epoch in UTC, as RFC 3339 has it; or in another form of strftime(3)."""
    return datetime.fromtimestamp(seconds, UTC).strftime(form)


def utc_day(seconds: float) -> str:
    """The day in UTC: ``2026-03-01``."""
    return utc_text(seconds, "%Y-%m-%d")


def http_date(second: int) -> str:
    """``second`` since the epoch as an IMF-fixdate, in English in every locale (RFC 9110 section 5.6.7)."""
    at = datetime.fromtimestamp(second, UTC)
    return f"{_DAYS[at.weekday()]}, {at.day:02} {_MONTHS[at.month - 1]} {at.year:04} {at:%H:%M:%S} GMT"


def read_http_date(text: str) -> float | None:
    """Seconds since the epoch of an IMF-fixdate, or None where it is none. The name of the day is not compared."""
    found = _HTTP_DATE.fullmatch(text)
    if found is None or found[2] not in _MONTHS:
        return None
    day, year, hour, minute, second = (int(found[group]) for group in (1, 3, 4, 5, 6))
    try:
        return datetime(year, _MONTHS.index(found[2]) + 1, day, hour, minute, second, tzinfo=UTC).timestamp()
    except (ValueError, OverflowError):
        return None


def write_request_head(method: bytes, target: bytes, fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The bytes of a request head. Takes validated parts only; framing fields are the caller's to add."""
    return join_request_head(method, target, [b"%b: %b" % pair for pair in fields])


def write_response_head(status: int, phrase: bytes, fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The bytes of an answer's head. Takes validated parts only."""
    return join_response_head(status, phrase, [b"%b: %b" % pair for pair in fields])


def join_request_head(method: bytes, target: bytes, lines: list[bytes]) -> bytes:
    """The same from field lines that are written already (:data:`Field`)."""
    return b"\r\n".join([b"%b %b HTTP/1.1" % (method, target), *lines, b"\r\n"])


def join_response_head(status: int, phrase: bytes, lines: list[bytes]) -> bytes:
    """The same from field lines that are written already (:data:`Field`)."""
    return b"\r\n".join([b"HTTP/1.1 %d %b" % (status, phrase), *lines, b"\r\n"])


#: A status whose answer has neither content nor a length (RFC 9110 sections 8.6 and 15.3.5).
NO_CONTENT = 204
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"


def as_chunk(pieces: Sequence[Piece], *, last: bool) -> list[Piece]:
    """``pieces`` as one chunk of a chunked message (RFC 9112 section 7.1), not joined; behind the ``last`` its end."""
    size = sum(map(len, pieces))
    framed: list[Piece] = [b"%x\r\n" % size, *pieces, b"\r\n"] if size else []
    return [*framed, LAST_CHUNK] if last else framed


@frozen
class Refusal:
    """A prebuilt answer: everything but the request id and the date stands before the exchange begins."""

    status: int
    start: bytes  # status line, fixed fields; ends before the value of Date
    word: bytes

    def write(self, request_id: bytes, date: bytes, *, head_only: bool = False) -> bytes:
        """The whole answer; ``head_only`` for HEAD (RFC 9110 section 9.3.2)."""
        if self.status == NO_CONTENT:
            return b"%b%b\r\nX-Request-Id: %b\r\n\r\n" % (self.start, date, request_id)
        content = b"%b %b\n" % (self.word, request_id)
        return b"%b%b\r\nX-Request-Id: %b\r\nContent-Length: %d\r\n\r\n%b" % (
            self.start,
            date,
            request_id,
            len(content),
            b"" if head_only else content,
        )


def build_refusal(
    reason: Reason, *, close: bool, status: int | None = None, extra: Iterable[tuple[bytes, bytes]] = ()
) -> Refusal:
    """Prebuild the answer for ``reason``. ``status`` overrides the reason's own (a provider may demand 401)."""
    code = status or reason.status or 500
    fields = [(b"Cache-Control", b"no-store"), *extra]
    if code != NO_CONTENT:
        fields.insert(0, (b"Content-Type", b"text/plain; charset=utf-8"))
    if close:
        fields.append((b"Connection", b"close"))
    head = write_response_head(code, phrase_of(code), fields)
    return Refusal(code, head[:-2] + b"Date: ", reason.word.encode("ascii"))
