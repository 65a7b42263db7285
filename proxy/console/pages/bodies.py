"""The content of a message in the ways it can be read: JSON, a form, text, bytes."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl

from proxy.config.sizes import about_size
from proxy.console.pages.frame import table
from proxy.console.pages.markup import Markup, tag

#: What a page shows of a body; the rest is there to be exported.
MAX_SHOWN = 256 * 1024
MAX_HEX = 16 * 1024
MAX_PARAMETERS = 1000

Content = Mapping[str, Any]


def views(content: Content, name: str) -> Markup:
    """All of them, the fitting one open. ``name`` makes them one group: another one closes those that are open."""
    if not content["size"]:
        return tag("p", "No content.")
    text = content["text"]
    body = b64decode(text) if content["encoding"] == "base64" else text.encode()
    notes = [about_size(content["size"])]
    if content["cut"]:
        notes.append(f"of which the first {about_size(content['kept'])} are kept")
    if len(body) > MAX_SHOWN:
        notes.append(f"of which {about_size(MAX_SHOWN)} are shown; export it to see the rest")
    found = [
        tag("details", tag("summary", label), view, name=name, open=label.lower() == content["form"], class_="body")
        for label, view in _each(body, content)
    ]
    return tag("div", tag("p", ", ".join(notes), "."), found)


def _each(body: bytes, content: Content) -> Iterator[tuple[str, Markup]]:
    shown = body[:MAX_SHOWN]
    if content["form"] == "json" and len(body) <= MAX_SHOWN and (pretty := _pretty(body)) is not None:
        yield "JSON", tag("pre", pretty, tabindex=0)
    if content["form"] == "form":
        pairs = _pairs(shown)
        yield "Form", table("Parameters", ("name", "value"), (tag("tr", map(_cell, pair)) for pair in pairs))
    if content["encoding"] == "utf-8":
        yield "Text", tag("pre", shown.decode("utf-8", "replace"), tabindex=0)
    yield "Hex", tag("pre", "\n".join(dump(body[:MAX_HEX])), class_="hex", tabindex=0)


def _pretty(body: bytes) -> str | None:
    try:
        return json.dumps(json.loads(body), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return None


def _pairs(body: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=MAX_PARAMETERS)
    except ValueError:
        return [("too many parameters to show", "")]


def _cell(text: str) -> Markup:
    return tag("td", text)


def dump(body: bytes) -> Iterator[str]:
    """Lines of sixteen bytes: where, in hexadecimal, and as ASCII."""
    for at in range(0, len(body), 16):
        piece = body[at : at + 16]
        ascii_ = "".join(chr(one) if 32 <= one < 127 else "." for one in piece)
        yield f"{at:08x}  {piece.hex(' '):<47}  {ascii_}"
