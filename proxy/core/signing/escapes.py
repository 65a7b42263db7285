r"""What some providers do to a body before they sign it, chunk by chunk.

Escaping for JSON touches ASCII only, so it works on bytes and any chunking gives the same result; writing the rest as
``\uXXXX`` needs whole characters, so a decoder keeps the beginning of one that is split between two chunks.
"""

from __future__ import annotations

import codecs
import sys
import zlib
from array import array, typecodes
from typing import Any, Protocol

from proxy.core.signing.scheme import BodyForm

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
