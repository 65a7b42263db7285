"""A message on its way through: what comes out is what was put in, in the framing that its head has said."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proxy.core.content import ChunkedDecoder, Passage

HEAD = b"head\r\n\r\n"
PARTS = st.lists(st.lists(st.binary(max_size=9), max_size=3), max_size=5)


@given(PARTS, PARTS, st.booleans())
def test_what_comes_out_is_what_was_put_in(before: list[list[bytes]], behind: list[list[bytes]], chunked: bool) -> None:
    told = b"".join(piece for part in before + behind for piece in part)
    passage = Passage([], ended=False)
    for part in before:
        passage.put(part, ended=False)
    assert passage.waiting() == b"".join(piece for part in before for piece in part)
    out = passage.begin(HEAD, chunked=chunked)
    for part in behind:
        passage.put(part, ended=False)
        out += passage.take()
    passage.put([], ended=True)
    out += passage.take()
    assert (passage.size, passage.ended, passage.waiting()) == (len(told), True, b"")
    assert out.pop(0) == HEAD
    if chunked:
        decoder = ChunkedDecoder(None)
        assert decoder.feed(b"".join(out)) == told
        assert (decoder.done, decoder.rest) == (True, b"")
    else:
        assert b"".join(out) == told


def test_what_came_whole_leaves_with_its_head() -> None:
    passage = Passage([b"content"], ended=True)
    assert (passage.size, passage.waiting()) == (7, b"content")
    assert passage.begin(HEAD, chunked=False) == [HEAD, b"content"]
    assert passage.take() == []


def test_nothing_leaves_without_an_end_where_none_has_come() -> None:
    passage = Passage([b"ab"], ended=False)
    assert passage.begin(HEAD, chunked=True) == [HEAD, b"2\r\n", b"ab", b"\r\n"]
    assert passage.take() == []
