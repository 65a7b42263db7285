"""Lines: bounded, of words, whatever comes and however it is cut."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.agent.talk import MAX_LINE, LineBuffer, TalkError, line

WORDS = st.lists(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=20), min_size=1)


def taken(pieces: list[bytes]) -> list[list[str]]:
    buffer = LineBuffer()
    found = []
    for piece in pieces:
        buffer.feed(piece)
        while (words := buffer.take()) is not None:
            found.append(words)
    return found


@given(st.lists(WORDS.filter(lambda words: len(" ".join(words)) < MAX_LINE), max_size=4), st.data())
def test_what_is_written_is_read_however_it_is_cut(lines: list[list[str]], data: st.DataObject) -> None:
    whole = b"".join(line(*words) for words in lines)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=6)))
    pieces = [whole[one:other] for one, other in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    assert taken(pieces) == lines


@given(st.binary(max_size=2 * MAX_LINE))
def test_nothing_but_its_own_error(data: bytes) -> None:
    with suppress(TalkError):
        assert all(words and all(words) for words in taken([data]))


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"x" * MAX_LINE, "line_too_long"),
        (b"x" * MAX_LINE + b"\n", "line_too_long"),
        (b"\n", "line_malformed"),
        (b" PING\n", "line_malformed"),
        (b"PING  1\n", "line_malformed"),
        (b"PING 1 \n", "line_malformed"),
        (b"PING 1\r\n", "line_malformed"),
        (b"PING\t1\n", "line_malformed"),
        ("PÎNG\n".encode(), "line_malformed"),
        (b"PI\0NG\n", "line_malformed"),
    ],
)
def test_what_is_no_line(data: bytes, word: str) -> None:
    with pytest.raises(TalkError, match=word):
        taken([data])


def test_an_incomplete_line_waits() -> None:
    assert taken([b"PING 1"]) == []
    assert taken([b"PING 1", b"\nPONG"]) == [["PING", "1"]]
