"""Deliveries as people paste them: a curl command line, and what the pages of providers show, GitHub's, GitLab's,
Forgejo's, Stripe's and others like them.

    Request URL: https://hooks.example.com/hooks/github
    Request method: POST
    X-Hub-Signature-256: sha256=...
    Payload
    {
      "zen": ...

Such a page shows the payload written anew, for people: with blanks and line ends that were never sent. So a page gives
the fields as they were, and several texts that the body may have been (``written_otherwise``); a signature tells which.
What the page says of the answer is left out. Every page is read in one pass, and none raises anything.

Of a command line, enough of a shell's quoting and of curl's options is known to know the request. Nothing is run and
nothing expanded: a variable in the line stays as it is written, and is reported. Files after ``@`` are read by a
function that the caller gives. What cannot be understood is a Mistake.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import field
from urllib.parse import quote_plus

from proxy.errors import Mistake
from proxy.values import mutable

ReadFile = Callable[[str], bytes]
Fields = list[tuple[str, str]]

_CONTINUED = re.compile(r"\\\r?\n")
_PIECE = re.compile(
    r"""\s+                                   # between words
    | '(?P<single>[^']*)'
    | \$'(?P<ansi>(?:[^'\\]|\\.)*)'
    | "(?P<double>(?:[^"\\]|\\.)*)"
    | \\(?P<escaped>.)
    | (?P<bare>[^\s'"\\$]+|\$(?!'))
    """,
    re.VERBOSE | re.DOTALL,
)
_ANSI = re.compile(r"\\(x[0-9A-Fa-f]{1,2}|u[0-9A-Fa-f]{1,4}|U[0-9A-Fa-f]{1,8}|[0-7]{1,3}|.)", re.DOTALL)
_ANSI_CHARS = {"n": "\n", "r": "\r", "t": "\t", "a": "\a", "b": "\b", "f": "\f", "v": "\v", "e": "\x1b"}
_VARIABLE = re.compile(r"\$[A-Za-z_{(]|`")

#: Options with an argument that do not change the request: both are skipped.
_IGNORED = frozenset(
    {"-o", "--output", "-m", "--max-time", "--connect-timeout", "-x", "--proxy", "--cacert", "--capath", "-E", "--cert"}
    | {"--key", "-w", "--write-out", "--resolve", "-c", "--cookie-jar", "--retry", "--retry-delay", "--limit-rate"}
    | {"--connect-to", "--interface", "-D", "--dump-header", "--tls-max"}
)
_HEADERS = {"-H": "", "-A": "User-Agent: ", "-e": "Referer: ", "-b": "Cookie: "}
_HEADERS |= {"--header": "", "--user-agent": "User-Agent: ", "--referer": "Referer: ", "--cookie": "Cookie: "}
_DATA = frozenset({"-d", "--data", "--data-ascii", "--data-raw", "--data-binary", "--data-urlencode", "--json"})
#: Options whose argument is used.
_TAKEN = frozenset({"-X", "--request", "-u", "--user", "--url", *_HEADERS, *_DATA})
_REFUSED = {"-F": "multipart forms", "--form": "multipart forms", "-T": "uploads", "--upload-file": "uploads"}
_REFUSED |= {"-G": "data in the query", "--get": "data in the query", "-K": "configuration files", "--config": "them"}


@mutable
class CurlRequest:
    """What the line would send. ``variables``: it has shell variables, whose values are not known here."""

    method: str = ""
    url: str = ""
    fields: Fields = field(default_factory=list)
    body: bytes | None = field(default=None, repr=False)
    variables: bool = False


def read_curl(text: str, read_file: ReadFile) -> CurlRequest:
    """The request of a line that begins with ``curl``. Mistake where it cannot be known."""
    request = CurlRequest()
    words = list(_words(_CONTINUED.sub(" ", text.strip()), request))
    if not words or words[0].rpartition("/")[2] != "curl":
        raise Mistake("this is no curl command", "begin the file with the word curl")
    _take_options(_options(words[1:]), request, read_file)
    if not request.url:
        raise Mistake("the command has no URL", "copy the whole line")
    if "://" not in request.url:
        request.url = "http://" + request.url
    request.method = request.method or ("GET" if request.body is None else "POST")
    return request


def _words(text: str, request: CurlRequest) -> Iterator[str]:
    """The words of the first command."""
    at, word, begun = 0, "", False
    while at < len(text):
        match = _PIECE.match(text, at)
        if match is None:
            raise Mistake("a quotation mark of the command is not closed", "copy the whole line")
        at = match.end()
        kind = match.lastgroup
        if kind is None:
            if begun:
                yield word
            word, begun = "", False
            continue
        piece = match[kind]
        if kind == "bare" and piece[0] in "|;&>" and not begun:
            return
        request.variables |= kind in {"double", "bare"} and _VARIABLE.search(text[match.start() : at + 1]) is not None
        word += _UNQUOTED.get(kind, str)(piece)
        begun = True
    if begun:
        yield word


def _undouble(text: str) -> str:
    return re.sub(r"\\([\\\"$`\n])", lambda match: "" if match[1] == "\n" else match[1], text)


def _ansi_char(match: re.Match[str]) -> str:
    code = match[1]
    if code[0] in "xuU" and len(code) > 1:
        number = int(code[1:], 16)
        return chr(number) if number < 0x110000 else "\N{REPLACEMENT CHARACTER}"
    if code.isdigit():
        return chr(int(code, 8) & 0xFF)
    return _ANSI_CHARS.get(code, code)


#: How what stands in quotes is read; all else is as it stands.
_UNQUOTED: dict[str, Callable[[str], str]] = {"ansi": lambda text: _ANSI.sub(_ansi_char, text), "double": _undouble}


def _options(words: list[str]) -> Iterator[tuple[str, str]]:
    """(option, argument) in order; a word of its own is the URL."""
    rest = iter(words)
    for word in rest:
        if word.startswith("--"):
            name, sign, value = word.partition("=")
            if name in _TAKEN | _IGNORED and not sign:
                value = next(rest, "")
            yield name, value
        elif word.startswith("-") and len(word) > 1:
            yield from _short(word[1:], rest)
        else:
            yield "--url", word


def _short(letters: str, rest: Iterator[str]) -> Iterator[tuple[str, str]]:
    """``-sXPOST``: several flags in one word, the last of which may be followed by its argument."""
    for at, letter in enumerate(letters):
        name = f"-{letter}"
        if name in _TAKEN | _IGNORED:
            yield name, letters[at + 1 :] or next(rest, "")
            return
        yield name, ""


def _take_options(options: Iterator[tuple[str, str]], request: CurlRequest, read_file: ReadFile) -> None:
    data: list[bytes] = []
    for name, value in options:
        if name in _REFUSED:
            raise Mistake(f"{name} ({_REFUSED[name]}) is not understood here", "save the request as raw HTTP")
        if name in _HEADERS:
            _take_header(request, _HEADERS[name] + value)
        elif name in _DATA:
            data.append(_data(name, value, read_file))
        else:
            _take_rest(name, value, request)
        if name == "--json":
            _take_default(request, "Content-Type", "application/json")
    if data:
        request.body = b"&".join(data)
        _take_default(request, "Content-Type", "application/x-www-form-urlencoded")
    _take_default(request, "User-Agent", "curl")
    _take_default(request, "Accept", "*/*")


def _take_rest(name: str, value: str, request: CurlRequest) -> None:
    if name in {"-X", "--request"}:
        request.method = value
    elif name == "--url":
        request.url = request.url or value
    elif name in {"-u", "--user"}:
        _take_header(request, f"Authorization: Basic {b64encode(value.encode()).decode('ascii')}")


def _data(name: str, value: str, read_file: ReadFile) -> bytes:
    if name == "--data-urlencode":
        key, sign, text = value.partition("=")
        return f"{key}={quote_plus(text)}".encode() if sign and key else quote_plus(text or key).encode()
    if name == "--data-raw" or not value.startswith("@"):
        return value.encode("utf-8", "surrogateescape")
    content = read_file(value[1:])
    # "-d @file" strips line ends: a frequent cause of a signature mismatch.
    return content if name in {"--data-binary", "--json"} else re.sub(rb"[\r\n\0]", b"", content)


def _take_header(request: CurlRequest, line: str) -> None:
    name, sign, value = line.partition(":")
    if sign and value.strip():
        request.fields.append((name.strip(), value.strip()))


def _take_default(request: CurlRequest, name: str, value: str) -> None:
    if name.lower() not in {given.lower() for given, _ in request.fields}:
        request.fields.append((name, value))


# -- pages

#: Of larger ones no other text is made.
MAX_REWRITTEN = 8 * 1024 * 1024
_URL = re.compile(
    r"(?:(?:request |webhook |endpoint )?url|endpoint|(?P<method>GET|POST|PUT|PATCH))\s*:?\s+(?P<url>https?://\S+).*",
    re.IGNORECASE,
)
_METHOD = re.compile(r"(?:request )?method\s*:\s*([A-Z]{3,10})", re.IGNORECASE)
_FIELD = re.compile(r"([A-Za-z][A-Za-z0-9-]{0,127}):(?:[ \t]+(.*))?")
#: What stands above the fields, and above the payload.
_TITLES = frozenset(
    {"headers", "request", "request headers", "request header", "request details", "request to your endpoint"}
    | {"payload", "body", "content", "request payload", "request body", "event data", "data"}
)
_HIDDEN = re.compile(r"\*{3,}|•{3,}|\[redacted\]|\[filtered\]", re.IGNORECASE)
#: A string of JSON, which is kept, or blanks between what is none.
_TOKEN = re.compile(r'("(?:[^"\\]|\\.)*")|[ \t\r\n]+', re.DOTALL)
_WIDE = re.compile(r"[^\x00-\x7f]")


@mutable
class Page:
    """What a pasted text shows. ``request.url`` is "" where it shows none."""

    request: CurlRequest = field(default_factory=lambda: CurlRequest("POST", ""))
    notes: list[str] = field(default_factory=list)
    known: int = 0  # how many lines are as such pages have them


def read_page(text: str) -> Page | None:
    """The delivery that a pasted text shows; None where it is no such text."""
    page = Page()
    of_answer = False
    at = 0
    for line in text.splitlines(keepends=True):
        word = line.strip().strip("`").rstrip(":").strip().lower()
        if word in _TITLES:
            of_answer = False
            page.known += 1
        elif word.startswith("response"):
            of_answer = True
            page.known += 1
        elif not of_answer:
            if line.lstrip()[:1] in {"{", "["} or word.startswith("payload="):
                page.request.body = _body(text, at).encode("utf-8", "surrogateescape")
                break
            _read_line(line.strip(), page)
        at += len(line)
    if page.known < 1 or (page.request.body is None and not page.request.fields):
        return None
    _tell(page)
    return page


def _read_line(line: str, page: Page) -> None:
    """One line above the payload; what is no field is passed over, such as the time or the status that a page shows."""
    url, method, pair = _URL.fullmatch(line), _METHOD.fullmatch(line), _FIELD.fullmatch(line)
    if url is not None:
        page.request.url = url["url"]
        page.request.method = (url["method"] or page.request.method).upper()
    elif method is not None:
        page.request.method = method[1].upper()
    elif pair is not None:
        page.request.fields.append((pair[1], (pair[2] or "").strip()))
    page.known += url is not None or method is not None


def _body(text: str, at: int) -> str:
    """The payload that begins in the line at ``at``: one JSON document, or what is left."""
    start = at + len(text[at:]) - len(text[at:].lstrip())
    try:
        _, end = json.JSONDecoder().raw_decode(text, start)
    except (ValueError, RecursionError):
        return text[start:].strip().strip("`").strip()
    return text[start:end]


def _tell(page: Page) -> None:
    hidden = [name for name, value in page.request.fields if _HIDDEN.search(value)]
    for name in hidden[:3]:
        page.notes.append(f"the page hides the value of {name}, which is needed: put it there")
    if not page.request.fields:
        page.notes.append(
            "the page shows no headers, so there is no signature to judge: where you have them, put them above the "
            "payload, each as Name: value"
        )
    if not page.request.url:
        page.request.url = "http://localhost/"
        page.notes.append("the page shows no URL; http://localhost/ was put there")


def is_written_for_people(body: bytes) -> bool:
    """Whether a body is JSON with line ends and blanks between its parts, as pages show it and few senders send it."""
    if len(body) > MAX_REWRITTEN or body[:1] not in (b"{", b"[") or b"\n" not in body[:4096]:
        return False
    try:
        json.loads(body)
    except (ValueError, RecursionError):
        return False
    return True


def written_otherwise(body: bytes) -> Iterator[bytes]:
    """What a body on a page may have been: compact, with or without escapes; as the field ``payload`` of a form."""
    compact = _TOKEN.sub(lambda match: match[1] or "", body.decode("utf-8", "surrogateescape"))
    texts = [compact, _escaped(compact), *_spaced(body), compact + "\n"]
    for one in dict.fromkeys(texts):
        yield one.encode("utf-8", "surrogateescape")
    for one in dict.fromkeys(texts[:2]):
        yield b"payload=" + quote_plus(one.encode("utf-8", "surrogateescape")).encode("ascii")


def _spaced(body: bytes) -> list[str]:
    """One blank behind each colon and comma, as Python and others write JSON by themselves."""
    try:
        text = json.dumps(json.loads(body), ensure_ascii=False)
        text.encode("utf-8", "surrogateescape")
    except (ValueError, RecursionError):  # half a pair of surrogates, or too deep
        return []
    return [text, _escaped(text)]


def _escaped(text: str) -> str:
    """``text`` with what is beyond ASCII as JSON escapes it."""
    return _WIDE.sub(lambda match: json.dumps(match[0])[1:-1], text)
