"""Messages between the supervisor and a worker: any cutting, any nonsense, and an end that takes nothing."""

from __future__ import annotations

import json
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.ops.channel import ChannelError, Lines, Wire, encode

JSON = st.none() | st.integers() | st.text() | st.lists(st.text()) | st.dictionaries(st.text(), st.integers())


@given(st.lists(st.tuples(st.text(), JSON)), st.lists(st.integers(0, 200)))
def test_messages_arrive_however_they_are_cut(messages: list[tuple[str, object]], cuts: list[int]):
    data = b"".join(encode(kind, value=value) for kind, value in messages)
    lines, found = Lines(), []
    for size in [*cuts, len(data)]:
        found += lines.feed(data[:size])
        data = data[size:]
    assert found == [{"kind": kind, "value": value} for kind, value in messages]


@given(st.binary())
def test_nonsense_is_a_channel_error_and_nothing_else(data: bytes):
    try:
        for message in Lines().feed(data):
            assert isinstance(message["kind"], str)
    except ChannelError:
        pass


@pytest.mark.parametrize("line", [b"\n", b"[]\n", b"{}\n", b'{"kind":1}\n', b"[" * 100_000 + b"\n"])
def test_what_is_no_message(line: bytes):
    with pytest.raises(ChannelError):
        Lines().feed(line)


def test_a_line_without_an_end(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("proxy.ops.channel.MAX_LINE_BYTES", 100)
    lines = Lines()
    lines.feed(b"x" * 100)
    with pytest.raises(ChannelError):
        lines.feed(b"x")


def test_what_is_not_taken_waits():
    ours, theirs = socket.socketpair()
    wire = Wire(ours)
    payload = "x" * 100_000
    for _ in range(20):
        wire.send("much", payload=payload)
    assert wire.waits
    theirs.setblocking(False)
    lines, found = Lines(), []
    while len(found) < 20:
        found += lines.feed(theirs.recv(1 << 16))
        wire.flush()
    assert not wire.waits
    assert {json.dumps(one) for one in found} == {json.dumps({"kind": "much", "payload": payload})}
    theirs.close()
    wire.close()


def test_the_end_of_a_channel():
    ours, theirs = socket.socketpair()
    wire = Wire(ours)
    assert wire.receive() == []
    theirs.sendall(encode("last"))
    theirs.close()
    assert wire.receive() == [{"kind": "last"}]
    assert wire.ended
    wire.send("too late")
    assert not wire.waits
    wire.close()
