"""The body is at fault: what was signed is not byte for byte what came.

Each supposition is something that frameworks, proxies and scripts do to a body between signing and sending. Bodies are
bounded before they come here, and so is what they may become.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import zlib
from collections.abc import Iterator
from dataclasses import replace
from json.encoder import encode_basestring
from urllib.parse import parse_qsl, quote_plus, unquote_plus

from proxy.core.causes.trial import MAX_BODY_BYTES, Facts, Trial
from proxy.core.signing.documents import read_json, scalar_text, walk

#: What a compressed body may become.
_MAX_INFLATED_BYTES = 4 * MAX_BODY_BYTES
#: What an indented one may become.
_MAX_INDENTED = 4 * MAX_BODY_BYTES
_BOM = b"\xef\xbb\xbf"
_MAX_FIELDS = 1000
_FORM_KEYS = (b"payload=", b"data=", b"body=", b"message=", b"json=")


def _name(secret: str | None) -> Facts | None:
    return None if secret is None else {"secret": secret}


def line_end(trial: Trial) -> Facts | None:
    """A newline at the end was added or lost."""
    body = trial.body
    if body is None:
        return None
    return _name(trial.fits_any(other for other in _line_ended(body) if other != body))


def _line_ended(body: bytes) -> Iterator[bytes]:
    yield body + b"\n"
    yield body + b"\r\n"
    yield body.removesuffix(b"\n")
    yield body.rstrip(b"\r\n")
    yield body.strip()


def line_ends(trial: Trial) -> Facts | None:
    """CRLF became LF, or LF became CRLF."""
    body = trial.body
    if body is None or b"\n" not in body:
        return None
    plain = body.replace(b"\r\n", b"\n")
    return _name(trial.fits_any(other for other in (plain, plain.replace(b"\n", b"\r\n")) if other != body))


def reencoded(trial: Trial) -> Facts | None:
    """The JSON was parsed and written again."""
    body = trial.body
    if body is None:
        return None
    return _name(trial.fits_any(other for other in dict.fromkeys(_json_forms(body)) if other != body))


def _json_forms(body: bytes) -> Iterator[bytes]:
    """How libraries write the same JSON: compact, with blanks, sorted, escaped, indented."""
    try:
        tree = json.loads(body.decode("utf-8"))
    except (ValueError, RecursionError):
        return
    yield from _written(tree)
    if isinstance(tree, str):  # a text that is JSON once more: it was encoded twice
        yield tree.encode("utf-8", "surrogatepass")
    yield json.dumps(body.decode("utf-8")).encode("ascii")


def _written(tree: object) -> Iterator[bytes]:
    separators = ((",", ":"), (", ", ": "))
    try:
        for ascii_only in (False, True):
            for separator in separators:
                for sort in (False, True):
                    text = json.dumps(tree, separators=separator, ensure_ascii=ascii_only, sort_keys=sort)
                    yield text.encode("utf-8", "surrogatepass")
            compact = json.dumps(tree, separators=separators[0], ensure_ascii=ascii_only)
            yield compact.replace("/", "\\/").encode("utf-8", "surrogatepass")  # PHP's json_encode
        for indent in ("  ", "    ", "\t"):
            yield Indented(indent).text(tree).encode("utf-8", "surrogatepass")
    except (ValueError, RecursionError):
        return


class Indented:
    """Writes as ``json.dumps(tree, indent=indent, ensure_ascii=False)`` does, which leaves reference cycles behind.

    Blanks of each line grow with the depth, so a small body may become very long: ValueError beyond the bound.
    """

    def __init__(self, indent: str) -> None:
        self._indent = indent
        self._room = _MAX_INDENTED
        self._pieces: list[str] = []

    def text(self, tree: object) -> str:
        """The text of one document. ValueError where it is too long, RecursionError where it is too deep."""
        self._write(tree, "\n")
        return "".join(self._pieces)

    def _write(self, tree: object, line: str) -> None:
        inner = line + self._indent
        if isinstance(tree, dict) and tree:
            opener = "{" + inner
            for key, value in tree.items():
                self._put(f"{opener}{encode_basestring(key)}: ")
                self._write(value, inner)
                opener = "," + inner
            self._put(line + "}")
        elif isinstance(tree, list) and tree:
            opener = "[" + inner
            for value in tree:
                self._put(opener)
                self._write(value, inner)
                opener = "," + inner
            self._put(line + "]")
        else:
            self._put(encode_basestring(tree) if isinstance(tree, str) else json.dumps(tree))

    def _put(self, text: str) -> None:
        self._room -= len(text)
        if self._room < 0:
            raise ValueError("too long")
        self._pieces.append(text)


def compressed(trial: Trial) -> Facts | None:
    """The body came compressed, and was signed before."""
    body = trial.body
    if not body:
        return None
    return _name(trial.fits_any(_inflated(body)))


def _inflated(body: bytes) -> Iterator[bytes]:
    for window in (47, -15):  # gzip or zlib by its header; raw deflate
        inflater = zlib.decompressobj(window)
        try:
            content = inflater.decompress(body, _MAX_INFLATED_BYTES)
        except zlib.error:
            continue
        if inflater.eof:
            yield content


def form_field(trial: Trial) -> Facts | None:
    """What was signed is the JSON inside a form's ``payload=``, or the form around the JSON that came."""
    body = trial.body
    if not body:
        return None
    return _name(trial.fits_any(other for other in _form_bodies(body) if other != body))


def _form_bodies(body: bytes) -> Iterator[bytes]:
    if body[:1] in (b"{", b"["):
        escaped = quote_plus(body).encode("ascii")
        for key in _FORM_KEYS:
            yield key + escaped
            yield key + body
        return
    for key in _FORM_KEYS:
        if body.startswith(key):
            text = body[len(key) :].partition(b"&")[0].decode("utf-8", "replace")
            yield unquote_plus(text).encode("utf-8")
            yield body[len(key) :]
    if b"=" in body:
        with contextlib.suppress(ValueError):
            pairs = parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=_MAX_FIELDS)
            yield json.dumps(dict(pairs), separators=(",", ":")).encode("utf-8")


def charset(trial: Trial) -> Facts | None:
    """Text was written in another character set, or with a byte order mark."""
    body = trial.body
    if not body:
        return None
    return _name(trial.fits_any(other for other in _charsets(body) if other != body))


def _charsets(body: bytes) -> Iterator[bytes]:
    yield body.removeprefix(_BOM) if body.startswith(_BOM) else _BOM + body
    if body.isascii():
        return
    for source, wanted in (("utf-8", "latin-1"), ("latin-1", "utf-8"), ("cp1252", "utf-8"), ("utf-8", "cp1252")):
        try:
            yield body.decode(source).encode(wanted)
        except UnicodeError:
            continue
    yield body.decode("utf-8", "replace").encode("utf-8")


def in_base64(trial: Trial) -> Facts | None:
    """The body came in base64, as some gateways hand it on, and was signed before; or the other way round."""
    body = trial.body
    if not body:
        return None
    return _name(trial.fits_any(_base64_forms(body)))


def _base64_forms(body: bytes) -> Iterator[bytes]:
    with contextlib.suppress(binascii.Error):
        yield binascii.a2b_base64(body, strict_mode=True)
    yield base64.b64encode(body)


def signed_without_body(trial: Trial) -> Facts | None:
    """The signature is right for an empty body, and one came."""
    return _name(trial.fits(body=b"")) if trial.body else None


def empty(trial: Trial) -> Facts | None:
    """Nothing came where something was signed. A guess: an empty body is hardly ever a webhook."""
    return {} if trial.body == b"" else None


def not_here(trial: Trial) -> Facts | None:
    """The body was longer than what is held, so nothing about it can be tried."""
    return {} if trial.body is None else None


def of_another_topic(trial: Trial) -> Facts | None:
    """The message is of a topic that the route does not list."""
    document = None if trial.scheme is None else trial.scheme.document
    if document is None or document.topic is None or trial.body is None:
        return None
    topic = scalar_text(walk(read_json(trial.body), document.topic))
    return None if topic is None else _name(trial.fits(topics=(topic.decode("utf-8", "replace"),)))


def other_opening(trial: Trial) -> Facts | None:
    """The body begins as no delivery of the provider does."""
    scheme = trial.scheme
    if scheme is None or not scheme.opening or trial.body is None:
        return None
    name = trial.fits(scheme=replace(scheme, opening=b""))
    return None if name is None else {"secret": name, "title": trial.title}
