r"""The signed text as data: compiled once from ``Scheme.signed``, rendered per request up to and after the body; and
what some providers do to the body before they sign it, chunk by chunk.

A value of the client that stands before a literal must not hold that literal, else the border between two parts could
be moved without changing the signed text ("a.b" + "." + "c" is "a" + "." + "b.c"); behind the body, where the text is
read from its end, it is the literal before the value that counts. Nothing here is hashed.

Theory of borders: a signed text must be readable in one way only. What is signed is a row of characters. Where two
parts that the client chooses stand side by side, characters can go from one to the other without changing it: body and
signature stay right, and mean something else. A border holds where a literal stands there that no part before the body
(or behind it) may hold, where a time has a fixed form, or where the body is JSON, whose first and last brackets no
other part holds. What is read from a parsed body is not judged here.
"""

from __future__ import annotations

import codecs
import re
import sys
import zlib
from array import array, typecodes
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any, Protocol
from urllib.parse import quote, unquote_to_bytes

from proxy.core.signing.scheme import BodyForm, Scheme, TimeFormat
from proxy.http1 import RequestHead
from proxy.reasons import Reason
from proxy.values import frozen, mutable

_TOKEN = re.compile(r"\{\{|\}\}|\{([a-z_]+)(?::([^{}]+))?\}|([^{}]+)|[{}]")

_COMPONENT_SAFE = "!'()*"  # besides letters, digits and "-._~", as ECMAScript's encodeURIComponent
_URI_SAFE = _COMPONENT_SAFE + ";,/?:@&=+$#"  # as ECMAScript's encodeURI

_AS_PHP = bytes.maketrans(b". +[", b"____")

NAMED_SLOTS = frozenset({"header", "param", "item", "json_item"})
DOCUMENT_SLOTS = frozenset({"form", "lines", "sorted_url"})
#: What is found in the body itself.
FOUND_IN_BODY = DOCUMENT_SLOTS | {"field"}
_OF_HEADER = frozenset({"header", "id", "nonce"})
_OF_SENDER = _OF_HEADER | {"param", "path", "query", "target", "url"}
#: In the value of a signed header, what would be another one: it could be left out, and taken for part of this one.
_SWALLOWED = re.compile(rb";[!#$%&'*+.^_`|~0-9a-z-]+:")


@frozen
class Slot:
    """A placeholder. ``stop``: the byte behind it, which no value may hold; ``beside``: another slot follows."""

    kind: str
    name: str = ""
    stop: bytes = b""
    beside: bool = False

    @property
    def lower(self) -> bytes:
        """The name as a header's."""
        return self.name.lower().encode("latin-1")


Part = bytes | Slot


def compile_template(text: str) -> tuple[Part, ...]:
    """The parts of ``text`` in order. ValueError, with the place, where it is no template."""
    parts: list[Part] = []
    for match in _TOKEN.finditer(text):
        kind, name, literal = match.groups()
        if kind is not None:
            _check_slot(kind, name)
            parts.append(Slot(kind, name or ""))
            continue
        if match.group() in ("{", "}"):
            raise ValueError(f"a lone {match.group()!r} at character {match.start() + 1}: write it twice")
        piece = (literal or match.group()[0]).encode("utf-8")
        if parts and isinstance(parts[-1], bytes):
            parts[-1] += piece
        else:
            parts.append(piece)
    return tuple(_with_stop(part, following) for part, following in zip(parts, [*parts[1:], b""], strict=False))


def _check_slot(kind: str, name: str | None) -> None:
    if kind in NAMED_SLOTS or kind == "field":
        if not name:
            raise ValueError(f"{{{kind}}} needs a name: {{{kind}:name}}")
    elif kind not in PLAIN_SLOTS | DOCUMENT_SLOTS or name is not None:
        known = ", ".join(sorted(f"{{{slot}}}" for slot in PLAIN_SLOTS))
        named = ", ".join(f"{{{slot}:NAME}}" for slot in sorted(NAMED_SLOTS))
        raise ValueError(f"{{{kind}}} is not known here; known are {known}, {named}")


def _with_stop(part: Part, following: Part) -> Part:
    if isinstance(part, Slot):
        return replace(part, stop=following[:1]) if isinstance(following, bytes) else replace(part, beside=True)
    return part


def split_at_body(parts: tuple[Part, ...]) -> tuple[tuple[Part, ...], tuple[Part, ...]]:
    """What stands before and after ``{body}``; all before where the body is not signed."""
    for at, part in enumerate(parts):
        if isinstance(part, Slot) and part.kind == "body":
            rest = parts[at + 1 :]
            if any(isinstance(other, Slot) and other.kind == "body" for other in rest):
                raise ValueError("{body} stands twice; a body passes once")
            return parts[:at], tuple(map(_behind, [b"", *rest], rest))
        if isinstance(part, Slot) and part.kind == "form":
            rest = parts[at + 1 :]
            return (*parts[: at + 1], *map(_behind, [b"", *rest], rest)), ()
    return parts, ()


def _behind(before: Part, part: Part) -> Part:
    return replace(part, stop=before[-1:]) if isinstance(part, Slot) and isinstance(before, bytes) else part


@mutable
class Context:
    """What the slots of one request are filled from. ``url`` is the public URL, as configured."""

    head: RequestHead
    scheme: Scheme
    url: bytes = b""
    timestamp: bytes = b""
    items: dict[bytes, bytes] | None = None
    key_id: bytes = b""
    document: Mapping[tuple[str, str], bytes] | None = None  # (slot, name) -> text

    def render(self, parts: tuple[Part, ...]) -> bytes | Reason:
        """The bytes of ``parts``, or why they cannot be made."""
        out: list[bytes] = []
        for part in parts:
            if isinstance(part, bytes):
                out.append(part)
                continue
            value = _VALUES[part.kind](self, part)
            if isinstance(value, Reason):
                return value
            if part.kind in _OF_SENDER and (part.stop and part.stop in value):
                return Reason.SIGNATURE_MALFORMED
            if part.beside and part.kind in _OF_HEADER and b":" in value:  # what a time has behind its hours
                return Reason.SIGNATURE_MALFORMED
            out.append(value)
        return b"".join(out)

    def signed_headers(self) -> bytes | Reason:
        """``name:value;name:value`` of the headers that a header names. The timestamp must be among them."""
        names = single_field(self.head, self.scheme.signed_headers or b"")
        if isinstance(names, Reason):
            return names
        wanted = sorted(set(names.split(b",")))
        stamp = self.scheme.timestamp.header if self.scheme.timestamp is not None else None
        if stamp is not None and stamp not in wanted:
            return Reason.SIGNATURE_MALFORMED
        pairs = [self._signed_header(name) for name in wanted]
        good = [pair for pair in pairs if pair is not None]
        return b";".join(good) if len(good) == len(pairs) else Reason.SIGNATURE_MALFORMED

    def _signed_header(self, name: bytes) -> bytes | None:
        value = self.head.get(name) or b""
        is_one = name not in self.head.repeated and name == name.lower()
        return name + b":" + value if is_one and not _SWALLOWED.search(value) else None


#: What each kind of slot stands for, but the body.
_VALUES: Mapping[str, Callable[[Context, Slot], bytes | Reason]] = {
    **dict.fromkeys(
        FOUND_IN_BODY, lambda at, slot: (at.document or {}).get((slot.kind, slot.name), Reason.SIGNATURE_MALFORMED)
    ),
    "timestamp": lambda at, _: at.timestamp,
    "url": lambda at, _: at.url,
    "key_id": lambda at, _: at.key_id,
    "method": lambda at, _: at.head.method,
    "target": lambda at, _: at.head.target,
    "path": lambda at, _: at.head.path,
    "query": lambda at, _: at.head.query or b"",
    "encoded_target": lambda at, _: _encode_target(at.head),
    "signed_headers": lambda at, _: at.signed_headers(),
    "id": lambda at, _: single_field(at.head, at.scheme.identity or b""),
    "nonce": lambda at, _: single_field(at.head, at.scheme.nonce or b""),
    "header": lambda at, slot: single_field(at.head, slot.lower),
    "param": lambda at, slot: single_param(at.head.query, slot.name.encode("utf-8")),
    "item": lambda at, slot: (at.items or {}).get(slot.name.encode("utf-8"), b""),
    "json_item": lambda at, slot: escape_json((at.items or {}).get(slot.name.encode("utf-8"), b"")),
}
PLAIN_SLOTS = (_VALUES.keys() | {"body"}) - NAMED_SLOTS - FOUND_IN_BODY


def _encode_target(head: RequestHead) -> bytes:
    """The target with its query escaped as one component, and then all of it once more as a URI."""
    query = b"?" + quote(head.query, safe=_COMPONENT_SAFE).encode("ascii") if head.query else b""
    return quote(head.path + query, safe=_URI_SAFE).encode("ascii")


def single_field(head: RequestHead, name: bytes) -> bytes | Reason:
    """The value of the head's one field ``name`` (lower case)."""
    return Reason.SIGNATURE_MALFORMED if name in head.repeated else head.values.get(name) or Reason.SIGNATURE_MISSING


def single_param(query: bytes | None, name: bytes) -> bytes | Reason:
    """The value of the query's one parameter ``name``, undecoded. Another that an application may take for it, because
    it is the same decoded, or where dots are written as underscores (PHP), makes it malformed.
    """
    folded = _fold_name(name)
    # Some applications separate parameters by semicolons too.
    pairs = [pair.partition(b"=") for pair in (query or b"").replace(b";", b"&").split(b"&")]
    found = [(key, value) for key, _, value in pairs if _fold_name(unquote_to_bytes(key)) == folded]
    if not found:
        return Reason.SIGNATURE_MISSING
    if len(found) > 1 or found[0][0] != name or b"=%b;" % found[0][1] in (query or b""):
        return Reason.SIGNATURE_MALFORMED
    return found[0][1] or Reason.SIGNATURE_MISSING


def _fold_name(name: bytes) -> bytes:
    return name.translate(_AS_PHP).strip(b"_").partition(b"\0")[0]


#: Digits of a time that stands beside another part: seconds from 2001 to 2286, and their thousandths.
WIDTHS = {TimeFormat.SECONDS: 10, TimeFormat.MILLISECONDS: 13}

_FIXED = frozenset({*WIDTHS, TimeFormat.RFC3339})
_BEGIN_WITH_A_SLASH = frozenset({"path", "target", "url"})  # or "http:"; no method holds either character
#: What, beside a whole time of a loose form, may make it a longer one.
_DIGITS = frozenset(b"0123456789")
_LONGER = {
    TimeFormat.SECONDS_OR_MILLISECONDS: _DIGITS,
    TimeFormat.ISO_UTC: _DIGITS | frozenset(b".+-Z"),
    TimeFormat.ANY: _DIGITS | frozenset(b".+-Z"),
}


def open_borders(scheme: Scheme, *, whole_url: bool) -> Iterator[str]:
    """Pairs of slots between which characters can be moved. ``whole_url``: no part of the URL is the client's."""
    if scheme.document is not None:
        return
    parts: tuple[Part | None, ...] = (None, *compile_template(scheme.signed), None)
    form = scheme.timestamp.format if scheme.timestamp is not None else TimeFormat.ANY
    for at, (left, right) in enumerate(pairwise(parts)):
        if isinstance(left, Slot) and isinstance(right, Slot):
            is_open = not (
                _holds_by_time(left, right, parts[at - 1], parts[at + 2], form)
                or _holds_by_kind(scheme, left, right, whole_url=whole_url)
            )
        else:
            is_open = _may_grow(left, right, _LONGER.get(form, frozenset()))
        if is_open:
            yield f"{_show(left)}{_show(right)}"


def _holds_by_kind(scheme: Scheme, left: Slot, right: Slot, *, whole_url: bool) -> bool:
    if left.kind == "method" and right.kind in _BEGIN_WITH_A_SLASH:
        return True
    if "body" not in (left.kind, right.kind):
        return False
    other = left if right.kind == "body" else right
    return (whole_url and other.kind == "url") or (scheme.json_body and other.kind in ("timestamp", "url"))


def stands_beside_another(scheme: Scheme) -> bool:
    """Whether the signed time stands beside another part, or beside digits, so that its length alone bounds it."""
    path = scheme.document.timestamp if scheme.document is not None else None
    return any(
        (_is_time(left, path) and (isinstance(right, Slot) or right[:1].isdigit()))
        or (_is_time(right, path) and (isinstance(left, Slot) or left[-1:].isdigit()))
        for left, right in pairwise(compile_template(scheme.signed))
    )


def _may_grow(left: Part | None, right: Part | None, longer: frozenset[int]) -> bool:
    """Whether a time stands beside a literal that another time may hold."""
    if isinstance(right, bytes):
        return isinstance(left, Slot) and left.kind == "timestamp" and right[0] in longer
    return isinstance(left, bytes) and right is not None and right.kind == "timestamp" and left[-1] in longer


def _is_time(part: Part, path: str | None) -> bool:
    return isinstance(part, Slot) and (part.kind == "timestamp" or (part.kind == "field" and part.name == path))


def _show(part: Part | None) -> str:
    if isinstance(part, Slot):
        return f"{{{part.kind}:{part.name}}}" if part.name else f"{{{part.kind}}}"
    return (part or b"").decode("utf-8", "replace")


def _holds_by_time(left: Slot, right: Slot, before: Part | None, after: Part | None, form: TimeFormat) -> bool:
    """A time of a fixed form is found from its free side; one with colons also behind a header's value without any."""
    if form not in _FIXED:
        return False
    clock = form is TimeFormat.RFC3339
    if right.kind == "timestamp":
        return (left.kind == "body" and not isinstance(after, Slot)) or (clock and left.kind in _OF_HEADER)
    free = not isinstance(before, Slot) or (clock and before.kind in _OF_HEADER)
    return left.kind == "timestamp" and free


# -- ``Transform``: what some providers do to a body before they sign it.
#
# Escaping for JSON touches ASCII only, so it works on bytes and any chunking gives the same result; writing the rest as
# ``\uXXXX`` needs whole characters, so a decoder keeps the beginning of one that is split between two chunks.

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
