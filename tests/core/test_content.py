"""Content by length and by chunks, in any cut."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.content import ContentReader
from proxy.core.request_head import read_request_head
from proxy.errors import ProtocolError
from proxy.http1 import RequestHead, as_chunk
from proxy.reasons import Reason
from tests.policies import HEAD_LIMITS

NEXT = b"GET / HTTP/1.1\r\n"


def head_of(framing: bytes) -> RequestHead:
    parsed = read_request_head(b"POST / HTTP/1.1\r\nHost: h\r\n" + framing + b"\r\n\r\n", HEAD_LIMITS)
    assert parsed is not None
    return parsed[0]


def cut(data: bytes, places: list[int]) -> list[bytes]:
    marks = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[a:b] for a, b in pairwise(marks)]


@given(st.binary(min_size=1, max_size=300), st.lists(st.integers(0, 1000), max_size=8), st.booleans())
def test_any_cut_gives_the_content_and_what_follows(content: bytes, places: list[int], chunked: bool) -> None:
    wire = b"".join(as_chunk([content], last=True)) if chunked else content
    framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % len(content)
    reader = ContentReader(head_of(framing), 1000)
    got, rest = b"", b""
    for data in cut(wire + NEXT, places):
        if reader.ended:
            rest += data
            continue
        # A view of a buffer that is written again at once: nothing may be kept of it.
        buffer = bytearray(data)
        got += bytes(reader.feed(memoryview(buffer)))
        buffer[:] = b"!" * len(buffer)
        rest = reader.rest
    assert (got, rest, reader.ended) == (content, NEXT, True)


def test_chunks_are_bounded() -> None:
    reader = ContentReader(head_of(b"Transfer-Encoding: chunked"), 10)
    with pytest.raises(ProtocolError) as caught:
        reader.feed(b"b\r\n")
    assert caught.value.reason is Reason.BODY_TOO_LARGE
