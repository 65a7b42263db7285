"""Heads and bodies come off a stream the same, however its bytes are cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.recurring import HeadForms, RequestStream
from proxy.core.request_head import HeadLimits
from proxy.errors import ProtocolError

FORMS = HeadForms(HeadLimits(8192, 2048, 50), ())
HEAD = b"POST /%d HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"
BODIES = [b"", b"{}", b"GET / HTTP/1.1\r\n\r\n", b"x" * 300]
WIRE = b"".join(HEAD % (number, len(body)) + body for number, body in enumerate(BODIES))


@given(st.lists(st.integers(1, 60), max_size=40))
def test_any_cut_gives_the_same_requests(sizes: list[int]) -> None:
    stream, rest, found, head = RequestStream(), WIRE, [], None
    for size in [*sizes, len(WIRE)]:
        stream.add(rest[:size])
        rest = rest[size:]
        while True:
            if head is None:
                if not stream.data:
                    break
                stream.read_head(FORMS)
                head, stream.head = stream.head, None
            if head is None or (body := stream.whole_body(head)) is None:
                break
            found.append((head.path, body))
            head = None
            stream.next_request()
    assert found == [(b"/%d" % number, body) for number, body in enumerate(BODIES)]
    assert stream.data == b""


def test_the_first_request_has_begun_before_its_first_byte() -> None:
    stream = RequestStream()
    assert stream.has_begun
    stream.next_request()
    assert not stream.has_begun
    stream.add(b"POST /")
    stream.read_head(FORMS)
    assert stream.has_begun
    assert stream.head is None


def test_a_chunked_body_is_never_taken_whole() -> None:
    stream = RequestStream()
    stream.add(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
    stream.read_head(FORMS)
    assert stream.head is not None
    assert stream.whole_body(stream.head) is None
    assert stream.data == b"0\r\n\r\n"


def test_what_is_no_head_is_an_error_and_not_a_head() -> None:
    stream = RequestStream()
    stream.add(b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n")
    with pytest.raises(ProtocolError):
        stream.read_head(FORMS)
    assert stream.head is None
