"""Content in the ways that it can be read."""

from __future__ import annotations

from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.console.kept import content
from proxy.console.pages import MAX_HEX, MAX_SHOWN, dump, views
from tests.console.reading import Reader


def shown(body: bytes, **more: bool) -> Reader:
    return Reader(views(content(body, len(body), cut=more.get("cut", False), fields=None), "x"))


@pytest.mark.parametrize(
    ("body", "ways", "text"),
    [
        (b'{"a":[1]}', ["JSON", "Text", "Hex"], '{\n  "a": [\n    1\n  ]\n}'),
        (b"words", ["Text", "Hex"], "words"),
        (b"\xff\x00", ["Hex"], "00000000  ff 00"),
        (b"", [], "No content."),
    ],
    ids=["json", "text", "bytes", "none"],
)
def test_the_ways(body: bytes, ways: list[str], text: str) -> None:
    read = shown(body)
    assert [way for way in ("JSON", "Form", "Text", "Hex") if way in read.pieces] == ways
    assert text in read.text


def test_a_form() -> None:
    read = Reader(
        views({"size": 7, "kept": 7, "cut": False, "encoding": "utf-8", "form": "form", "text": "a=b&c=%3C"}, "x")
    )
    assert [each for each in ("a", "b", "c", "<") if each in read.pieces] == ["a", "b", "c", "<"]


def test_what_is_long_is_said_to_be() -> None:
    read = shown(b"x" * (MAX_SHOWN + 1), cut=True)
    assert "of which the first 256.0KiB are kept" in read.text
    assert "export it" in read.text
    assert len(read.text) < 1.1 * MAX_SHOWN + 5 * MAX_HEX


@given(st.binary(max_size=200))
def test_a_dump_has_each_byte(body: bytes) -> None:
    assert bytes.fromhex(" ".join(line[10:57] for line in dump(body))) == body


@given(st.binary(max_size=300), st.sampled_from(["json", "form", "text", "hex"]), st.booleans())
def test_whatever_it_is(body: bytes, form: str, cut: bool) -> None:
    try:
        encoding, text = "utf-8", body.decode()
    except UnicodeDecodeError:
        encoding, text = "base64", b64encode(body).decode()
    Reader(
        views({"size": len(body), "kept": len(body), "cut": cut, "encoding": encoding, "form": form, "text": text}, "x")
    )
