"""The grammar of heads: what lines and chunks share, as sources of regular expressions over bytes, and the request
target (RFC 9110, RFC 9112).

Every repetition is possessive: a match is one pass over the bytes and never steps back, so hostile input costs linear
time. Inside a repeated group there is nothing to step back into, which Python before 3.11.5 got wrong. What is narrower
than the RFC says so. This module knows no route.

A field line is canonical where it reads ``name: value`` with one space between them and no blank at the end: so nearly
all clients write them, so we write them, and such a line crosses as it is.

Of the target, some paths are refused rather than normalised (RFC 9112 section 3.2, RFC 3986 section 3). One that could
mean one thing to our routes and another to the upstream is a 400: the bytes that were judged are the bytes that are
sent, so nothing here decodes, folds or repairs for later use.

``PathMap`` says where a route's requests go below the application, where that is not the path they came to. A route
owns its path and what lies under it, by whole segments. Mapped, another path stands in the place of its own, and what
follows goes on byte for byte; a token that stands in the path is left out. The query is not looked at, and what a
signature covers is the target as it came.

Theory: why this is no way past a rule. What follows the route's path is the end of a path that was taken here, cut at a
slash, and the place was taken as well when the configuration was read. So no segment is empty or of dots, nothing is
encoded that was not, and the result is a path that is taken here. It lies at the place or under it, by whole segments.
That it is no other route's place is for the policy to say (``Policy.leads_elsewhere``).
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from ipaddress import AddressValueError, IPv6Address
from typing import NamedTuple, NoReturn

from proxy.errors import ProtocolError
from proxy.http1 import Field
from proxy.reasons import Reason
from proxy.values import frozen

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


# -- The request target.


class Target(NamedTuple):
    """A target in origin-form, or ``*``. ``query`` is None where there is no "?"."""

    target: bytes
    path: bytes
    query: bytes | None


# Segments of pchar without ";" and "%", none empty, none that begins with a dot: nothing to decode, nothing to doubt.
_PLAIN_PATH = re.compile(rb"(?:/[\w~!$&'()*+,=:@\-][\w.~!$&'()*+,=:@\-]*+)++/?+|/")
_ENCODED_PATH = re.compile(rb"/(?:[\w.~!$&'()*+,=:@/\-]|%[0-9A-Fa-f]{2})*+")
_QUERY = re.compile(rb"[\x21\x22\x24-\x7e]*+")
_ABSOLUTE = re.compile(rb"https?://([^/?#]*+)(.*+)", re.IGNORECASE | re.DOTALL)

# Names are narrower than reg-name: sub-delims and percent-encoding occur in no DNS name, only in attacks.
_HOST = re.compile(rb"(?:\[([0-9A-Fa-f:.]{2,45}+)\]|[\w\-]++(?:\.[\w\-]++)*+\.?+)(?::([0-9]{1,5}))?")
_MAX_HOST = 261  # 255 for the name, ":" and the port

# Encoded, these mean something only to a second decoder, else they would be written openly: separators, dots, "%"
# itself (double encoding), ";" and all that is unreserved (RFC 3986 section 2.3: producers must not encode it, and
# "%61dmin" is "admin" to the upstream).
_NEVER_ENCODED = frozenset(b"/\\%;.-_~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
_SEPARATORS = "/\\.%;?#"
# Fraction and division slash, set minus, big solidus and its reverse: no compatibility forms, but Windows writes the
# first three as "/" and "\\" where it has to fit them into a code page.
_LOOK_LIKE_SEPARATORS = frozenset("\u2044\u2215\u2216\u29f8\u29f9")


# Nearly every request names the same few hosts.
@lru_cache(maxsize=64)
def check_host(value: bytes) -> None:
    """Check the value of Host or an authority: a name, an IPv4 address or ``[IPv6]``, perhaps a port. Else 400."""
    match = _HOST.fullmatch(value)
    if match is None or len(value) > _MAX_HOST:
        raise ProtocolError(Reason.BAD_REQUEST, "bad_host")
    address, port = match.groups()
    if port is not None and int(port) > 65535:
        raise ProtocolError(Reason.BAD_REQUEST, "bad_host")
    if address is not None:
        try:
            IPv6Address(address.decode("ascii"))
        except AddressValueError:
            raise ProtocolError(Reason.BAD_REQUEST, "bad_host") from None


def parse_target(method: bytes, target: bytes, host: bytes) -> Target:
    """The target of a request in origin-form.

    ``host`` is the validated Host (b"" where there is none); the authority of an absolute-form must equal it. Raises
    ProtocolError (400) with ``target_form``, ``path_form``, ``query_form`` or ``host_conflict``.
    """
    if target[:1] != b"/":
        if target == b"*":
            if method != b"OPTIONS":
                _refuse("target_form")
            return Target(b"*", b"*", None)
        target = _origin_form(method, target, host)
        if target == b"*":
            return Target(b"*", b"*", None)
    path, mark, query = target.partition(b"?")
    if not _PLAIN_PATH.fullmatch(path):
        _check_path(path)
    if not mark:
        return Target(target, path, None)
    if not _QUERY.fullmatch(query):
        _refuse("query_form")
    return Target(target, path, query)


def _origin_form(method: bytes, target: bytes, host: bytes) -> bytes:
    """Reduce absolute-form to origin-form; authority-form and all else is refused."""
    match = _ABSOLUTE.fullmatch(target)
    if match is None:
        _refuse("target_form")
    authority, rest = match.groups()
    check_host(authority)
    if authority.lower() != host.lower():
        _refuse("host_conflict")
    if not rest:
        # RFC 9112 section 3.2.4: OPTIONS without a path asks about the server as a whole.
        return b"*" if method == b"OPTIONS" else b"/"
    return rest if rest[:1] == b"/" else b"/" + rest


def _check_path(path: bytes) -> None:
    """Refuse what section 4 of the threat model names; the path itself is left as it is."""
    text = _decoded(path)
    # Character by character: normalising a run of combining marks as a whole costs quadratic time.
    folded = "".join(unicodedata.normalize("NFKC", char) for char in text)
    if any("\x7f" <= char <= "\x9f" for char in folded) or _hides_separator(text, folded):
        _refuse("path_form")
    _check_segments(folded.split("/")[1:])


def _decoded(path: bytes) -> str:
    if not _ENCODED_PATH.fullmatch(path):
        _refuse("path_form")
    first, *encoded = path.split(b"%")
    decoded = bytearray(first)
    for piece in encoded:
        byte = int(piece[:2], 16)
        if byte < 0x20 or byte == 0x7F or byte in _NEVER_ENCODED:
            _refuse("path_form")
        decoded.append(byte)
        decoded += piece[2:]
    try:
        return decoded.decode("utf-8")
    except UnicodeDecodeError:
        _refuse("path_form")


def _hides_separator(text: str, folded: str) -> bool:
    """Whether something reads as a separator to some, as a full-width solidus does."""
    if not _LOOK_LIKE_SEPARATORS.isdisjoint(text):
        return True
    return text != folded and any(folded.count(char) != text.count(char) for char in _SEPARATORS)


def _check_segments(segments: list[str]) -> None:
    """Refuse empty segments (but a final one) and segments of dots, also with blanks around."""
    for index, segment in enumerate(segments, 1):
        if segment.strip().strip(".") == "" and (segment or index < len(segments)):
            _refuse("path_form")


def _refuse(detail: str) -> NoReturn:
    raise ProtocolError(Reason.BAD_REQUEST, detail)


#: How a token's segment is written in a configuration, and shown wherever a path is shown.
TOKEN_SEGMENT = b"{token}"


@frozen
class PathMap:
    """``prefix`` is the route's path and ``place`` what stands for it, both raw. Where it ``has_token``, the segment
    behind the prefix, which then ends in a slash, is the token.
    """

    prefix: bytes
    place: bytes
    has_token: bool = False

    def owns(self, path: bytes) -> bool:
        """Whether the prefix owns ``path``, by whole segments."""
        return path == self.prefix or path.startswith(self.prefix.rstrip(b"/") + b"/")

    def of(self, target: bytes) -> bytes:
        """What is sent for ``target``, whose path the prefix owns."""
        path, mark, query = target.partition(b"?")
        rest = self.rest(path)
        return (self.place.rstrip(b"/") + rest if rest else self.place) + mark + query

    def rest(self, path: bytes) -> bytes:
        """What follows the prefix and the token in ``path``, from its slash on; b"" where nothing does."""
        if self.has_token:
            end = path.find(b"/", len(self.prefix))
            return path[end:] if end >= 0 else b""
        return b"" if path == self.prefix else path[len(self.prefix.rstrip(b"/")) :]

    def shown(self, path: bytes, *, proved: bool) -> bytes:
        """``path`` without its token, for all to see; where that has not ``proved`` right, nothing behind it either."""
        if not self.has_token or len(path) <= len(self.prefix):
            return path
        return self.prefix + TOKEN_SEGMENT + (self.rest(path) if proved else b"")


def map_of(path: bytes, rewrite: bytes | None, base: bytes, *, has_token: bool) -> PathMap | None:
    """The map of a route at ``path`` that has a ``rewrite``, a ``base`` (without a slash at its end) before all paths,
    or a token behind its path; None where requests go to the path they came to.
    """
    if rewrite is None and not base and not has_token:
        return None
    place = path if rewrite is None else rewrite
    if has_token and rewrite is None:
        place = path.rstrip(b"/") or b"/"
    return PathMap(path, base + place, has_token)
