"""A reader of HTML for tests: the elements of a page with their attributes, and the text in them."""

from __future__ import annotations

from html.parser import HTMLParser

VOID = {"br", "input", "link", "meta"}


class Reader(HTMLParser):
    """``elements`` are all that the page has; ``text`` is what a person reads."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.pieces: list[str] = []
        self.open: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == [], "each element ends"

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.elements]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), "each attribute once"
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.pieces.append(data)


def harmless(page: str) -> Reader:
    """Read a page, and see that nothing in it runs or loads but what is ours."""
    read = Reader(page)
    for name, attributes in read.elements:
        assert name not in {"iframe", "object", "embed", "img", "base", "style", "animate", "foreignobject"}
        assert not [key for key in attributes if key.startswith("on") or key in {"style", "srcdoc"}]
        for key in ("href", "src", "action", "formaction"):
            assert (attributes.get(key) or "/").startswith(("/", "#")), attributes
            assert not (attributes.get(key) or "").startswith("//"), attributes
    scripts = [attributes for name, attributes in read.elements if name == "script"]
    assert scripts == [{"src": "/console.js", "defer": None}]
    return read
