"""A delivery as the pages of providers show it, pasted: GitHub's, GitLab's, Forgejo's, Stripe's and others like them.

    Request URL: https://hooks.example.com/hooks/github
    Request method: POST
    X-Hub-Signature-256: sha256=...
    Payload
    {
      "zen": ...

Such a page shows the payload written anew, for people: with blanks and line ends that were never sent. So a page gives
the fields as they were, and several texts that the body may have been (``written_otherwise``); a signature tells which.
What the page says of the answer is left out. Every text is read in one pass, and none raises anything.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import field
from urllib.parse import quote_plus

from proxy.tools.curl_line import CurlRequest
from proxy.values import mutable

#: Of larger ones no other text is made.
MAX_REWRITTEN = 8 * 1024 * 1024
_URL = re.compile(
    r"(?:(?:request |webhook |endpoint )?url|endpoint|(?P<method>GET|POST|PUT|PATCH))\s*:?\s+(?P<url>https?://\S+).*",
    re.IGNORECASE,
)
_METHOD = re.compile(r"(?:request )?method\s*:\s*([A-Z]{3,10})", re.IGNORECASE)
_FIELD = re.compile(r"([A-Za-z][A-Za-z0-9-]{0,127}):(?:[ \t]+(.*))?")
_REQUEST = frozenset(
    {"headers", "request", "request headers", "request header", "request details", "request to your endpoint"}
)
_BODY = frozenset({"payload", "body", "content", "request payload", "request body", "event data", "data"})
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
        if word in _REQUEST or word in _BODY:
            of_answer = False
            page.known += 1
        elif word.startswith("response"):
            of_answer = True
            page.known += 1
        elif not of_answer:
            begins = text[at : at + len(line)].lstrip()[:1]
            if (begins and begins in "{[") or word.startswith("payload="):
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
