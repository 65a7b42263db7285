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
from collections.abc import Callable, Iterator
from dataclasses import replace
from json.encoder import encode_basestring
from urllib.parse import parse_qsl, quote_plus, unquote_plus

from proxy.core.causes.trial import MAX_BODY_BYTES, Facts, Trial, cause
from proxy.core.signing.documents import read_json, scalar_text, walk
from proxy.reasons import Reason

#: What a compressed body may become.
_MAX_INFLATED_BYTES = 4 * MAX_BODY_BYTES
#: What an indented one may become.
_MAX_INDENTED = 4 * MAX_BODY_BYTES
_BOM = b"\xef\xbb\xbf"
_MAX_FIELDS = 1000
_FORM_KEYS = (b"payload=", b"data=", b"body=", b"message=", b"json=")


def _name(secret: str | None) -> Facts | None:
    return None if secret is None else {"secret": secret}


def _tried(forms: Callable[[bytes], Iterator[bytes]]) -> Callable[[Trial], Facts | None]:
    """The cause is that one of these forms of the body was signed, and is not what came."""

    def find(trial: Trial) -> Facts | None:
        body = trial.body
        if body is None:
            return None
        return _name(trial.fits_any(other for other in dict.fromkeys(forms(body)) if other != body))

    return find


@cause(
    "body_line_end",
    "The body was signed with {secret}, but for a newline or blanks at its end.",
    "Sign exactly the bytes that are sent: printf %s instead of echo, curl --data-binary instead of -d.",
    Reason.SIGNATURE_MISMATCH,
)
@_tried
def line_end(body: bytes) -> Iterator[bytes]:
    """A newline at the end was added or lost."""
    yield body + b"\n"
    yield body + b"\r\n"
    yield body.removesuffix(b"\n")
    yield body.rstrip(b"\r\n")
    yield body.strip()


@cause(
    "body_line_ends",
    "The body was signed with {secret}, with other line ends (CRLF for LF, or the other way round).",
    "Send the file as it is: curl --data-binary, no text mode, and nothing in front that rewrites line ends.",
    Reason.SIGNATURE_MISMATCH,
)
@_tried
def line_ends(body: bytes) -> Iterator[bytes]:
    """CRLF became LF, or LF became CRLF."""
    plain = body.replace(b"\r\n", b"\n")
    yield plain
    yield plain.replace(b"\n", b"\r\n")


@cause(
    "body_reencoded",
    "The body was signed with {secret} before it was parsed and written again as JSON.",
    "Sign and send the same bytes: serialise once; let no proxy or gateway in front transform the body.",
    Reason.SIGNATURE_MISMATCH,
)
@_tried
def reencoded(body: bytes) -> Iterator[bytes]:
    """The JSON was parsed and written again."""
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


@cause(
    "body_compressed",
    "The body came compressed and was signed with {secret} before it was compressed.",
    "Send it as it was signed: turn off compression of requests at the sender or in front.",
    Reason.SIGNATURE_MISMATCH,
)
@_tried
def compressed(body: bytes) -> Iterator[bytes]:
    """The body came compressed, and was signed before."""
    for window in (47, -15):  # gzip or zlib by its header; raw deflate
        inflater = zlib.decompressobj(window)
        try:
            content = inflater.decompress(body, _MAX_INFLATED_BYTES)
        except zlib.error:
            continue
        if inflater.eof:
            yield content


@cause(
    "body_form_field",
    "The JSON was signed with {secret}, and travels in another wrapping: a form's payload= on one side only.",
    "Choose application/json as the content type at the provider, or sign the form as it is sent.",
    Reason.SIGNATURE_MISMATCH,
)
@_tried
def form_field(body: bytes) -> Iterator[bytes]:
    """What was signed is the JSON inside a form's ``payload=``, or the form around the JSON that came."""
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


@cause(
    "body_charset",
    "The body was signed with {secret} in another character set, or with a byte order mark.",
    "Send UTF-8 without a byte order mark, and let nothing in front convert it.",
    Reason.SIGNATURE_MISMATCH,
)
@_tried
def charset(body: bytes) -> Iterator[bytes]:
    """Text was written in another character set, or with a byte order mark."""
    yield body.removeprefix(_BOM) if body.startswith(_BOM) else _BOM + body
    if body.isascii():
        return
    for source, wanted in (("utf-8", "latin-1"), ("latin-1", "utf-8"), ("cp1252", "utf-8"), ("utf-8", "cp1252")):
        try:
            yield body.decode(source).encode(wanted)
        except UnicodeError:
            continue
    yield body.decode("utf-8", "replace").encode("utf-8")


@cause(
    "body_base64",
    "The body was signed with {secret} and is in base64 on one side only.",
    "A gateway in front encodes bodies: let it pass this content type as it is.",
    Reason.SIGNATURE_MISMATCH,
)
@_tried
def in_base64(body: bytes) -> Iterator[bytes]:
    """The body came in base64, as some gateways hand it on, and was signed before; or the other way round."""
    with contextlib.suppress(binascii.Error):
        yield binascii.a2b_base64(body, strict_mode=True)
    yield base64.b64encode(body)


@cause(
    "body_left_out",
    "The signature was made with {secret} over an empty body.",
    "Sign the body that is sent: the sender computes the signature before it has the body.",
    Reason.SIGNATURE_MISMATCH,
)
def signed_without_body(trial: Trial) -> Facts | None:
    """The signature is right for an empty body, and one came."""
    return _name(trial.fits(body=b"")) if trial.body else None


@cause(
    "topic_other",
    "The signature with {secret} is right, and the message is of a topic that `topics` does not list.",
    "Add the topic's ARN to `topics` if it is yours: the same key signs for all customers of AWS.",
    Reason.SIGNATURE_MISMATCH,
)
def of_another_topic(trial: Trial) -> Facts | None:
    """The message is of a topic that the route does not list."""
    document = None if trial.scheme is None else trial.scheme.document
    if document is None or document.topic is None or trial.body is None:
        return None
    topic = scalar_text(walk(read_json(trial.body), document.topic))
    return None if topic is None else _name(trial.fits(topics=(topic.decode("utf-8", "replace"),)))


@cause(
    "body_no_delivery",
    "The signature with {secret} is right, and the body is none that {title} delivers: it is no object of JSON.",
    "The same key signs other texts, such as challenges and logins, so only objects are taken; send one.",
    Reason.SIGNATURE_MALFORMED,
)
def other_opening(trial: Trial) -> Facts | None:
    """The body begins as no delivery of the provider does."""
    scheme = trial.scheme
    if scheme is None or not scheme.opening or trial.body is None:
        return None
    name = trial.fits(scheme=replace(scheme, opening=b""))
    return None if name is None else {"secret": name, "title": trial.title}


@cause(
    "body_empty",
    "The request came without a body, and something was signed.",
    "Look for a redirect or a proxy in front that turns the request into one without content.",
    Reason.SIGNATURE_MISMATCH,
    guess=True,
)
def empty(trial: Trial) -> Facts | None:
    """Nothing came where something was signed. A guess: an empty body is hardly ever a webhook."""
    return {} if trial.body == b"" else None


@cause(
    "body_not_held",
    "The body is not here as a whole: it was longer than what is kept, or it was refused before it came.",
    "Save a delivery at the sender and ask `hookward explain FILE`; compare the secret first.",
    Reason.SIGNATURE_MISMATCH,
    guess=True,
)
def not_here(trial: Trial) -> Facts | None:
    """The body was longer than what is held, so nothing about it can be tried."""
    return {} if trial.body is None else None
