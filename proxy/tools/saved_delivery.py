"""A saved delivery: raw HTTP, a curl command line, a HAR file of a browser or a proxy, or the page of a provider.

What was saved is seldom byte for byte what was sent: editors change line ends and add a newline, tools decode. Each
repair that reading needs is noted, because it may be the very reason why a signature does not match. The head is then
read by the same grammar as one from the network. Mistake where there is no delivery.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from dataclasses import field, replace
from datetime import datetime
from urllib.parse import quote, urlencode, urlsplit

from proxy.core.content import ChunkedDecoder
from proxy.errors import Mistake, ProtocolError
from proxy.http1 import write_request_head
from proxy.tools.pasted import CurlRequest, ReadFile, read_curl, read_page
from proxy.values import frozen

_REQUEST_LINE = re.compile(rb"(?:> )?[!#$%&'*+.^_`|~0-9A-Za-z-]+ \S+ HTTP/[0-9.]+\r?\n")
_END_OF_HEAD = re.compile(rb"\r?\n\r?\n")
_VERSION = re.compile(rb" HTTP/[23](?:\.0)?$")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_LENGTH = re.compile(rb"\r\ncontent-length: *[0-9]+\r\n", re.IGNORECASE)
_FRAMING = frozenset({"content-length", "transfer-encoding", "host", "connection"})
_CURL = re.compile(r"(?:\$ )?(?:\S*/)?curl\s")


@frozen
class Saved:
    """One delivery. ``head`` is the bytes of the head; ``at`` is when it was sent, in seconds since the epoch."""

    head: bytes = field(repr=False)
    body: bytes = field(repr=False)
    form: str  # "raw HTTP", "a curl command", "a HAR file" or "a provider's page"
    notes: tuple[str, ...] = ()
    at: float | None = None
    is_of_page: bool = False  # its body is written for people, perhaps, and not as it was sent

    def with_body(self, body: bytes, *notes: str) -> Saved:
        """It with another body, and more notes."""
        head = _LENGTH.sub(b"\r\nContent-Length: %d\r\n" % len(body), self.head)
        return replace(self, head=head, body=body, notes=(*self.notes, *notes))


def no_files(path: str) -> bytes:
    """The ``read_file`` of a delivery that may not name other files."""
    raise Mistake(f"the command reads the file {path[:80]!r}", "put its content into the command, or save raw HTTP")


def read_saved(data: bytes, read_file: ReadFile = no_files, *, entry: int | None = None) -> Saved:
    """The delivery in ``data``. ``entry`` chooses one of a HAR file, counted from 1; else the first with a body."""
    start = data.removeprefix(b"\xef\xbb\xbf").lstrip()
    if start.startswith(b"{"):
        return _read_har(start, entry)
    text = start[:4096].decode("utf-8", "replace")
    if _CURL.match(text):
        return _read_curl(start.decode("utf-8", "surrogateescape").removeprefix("$ "), read_file)
    if _REQUEST_LINE.match(start):
        return _read_raw(start)
    page = read_page(start.decode("utf-8", "surrogateescape"))
    if page is not None:
        made = _built(page.request, "a provider's page", page.notes, None)
        return replace(made, is_of_page=True)
    raise Mistake(
        "this is no saved delivery",
        "give raw HTTP (POST /path HTTP/1.1, headers, an empty line, the body), a curl command line, a HAR file, or "
        "what the provider's page of the delivery shows: URL, headers and payload",
    )


# -- raw HTTP


def _read_raw(data: bytes) -> Saved:
    notes: list[str] = []
    end = _END_OF_HEAD.search(data)
    text, rest = (data, b"") if end is None else (data[: end.start()], data[end.end() :])
    lines = _raw_lines(text, notes)
    if _VERSION.search(lines[0]):
        lines[0] = _VERSION.sub(b" HTTP/1.1", lines[0])
        notes.append("the version was read as HTTP/1.1")
    fields = [_split(line) for line in lines[1:]]
    if b"host" not in dict(fields):
        lines.append(b"Host: localhost")
        notes.append("there is no Host; localhost was put there")
    body, lines = _raw_body(rest, fields, lines, notes)
    return Saved(b"\r\n".join(lines) + b"\r\n\r\n", body, "raw HTTP", tuple(notes))


def _raw_lines(text: bytes, notes: list[str]) -> list[bytes]:
    lines = text.split(b"\n")
    if any(not line.endswith(b"\r") for line in lines[:-1]):
        notes.append("the line ends of the head were LF and were read as CRLF; those of the body are as they are")
    lines = [line.removesuffix(b"\r") for line in lines]
    if not all(line.startswith(b"> ") for line in lines if line):
        return lines
    notes.append("the marks of `curl -v` before each line were removed")
    return [line[2:] for line in lines]


def _split(line: bytes) -> tuple[bytes, bytes]:
    name, _, value = line.partition(b":")
    return name.strip().lower(), value.strip()


def _raw_body(
    rest: bytes, fields: list[tuple[bytes, bytes]], lines: list[bytes], notes: list[str]
) -> tuple[bytes, list[bytes]]:
    """The body, and the head's lines with a length that is right for it."""
    values = dict(fields)
    length = values.get(b"content-length", b"")
    if values.get(b"transfer-encoding", b"").lower() == b"chunked":
        joined = _unchunked(rest)
        taken = "the body is not in chunks, although the head says so: it was taken as it is"
        notes.append(taken if joined is None else "the chunks of the body were joined")
        body = rest if joined is None else joined
        return body, _with_length(lines, len(body))
    if not length.isdigit():
        return rest, _with_length(lines, len(rest)) if rest and not length else lines
    said = int(length)
    if len(rest) > said:
        more = rest[said:]
        what = "a newline" if not more.strip(b"\r\n") else f"{len(more)} bytes"
        notes.append(f"{what} behind the body, beyond its Content-Length, was left out")
        return rest[:said], lines
    if len(rest) < said:
        notes.append(f"the body is not what was sent: {len(rest)} bytes are here, and its Content-Length is {said}")
        return rest, _with_length(lines, len(rest))
    return rest, lines


def _unchunked(data: bytes) -> bytes | None:
    decoder = ChunkedDecoder(None)
    try:
        content = decoder.feed(data)
    except ProtocolError:
        return None
    return bytes(content) if decoder.done else None


def _with_length(lines: list[bytes], length: int) -> list[bytes]:
    kept = [line for line in lines if _split(line)[0] not in (b"content-length", b"transfer-encoding")]
    return [*kept, b"Content-Length: %d" % length]


# -- curl and HAR: the head is written from their parts


def _read_curl(text: str, read_file: ReadFile) -> Saved:
    request = read_curl(text, read_file)
    note = "the command has shell variables, whose values are not known here: they were left as written"
    return _built(request, "a curl command", [note] * request.variables, None)


def _read_har(data: bytes, entry: int | None) -> Saved:
    try:
        tree = json.loads(data)
    except (ValueError, RecursionError):
        raise Mistake("the file begins like JSON and is none", "save it again as a HAR file, or raw HTTP") from None
    entries = _at(tree, "log", "entries")
    if not isinstance(entries, list) or not entries:
        what = "the file is JSON and no HAR file (it has no log.entries): a payload alone, perhaps"
        raise Mistake(what, "put the URL and the headers above it, as the provider's page of the delivery shows them")
    notes: list[str] = []
    chosen = _choose(entries, entry, notes)
    request = _har_request(_at(chosen, "request"), notes)
    return _built(request, "a HAR file", notes, _instant(_at(chosen, "startedDateTime")))


def _choose(entries: list[object], entry: int | None, notes: list[str]) -> object:
    if entry is not None:
        if not 1 <= entry <= len(entries):
            raise Mistake(f"the HAR file has {len(entries)} entries", f"choose from 1 to {len(entries)}")
        return entries[entry - 1]
    with_body = [at for at, one in enumerate(entries) if _at(one, "request", "postData") is not None]
    at = with_body[0] if with_body else 0
    if len(entries) > 1:
        notes.append(f"entry {at + 1} of {len(entries)} was taken; --entry chooses another")
    return entries[at]


def _har_request(tree: object, notes: list[str]) -> CurlRequest:
    method, url = _at(tree, "method"), _at(tree, "url")
    if not isinstance(method, str) or not isinstance(url, str):
        raise Mistake("the entry of the HAR file has no request", "choose another with --entry")
    request = CurlRequest(method, url)
    for name, value in _har_pairs(_at(tree, "headers")):
        if isinstance(name, str) and isinstance(value, str) and not name.startswith(":"):
            request.fields.append((name, value))
    _har_content(_at(tree, "postData"), request, notes)
    return request


def _har_content(post: object, request: CurlRequest, notes: list[str]) -> None:
    text, params = _at(post, "text"), _har_pairs(_at(post, "params"))
    if isinstance(text, str) and text:
        request.body = _har_body(text, _at(post, "encoding") or _at(post, "_encoding"), notes)
    elif params:
        request.body = urlencode([(str(name), str(value or "")) for name, value in params]).encode("ascii")
        notes.append("the form was written again from its fields, which may differ from what was sent")


def _har_pairs(tree: object) -> list[tuple[object, object]]:
    return [(_at(one, "name"), _at(one, "value")) for one in tree] if isinstance(tree, list) else []


def _har_body(text: str, encoding: object, notes: list[str]) -> bytes:
    if encoding == "base64":
        try:
            return base64.b64decode(text, validate=True)
        except binascii.Error:
            raise Mistake("the body of the HAR file is not in base64, although it says so", "save it again") from None
    if "\N{REPLACEMENT CHARACTER}" in text:
        notes.append("the body was not text, and the HAR file has lost bytes of it")
    return text.encode("utf-8", "surrogatepass")


def _at(tree: object, *path: str) -> object:
    for key in path:
        tree = tree.get(key) if isinstance(tree, dict) else None
    return tree


def _instant(value: object) -> float | None:
    try:
        return datetime.fromisoformat(value).timestamp() if isinstance(value, str) else None
    except (ValueError, OverflowError, OSError):
        return None


def _built(request: CurlRequest, form: str, notes: list[str], at: float | None) -> Saved:
    try:
        parts = urlsplit(request.url)
        named = (value for name, value in request.fields if name.lower() == "host")
        host = next(named, parts.netloc.rpartition("@")[2])
        target = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~") + (f"?{parts.query}" if parts.query else "")
        kept = [(name, value) for name, value in request.fields if name.lower() not in _FRAMING]
        fields = [(b"Host", _line(host)), *((_name(name), _line(value)) for name, value in kept)]
        if request.body is not None:
            fields.append((b"Content-Length", b"%d" % len(request.body)))
        head = write_request_head(_line(request.method), target.encode("ascii"), fields)
    except ValueError:
        raise Mistake("the URL, method or a header is not as HTTP has it", "save the request as raw HTTP") from None
    return Saved(head, request.body or b"", form, tuple(notes), at)


def _name(text: str) -> bytes:
    if not _NAME.fullmatch(text):
        raise ValueError("no name of a header")
    return text.encode("ascii")


def _line(text: str) -> bytes:
    if re.search(r"[\r\n\0]", text):
        raise ValueError("a line break in a header")
    return text.encode("utf-8", "surrogateescape")
