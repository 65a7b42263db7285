"""Bodies that are parsed to find what was signed in them: JSON objects and forms.

Read strictly (UTF-8, no key twice, numbers as they are written): where two readings are possible, the application's may
be the other one. Parsing never raises. It comes before the proof, so what would be dear is refused before anything is
built: too many fields, too many elements, too deep. What is left takes time and memory in proportion to the body.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from itertools import chain, pairwise
from typing import NoReturn, Protocol
from urllib.parse import unquote_to_bytes

from proxy.core.signing.scheme import Document
from proxy.core.signing.template import Slot

#: Of a form. PHP and Django read no more than this either.
MAX_FIELDS = 1000
#: Of JSON: brackets, commas and colons outside strings. Each may become an object of some 100 bytes.
MAX_ELEMENTS = 20_000
#: Of JSON: objects and lists inside each other.
MAX_DEPTH = 64
# So much is worked at in one call: other threads want to run. Escapes are dearer, each becomes an object for a moment.
_SLICE_BYTES = 8192
_SEARCH_BYTES = 1024 * 1024

_NO_ELEMENT = bytes(byte for byte in range(256) if byte not in b"{}[],:")
_OPENING = b"{["
_ORIGIN = re.compile(rb"(https?)://(\[[^]/]*\]|[^:/?]*)(?::([0-9]*))?", re.IGNORECASE)
_SEPARATES = (b"?", b"&", b"=")
_PORTS = {b"https": b"443", b"http": b"80"}

Form = list[tuple[bytes, bytes]]
Tree = Mapping[str, object]


class Part(Protocol):
    """One signed part of a parsed body."""

    def text(self, path: str) -> bytes | None:
        """The text at ``path``, or None."""

    def slot(self, slot: Slot, url: bytes) -> bytes | None:
        """What a slot of the template stands for, or None where the body does not have it."""


class FormPart:
    """A form."""

    __slots__ = ("_document", "_form")

    def __init__(self, form: Form, document: Document) -> None:
        self._form = form
        self._document = document

    def text(self, path: str) -> bytes | None:
        """The value of the only field called ``path``."""
        name = path.encode("utf-8")
        values = [value for key, value in self._form if key == name]
        return values[0] if len(values) == 1 else None

    def slot(self, slot: Slot, url: bytes) -> bytes | None:
        """A field, the sorted form, or the URL with its query sorted."""
        if slot.kind == "field":
            value = self.text(slot.name)
            return value if value is None or self._may_be_signed(value) else None
        if slot.kind == "form":
            return b"".join(chain.from_iterable(sort_form(self._form, self._document.repeats)))
        return sorted_url(url, form_follows=bool(self._form)) if slot.kind == "sorted_url" else None

    def _may_be_signed(self, value: bytes) -> bool:
        alphabet, challenge = self._document.alphabet, self._document.challenge
        if challenge is not None and challenge.fullmatch(value):
            return False
        starts = range(0, len(value), _SEARCH_BYTES) if alphabet else ()
        return not any(value[at : at + _SEARCH_BYTES].translate(None, alphabet) for at in starts)

    def ends_its_url(self, url: bytes, method: bytes, *, sorts_query: bool) -> bool:
        """Whether nothing can be moved between the query and the form, where only the signed text says where they meet.

        A POST has a form, and no name in it holds what separates parameters. In a query that is signed sorted and
        decoded, no parameter holds it either, and none of a POST the full stop that stands before the form.
        """
        formless = method == b"GET" and not self._form
        if not (self._form or formless) or _holds((name for name, _ in self._form), _SEPARATES):
            return False
        return not sorts_query or _is_apart(read_form(url.partition(b"?")[2]) or [], formless=formless)


class JsonPart:
    """A JSON object."""

    __slots__ = ("_document", "_tree")

    def __init__(self, tree: Tree, document: Document) -> None:
        self._tree = tree
        self._document = document

    def text(self, path: str) -> bytes | None:
        """The scalar at ``path`` as text."""
        return scalar_text(walk(self._tree, path))

    def slot(self, slot: Slot, _url: bytes) -> bytes | None:
        """A field, or the lines that the object's kind asks for."""
        if slot.kind == "lines":
            return self._lines()
        if slot.kind != "field":
            return None
        value = self.text(slot.name)
        if value is None:
            return b"" if slot.name in self._document.optional else None
        border = self._document.border
        return None if border and border in value and slot.name != self._document.free else value

    def _lines(self) -> bytes | None:
        word = (self.text(self._document.lines_by or "") or b"").decode("utf-8", "replace")
        lines: list[bytes] = []
        for name in dict(self._document.lines).get(word, ()):
            value = self.text(name)
            if value is None and name in self._document.optional:
                continue
            if value is None or (lines and b"\n" in value):
                return None
            lines.append(b"%b\n%b\n" % (name.encode("utf-8"), value))
        return b"".join(lines) or None


def read_json(body: bytes) -> Tree | None:
    """The object that ``body`` writes; None for anything else, for a key given twice, for text that is not UTF-8."""
    return _load(body, _TEXT_DECODER)


def read_claims(body: bytes) -> Tree | None:
    """As ``read_json``, but with numbers as numbers, not as the text they were written with."""
    return _load(body, _NUMBER_DECODER)


def read_document(body: bytes) -> object | None:
    """As ``read_claims``, but a list may be the whole as well: several events that came together."""
    return _decode(body, _NUMBER_DECODER)


def _load(body: bytes, decoder: json.JSONDecoder) -> Tree | None:
    tree = _decode(body, decoder)
    return tree if isinstance(tree, dict) else None


def _decode(body: bytes, decoder: json.JSONDecoder) -> object | None:
    if not _is_small(body):
        return None
    try:
        return decoder.decode(body.decode("utf-8"))  # type: ignore[no-any-return]  # whatever JSON may say
    except (ValueError, RecursionError):
        return None


def _is_small(body: bytes) -> bool:
    """Whether the JSON text ``body`` has few elements, none of them deep. It costs less than to read it."""
    # Once the escapes are gone, each quotation mark begins or ends a string, and every second piece is outside.
    text = _drop_escapes(body) if b"\\" in body else body
    if text.count(b'"') > 2 * MAX_ELEMENTS:
        return False
    elements = b"".join(text.split(b'"')[::2]).translate(None, _NO_ELEMENT)
    return len(elements) <= MAX_ELEMENTS and _depth(elements) <= MAX_DEPTH


def _drop_escapes(body: bytes) -> bytes:
    pieces: list[bytes] = []
    at = 0
    while at < len(body):
        piece = body[at : at + _SLICE_BYTES]
        if (len(piece) - len(piece.rstrip(b"\\"))) % 2:  # no escape is cut in two
            piece = body[at : at + _SLICE_BYTES + 1]
        pieces.append(piece.replace(rb"\\", b"").replace(rb"\"", b""))
        at += len(piece)
    return b"".join(pieces)


def _depth(elements: bytes) -> int:
    depth = deepest = 0
    for byte in elements.translate(None, b",:"):
        depth += 1 if byte in _OPENING else -1
        deepest = max(deepest, depth)
    return deepest


def _no_constant(_text: str) -> NoReturn:
    raise ValueError("NaN and infinities are not JSON")


def _only_once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    tree = dict(pairs)
    if len(tree) != len(pairs):
        raise ValueError("a key is given twice")
    return tree


_TEXT_DECODER = json.JSONDecoder(
    parse_int=str, parse_float=str, parse_constant=_no_constant, object_pairs_hook=_only_once
)
_NUMBER_DECODER = json.JSONDecoder(parse_constant=_no_constant, object_pairs_hook=_only_once)


def walk(tree: object, path: str) -> object:
    """What is at the dotted ``path``, or None."""
    for key in path.split(".") if path else ():
        tree = tree.get(key) if isinstance(tree, dict) else None
    return tree


def list_items(tree: Tree, path: str) -> list[dict[str, object]]:
    """The objects that ``a[].b`` names; empty where one of them is missing."""
    outer, _, inner = path.partition("[]")
    elements = walk(tree, outer)
    if not isinstance(elements, list):
        return []
    found = [walk(element, inner.lstrip(".")) for element in elements]
    return [item for item in found if isinstance(item, dict)] if all(isinstance(item, dict) for item in found) else []


def scalar_text(value: object) -> bytes | None:
    """A JSON scalar as it is written; None for null, objects and lists."""
    if isinstance(value, bool):
        return b"true" if value else b"false"
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else None


def read_form(body: bytes) -> Form | None:
    """The fields of ``application/x-www-form-urlencoded``, decoded; None where there are too many."""
    borders = [-1]
    while (border := body.find(b"&", borders[-1] + 1)) >= 0:
        borders.append(border)
        if len(borders) > MAX_FIELDS:
            return None
    borders.append(len(body))
    fields: Form = []
    for before, end in pairwise(borders):
        if before + 1 < end:
            middle = body.find(b"=", before + 1, end)
            middle = end if middle < 0 else middle
            fields.append((_unquote(body, before + 1, middle), _unquote(body, middle + 1, end)))
    return fields


def _unquote(body: bytes, at: int, end: int) -> bytes:
    """What stands in ``body`` from ``at`` to ``end``, decoded; a large text is never copied in one call."""
    pieces: list[bytes] = []
    while at < end:
        stop = min(at + _SLICE_BYTES, end)
        cut = body.rfind(b"%", stop - 2, stop) if stop < end else -1  # no escape is cut in two
        stop = cut if cut > at else stop
        pieces.append(unquote_to_bytes(body[at:stop].replace(b"+", b" ")))
        at = stop
    return b"".join(pieces)


def contains(body: bytes, needle: bytes) -> bool:
    """Whether ``needle`` stands in ``body``, which may be large: looked for in slices."""
    more = _SEARCH_BYTES + len(needle)
    return any(body.find(needle, at, at + more) >= 0 for at in range(0, len(body), _SEARCH_BYTES))


def sort_form(form: Form, repeats: str) -> Form:
    """``form`` by key; values of one key as ``Document.repeats`` says."""
    if repeats == "as_sent":
        return sorted(form, key=lambda pair: pair[0])
    pairs = sorted(form)
    if repeats == "distinct":  # a set would hash each value in one call
        return [pair for number, pair in enumerate(pairs) if not number or pair != pairs[number - 1]]
    return pairs


def sorted_url(url: bytes, *, form_follows: bool) -> bytes:
    """The URL with the decoded pairs of its query sorted, and what separates it from a form that follows."""
    base, _, query = url.partition(b"?")
    pairs = sorted(read_form(query) or [])
    text = b"&".join(key + b"=" + value for key, value in pairs)
    if form_follows:
        return base + b"?" + text + (b"." if text else b"")
    return base + (b"?" + text if text else b"")


def both_ports(url: bytes) -> list[bytes]:
    """``url`` without and with its port: the default one is added, any is left out, all else stays as it is written."""
    origin = _ORIGIN.match(url)
    if origin is None:
        return [url]
    scheme, host, port = origin.groups()
    rest = url[origin.end() :]
    return [b"%b://%b%b" % (scheme, host, rest), b"%b://%b:%b%b" % (scheme, host, port or _PORTS[scheme.lower()], rest)]


def _is_apart(query: Form, *, formless: bool) -> bool:
    """Whether the parameters of a sorted query can be told from each other, and from a form behind them."""
    texts = [name + value for name, value in query]
    if _holds((name for name, _ in query), (b"=",)) or _holds(texts, (b"&",)):
        return False
    return formless or not _holds(texts, (b".",))


def _holds(texts: Iterable[bytes], marks: tuple[bytes, ...]) -> bool:
    return any(mark in text for text in texts for mark in marks)
