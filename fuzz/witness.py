"""h11 as the witness: whatever head we accept, h11 must accept, and read the same. That we refuse more is our right."""

from __future__ import annotations

import re

import h11

from proxy.http1 import RequestHead, ResponseHead, field

_PLAIN = re.compile(rb"[A-Za-z0-9-]+")


def check_request(head: RequestHead, data: bytes) -> None:
    """``data`` is exactly what ``head`` was read from. AssertionError where h11 reads another head or none."""
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(data.removeprefix(b"\r\n"))
    try:
        event = connection.next_event()
    except h11.RemoteProtocolError as error:
        raise AssertionError(f"h11 refuses what we accept: {error}") from error
    assert isinstance(event, h11.Request), event
    assert (event.method, event.http_version) == (head.method, b"1.%d" % head.minor)
    # An absolute target may have no path, which is "/", and "*" for OPTIONS (RFC 9112 section 3.2.4).
    bare = head.target == b"*" or (head.target[:2] in {b"/", b"/?"} and event.target.endswith(head.target[1:]))
    assert event.target.endswith(head.target) or bare, (event.target, head.target)
    # Names with other punctuation are dropped, and told.
    kept = [(name, value) for name, value in event.headers.raw_items() if _PLAIN.fullmatch(name)]
    assert [field(name, value) for name, value in kept] == head.fields


def check_response(head: ResponseHead, data: bytes, method: bytes) -> None:
    """The same for the head of an answer to ``method``."""
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method=method, target=b"/", headers=[(b"Host", b"a")]))
    connection.receive_data(data)
    try:
        event = connection.next_event()
    except h11.RemoteProtocolError as error:
        raise AssertionError(f"h11 refuses what we accept: {error}") from error
    assert isinstance(event, h11.Response | h11.InformationalResponse), event
    read = (event.status_code, event.reason, event.http_version)
    assert read == (head.status, head.phrase, b"1.%d" % head.minor)
    assert [field(name, value) for name, value in event.headers.raw_items()] == head.fields
