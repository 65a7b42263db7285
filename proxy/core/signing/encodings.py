r"""Strict reading of signatures, keys and times, where what is not written exactly as it must be is none; and what some
providers do to a body before they sign it, chunk by chunk.

``bytes.fromhex`` ignores blanks and ``base64.b64decode`` ignores junk and stray bits, so both let one signature be
written in many ways. Here a text decodes only if encoding the result gives the same text again (RFC 4648 section 3.5).

``int`` takes ``+5``, ``1_0`` and blanks, and some SDKs let a timestamp that is no number pass the age test. Here a
timestamp is digits of a bounded length or a full RFC 3339 date-time, else it is malformed. The window holds both ways;
the clock is an argument.

Escaping for JSON touches ASCII only, so it works on bytes and any chunking gives the same result; writing the rest as
``\uXXXX`` needs whole characters, so a decoder keeps the beginning of one that is split between two chunks.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import re
import sys
import zlib
from array import array, typecodes
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any, Protocol

from proxy.core.signing.scheme import BodyForm, Encoding, TimeFormat
from proxy.http1 import read_http_date
from proxy.reasons import Reason


def decode_hex(text: bytes, write: Callable[[bytes], bytes] | None = None) -> bytes | None:
    """The bytes that ``text`` writes in hex, as ``write`` does where that is given, or None."""
    try:
        value = binascii.a2b_hex(text)  # takes digits alone
    except binascii.Error:
        return None
    return value if value and (write is None or write(value) == text) else None


def decode_base64(text: bytes) -> bytes | None:
    """The bytes that ``text`` writes in padded standard base64, or None."""
    try:
        value = binascii.a2b_base64(text)
    except binascii.Error:
        return None
    return value if value and binascii.b2a_base64(value, newline=False) == text else None


def decode_base64url(text: bytes) -> bytes | None:
    """The bytes that ``text`` writes in base64url without padding, or None."""
    try:
        value = base64.urlsafe_b64decode(text + b"==")  # more of them than it needs do no harm
    except binascii.Error:
        return None
    return value if value and encode_base64url(value) == text else None


def encode_base64url(value: bytes) -> bytes:
    """``value`` in base64url without padding."""
    return base64.urlsafe_b64encode(value).rstrip(b"=")


def decode(encoding: Encoding, text: bytes, size: int | None) -> bytes | None:
    """The signature that ``text`` writes in ``encoding``: exactly ``size`` bytes (None: any number), or None."""
    if encoding in _HEX:
        value = decode_hex(text, _HEX[encoding])
    elif encoding is Encoding.BASE64URL:
        value = decode_base64url(text)
    elif encoding is Encoding.HEX_OR_BASE64 and size is not None and len(text) == 2 * size:
        value = decode_hex(text, binascii.b2a_hex)
    else:
        value = decode_base64(text)
    return value if value is not None and (size is None or len(value) == size) else None


def encode(encoding: Encoding, value: bytes) -> bytes:
    """``value`` as ``encoding`` writes it."""
    return _WRITE[encoding](value)


_base64 = partial(binascii.b2a_base64, newline=False)
_WRITE: dict[Encoding, Callable[[bytes], bytes]] = {
    Encoding.HEX: binascii.b2a_hex,
    Encoding.HEX_UPPER: lambda value: binascii.b2a_hex(value).upper(),
    Encoding.HEX_ANY_CASE: binascii.b2a_hex,
    Encoding.BASE64: _base64,
    Encoding.BASE64URL: encode_base64url,
    Encoding.HEX_OR_BASE64: _base64,
}
#: How hex is written where one writing alone is right; None where letters may be of either size.
_HEX = {Encoding.HEX: binascii.b2a_hex, Encoding.HEX_UPPER: _WRITE[Encoding.HEX_UPPER], Encoding.HEX_ANY_CASE: None}


_SECONDS = re.compile(rb"[0-9]{1,11}")
_MILLISECONDS = re.compile(rb"[0-9]{1,14}")
_CLOCK = rb"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?"
_RFC3339 = re.compile(_CLOCK + rb"(?:Z|[+-][0-9]{2}:[0-9]{2})")
_ISO_UTC = re.compile(_CLOCK + rb"(?:Z|[+-][0-9]{2}:[0-9]{2})?")
_FIRST_MILLISECONDS = 12  # digits: seconds have eleven until the year 5138


def _date_time(text: bytes) -> float | None:
    try:
        said = datetime.fromisoformat(text.decode("ascii"))
        return (said if said.tzinfo else said.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


_FORMS: dict[TimeFormat, tuple[re.Pattern[bytes], Callable[[bytes], float | None]]] = {
    TimeFormat.SECONDS: (_SECONDS, int),
    TimeFormat.MILLISECONDS: (_MILLISECONDS, lambda text: int(text) / 1000),
    TimeFormat.RFC3339: (_RFC3339, _date_time),
    TimeFormat.ISO_UTC: (_ISO_UTC, _date_time),
}


def parse_time(form: TimeFormat, text: bytes) -> float | None:
    """Seconds since the epoch that ``text`` says, or None where it is not written as it must be."""
    if form is TimeFormat.SECONDS_OR_MILLISECONDS:
        form = TimeFormat.MILLISECONDS if len(text) >= _FIRST_MILLISECONDS else TimeFormat.SECONDS
    if form is TimeFormat.ANY:
        date = read_http_date(text.decode("latin-1"))
        if date is not None:
            return date
        said = parse_time(TimeFormat.SECONDS_OR_MILLISECONDS, text)
        return parse_time(TimeFormat.ISO_UTC, text) if said is None else said
    pattern, read = _FORMS[form]
    return read(text) if pattern.fullmatch(text) else None


def write_time(form: TimeFormat, now: float) -> bytes:
    """``now`` (seconds since the epoch) as ``form`` writes it."""
    if form is TimeFormat.MILLISECONDS:
        return b"%d" % round(now * 1000)
    if form in (TimeFormat.RFC3339, TimeFormat.ISO_UTC):
        text = datetime.fromtimestamp(now, UTC).replace(tzinfo=None).isoformat()
        return (text + ("Z" if form is TimeFormat.RFC3339 else "")).encode("ascii")
    return b"%d" % int(now)


def judge_time(said: float, now: float, tolerance_s: float | None) -> Reason | None:
    """Why a signature made at ``said`` is not fresh at ``now``, or None. The window is closed: its edge is fresh."""
    if tolerance_s is None:
        return None
    if now - said > tolerance_s:
        return Reason.TIMESTAMP_TOO_OLD
    if said - now > tolerance_s:
        return Reason.TIMESTAMP_IN_FUTURE
    return None


# Of strings as Python has them in arrays: four bytes for a character, in the order of the machine.
_CHARACTER: Any = "w" if "w" in typecodes else "u"
_UTF_16 = f"utf-16-{sys.byteorder[0]}e"
_LOW = 0 if sys.byteorder == "little" else 2

_SHORT = {b"\b": b"\\b", b"\t": b"\\t", b"\n": b"\\n", b"\f": b"\\f", b"\r": b"\\r"}
_CONTROLS = [(char, _SHORT.get(char, b"\\u%04x" % char[0])) for char in (bytes([byte]) for byte in range(32))]


def escape_json(data: bytes) -> bytes:
    """The inside of the JSON string literal of UTF-8 text, as ECMAScript's ``JSON.stringify`` writes it."""
    data = data.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
    # A body may be nothing but these: a call for each would hold the loop.
    for control, escaped in _CONTROLS:
        data = data.replace(control, escaped)
    return data


class Transform(Protocol):
    """One body on its way into a digest."""

    def feed(self, chunk: bytes) -> bytes:
        """What of the signed text is known with this chunk."""

    def finish(self) -> bytes:
        """What is known only at the end."""


class JsonString:
    """The inside of a JSON string literal."""

    def feed(self, chunk: bytes) -> bytes:
        """The chunk, escaped."""
        return escape_json(chunk)

    def finish(self) -> bytes:
        """Nothing is held back."""
        return b""


class AsciiJson:
    r"""Characters outside ASCII as ``\uXXXX``, those beyond U+FFFF as two of them."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def feed(self, chunk: bytes) -> bytes:
        """The whole characters so far."""
        return _write_ascii(self._decoder.decode(chunk))

    def finish(self) -> bytes:
        """What is left of a character that was cut off."""
        return _write_ascii(self._decoder.decode(b"", final=True))


def _write_ascii(text: str) -> bytes:
    if text.isascii():
        return text.encode("ascii")
    units = text.encode(_UTF_16)
    if len(units) != 2 * len(text):
        text = _one_by_one(units)
    # As Python escapes it, without a call for each character. A backslash that came is marked for the time being.
    written = text.replace("\\", "\\z").encode("ascii", "backslashreplace")
    return written.replace(b"\\x", b"\\u00").replace(b"\\z", b"\\")


def _one_by_one(units: bytes) -> str:
    """A string with a character for each of these two bytes. To ask ``chr`` for each would take ten times as long."""
    wide = bytearray(2 * len(units))
    wide[_LOW::4], wide[_LOW + 1 :: 4] = units[::2], units[1::2]
    characters = array(_CHARACTER)
    characters.frombytes(wide)
    return characters.tounicode()


class Crc32:
    """The CRC-32 of the body in decimal, which is all that is signed of it."""

    def __init__(self) -> None:
        self._value = 0

    def feed(self, chunk: bytes) -> bytes:
        """Nothing yet."""
        self._value = zlib.crc32(chunk, self._value)
        return b""

    def finish(self) -> bytes:
        """The number."""
        return b"%d" % self._value


def make_transform(form: BodyForm) -> Transform | None:
    """A new transformation for one body; None where the raw bytes are signed."""
    if form is BodyForm.JSON_STRING:
        return JsonString()
    if form is BodyForm.ASCII_JSON:
        return AsciiJson()
    return Crc32() if form is BodyForm.CRC32 else None
