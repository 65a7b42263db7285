"""What was signed is not byte for byte what came: the body is at fault, or the URL.

Each supposition about a body is something that frameworks, proxies and scripts do to it between signing and sending.
Bodies are bounded before they come here, and so is what they may become.

Of schemes that sign the URL, the path or the query: what the provider signed is not what we were told, or a proxy in
front changed the request. Schemes and hosts are tried as the request itself and the usual headers of proxies name them:
only to find the cause, never to admit anything.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import re
import zlib
from collections.abc import Callable, Iterator
from json.encoder import encode_basestring
from urllib.parse import parse_qsl, quote, quote_plus, unquote, unquote_plus, urlsplit, urlunsplit

from proxy.core.causes.trial import MAX_BODY_BYTES, Facts, Trial, cause, fitting, with_target
from proxy.core.signing.evidence import public_url_of

#: What a compressed body may become.
_MAX_INFLATED_BYTES = 4 * MAX_BODY_BYTES
#: What an indented one may become.
_MAX_INDENTED = 4 * MAX_BODY_BYTES
_BOM = b"\xef\xbb\xbf"
_MAX_FIELDS = 1000
_FORM_KEYS = (b"payload=", b"data=", b"body=", b"message=", b"json=")


def _tried(forms: Callable[[bytes], Iterator[bytes]]) -> Callable[[Trial], Facts | None]:
    """The cause is that one of these forms of the body was signed, and is not what came."""

    def find(trial: Trial) -> Facts | None:
        body = trial.body
        others = dict.fromkeys(forms(body)) if body is not None else ()
        return fitting(trial.fits(body=other) for other in others if other != body)

    return find


@cause(
    "body_line_end",
    "The body was signed with {secret}, but for a newline or blanks at its end.",
    "Sign exactly the bytes that are sent: printf %s instead of echo, curl --data-binary instead of -d.",
)
@_tried
def _line_end(body: bytes) -> Iterator[bytes]:
    yield body + b"\n"
    yield body + b"\r\n"
    yield body.removesuffix(b"\n")
    yield body.rstrip(b"\r\n")
    yield body.strip()


@cause(
    "body_line_ends",
    "The body was signed with {secret}, with other line ends (CRLF for LF, or the other way round).",
    "Send the file as it is: curl --data-binary, no text mode, and nothing in front that rewrites line ends.",
)
@_tried
def _line_ends(body: bytes) -> Iterator[bytes]:
    plain = body.replace(b"\r\n", b"\n")
    yield plain
    yield plain.replace(b"\n", b"\r\n")


@cause(
    "body_reencoded",
    "The body was signed with {secret} before it was parsed and written again as JSON.",
    "Sign and send the same bytes: serialise once; let no proxy or gateway in front transform the body.",
)
@_tried
def _reencoded(body: bytes) -> Iterator[bytes]:
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
)
@_tried
def _compressed(body: bytes) -> Iterator[bytes]:
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
)
@_tried
def _form_field(body: bytes) -> Iterator[bytes]:
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
)
@_tried
def _charset(body: bytes) -> Iterator[bytes]:
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
)
@_tried
def _in_base64(body: bytes) -> Iterator[bytes]:
    with contextlib.suppress(binascii.Error):
        yield binascii.a2b_base64(body, strict_mode=True)
    yield base64.b64encode(body)


@cause(
    "body_left_out",
    "The signature was made with {secret} over an empty body.",
    "Sign the body that is sent: the sender computes the signature before it has the body.",
)
def _signed_without_body(trial: Trial) -> Facts | None:
    return fitting([trial.fits(body=b"")]) if trial.body else None


@cause(
    "body_empty",
    "The request came without a body, and something was signed.",
    "Look for a redirect or a proxy in front that turns the request into one without content.",
    guess=True,
)
def _empty(trial: Trial) -> Facts | None:
    return {} if trial.body == b"" else None


@cause(
    "body_not_held",
    "The body is not here as a whole: it was longer than what is kept, or it was refused before it came.",
    "Save a delivery at the sender and ask `hookward explain FILE`; compare the secret first.",
    guess=True,
)
def _not_here(trial: Trial) -> Facts | None:
    return {} if trial.body is None else None


_OF_TARGET = re.compile(r"\{(?:target|path|query|encoded_target|param:[^}]*)\}")
_HOSTS = (b"x-forwarded-host", b"x-original-host", b"x-host")
_ORIGINAL_TARGETS = (b"x-original-uri", b"x-original-url", b"x-forwarded-uri", b"x-rewrite-url")
_AUTHORITY = re.compile(r"[A-Za-z0-9.-]{1,253}(?::[0-9]{1,5})?")
_TARGET = re.compile(r"/[\x21-\x7e]{0,4096}")
_PORTS = {"https": ":443", "http": ":80"}


def _url(trial: Trial) -> str | None:
    """The URL as we take it to be signed; None where the scheme signs none."""
    check = trial.check
    if check is None or check.public_url is None or not check.scheme.signs_url:
        return None
    return public_url_of(check.public_url, trial.head.target).decode("utf-8", "replace")


def _sent_to(
    targets: Callable[[Trial], Iterator[str]] = lambda _trial: iter(()),
) -> Callable[[Callable[[Trial, str], Iterator[str]]], Callable[[Trial], Facts | None]]:
    """The cause is that one of these URLs was signed; where parts of the target are, which schemes read from the head,
    that it was one of ``targets``.
    """

    def tried(urls: Callable[[Trial, str], Iterator[str]]) -> Callable[[Trial], Facts | None]:
        def find(trial: Trial) -> Facts | None:
            url = _url(trial)
            if url is not None:
                return fitting(trial.fits(public_url=one) for one in dict.fromkeys(urls(trial, url)))
            if trial.scheme is None or not _OF_TARGET.search(trial.scheme.signed):
                return None
            texts = (target.encode("latin-1", "replace") for target in dict.fromkeys(targets(trial)))
            return fitting(trial.fits(head=with_target(trial.head, text)) for text in texts)

        return find

    return tried


def _path_and_query(trial: Trial) -> tuple[str, str]:
    return trial.head.path.decode("latin-1"), (trial.head.query or b"").decode("latin-1")


def _queries(text: str) -> Iterator[str]:
    yield unquote(text)
    yield unquote(text.replace("+", " "))
    yield quote(text, safe="=&%")
    yield "&".join(sorted(text.split("&")))
    yield text.replace("+", "%20")
    yield text.replace("%20", "+")


def _targets_in_query(trial: Trial) -> Iterator[str]:
    """What the target may have been before a proxy changed its query."""
    path, text = _path_and_query(trial)
    yield path
    for other in _queries(text) if text else ():
        yield f"{path}?{other}"


def _targets(trial: Trial) -> Iterator[str]:
    """What the target may have been before a proxy changed its path."""
    head, (path, text) = trial.head, _path_and_query(trial)
    rest = f"?{text}" if text else ""
    originals = [(head.get(name) or b"").decode("latin-1") for name in _ORIGINAL_TARGETS]
    yield from filter(_TARGET.fullmatch, originals)
    prefix = (head.get(b"x-forwarded-prefix") or b"").decode("latin-1").rstrip("/")
    if _TARGET.fullmatch(prefix):
        yield prefix + path + rest
    yield (path.rstrip("/") if len(path) > 1 and path.endswith("/") else path + "/") + rest
    yield unquote(path) + rest


@cause(
    "url_scheme",
    "The signature with {secret} is right for http:// where public_url says https://, or the other way round.",
    "Write the URL in public_url exactly as it is configured at the provider.",
)
@_sent_to()
def _scheme(_trial: Trial, url: str) -> Iterator[str]:
    parts = urlsplit(url)
    yield urlunsplit(parts._replace(scheme="http" if parts.scheme == "https" else "https"))


@cause(
    "url_host",
    "The signature with {secret} is right for another host or port than that of public_url.",
    "Write the URL in public_url exactly as it is configured at the provider.",
)
@_sent_to()
def _host(trial: Trial, url: str) -> Iterator[str]:
    parts = urlsplit(url)
    own = parts.netloc
    bare = re.sub(r":\d+$", "", own)
    named = [trial.head.host, *(trial.head.get(name) or b"" for name in _HOSTS)]
    hosts = [host for host in (value.decode("latin-1") for value in named) if _AUTHORITY.fullmatch(host)]
    for host in dict.fromkeys([*hosts, *(re.sub(r":\d+$", "", one) for one in hosts), bare, own.lower()]):
        for scheme in ("https", "http"):
            yield urlunsplit(parts._replace(scheme=scheme, netloc=host))
            yield urlunsplit(parts._replace(scheme=scheme, netloc=host + _PORTS[scheme]))


@cause(
    "url_query",
    "The signature with {secret} is right for another query than the one that came.",
    "A proxy in front adds, drops, sorts or decodes the query: let it pass as it is. A whole public_url has the "
    "query of the request.",
)
@_sent_to(_targets_in_query)
def _query(trial: Trial, url: str) -> Iterator[str]:
    parts, (path, came) = urlsplit(url), _path_and_query(trial)
    if parts.path != path:
        return
    for text in ("", came, *_queries(parts.query), *_queries(came)):
        yield urlunsplit(parts._replace(query=text))
    yield url + "?"


@cause(
    "url_path",
    "The signature with {secret} is right for another path than the one that came.",
    "A proxy in front takes away or adds a part of the path, or its last slash: let it pass as it is. A whole "
    "public_url has the path of the request.",
)
@_sent_to(_targets)
def _path(trial: Trial, url: str) -> Iterator[str]:
    parts = urlsplit(url)
    yield url
    for target in _targets(trial):
        path, _, text = target.partition("?")
        yield urlunsplit(parts._replace(path=path, query=text))
    for path in (_path_and_query(trial)[0], parts.path.rstrip("/"), parts.path + "/", unquote(parts.path)):
        yield urlunsplit(parts._replace(path=path))
