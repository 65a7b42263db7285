"""Messages between the supervisor and a worker: any cutting, any nonsense, and an end that takes nothing."""

from __future__ import annotations

import contextlib
import json
import socket
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.ops.worker_processes import ChannelError, Lines, Wire, encode, line_limit, metrics_of, number_of

JSON = st.none() | st.integers() | st.text() | st.lists(st.text()) | st.dictionaries(st.text(), st.integers())


@given(st.lists(st.tuples(st.text(), JSON)), st.lists(st.integers(0, 200)))
def test_messages_arrive_however_they_are_cut(messages: list[tuple[str, object]], cuts: list[int]):
    data = b"".join(encode(kind, value=value) for kind, value in messages)
    lines = Lines()
    found: list[Any] = []
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


@pytest.mark.parametrize("pieces", [[b"x" * 100, b"x"], [b"x" * 101 + b"\n"], [b"x"] * 101])
def test_a_line_without_an_end(pieces: list[bytes]):
    lines = Lines(100)
    for piece in pieces[:-1]:
        lines.feed(piece)
    with pytest.raises(ChannelError):
        lines.feed(pieces[-1])


@given(st.dictionaries(st.sampled_from(["kind", "number", "metrics"]), JSON | st.booleans() | st.floats()))
def test_what_a_message_does_not_have_is_a_channel_error_and_nothing_else(message: dict[str, object]):
    for read in (number_of, metrics_of):
        with contextlib.suppress(ChannelError):
            read(message)


def test_who_takes_nothing_is_no_reason_to_keep_everything():
    ours, theirs = socket.socketpair()
    wire = Wire(ours, limit=100_000)

    def send_all() -> None:
        for _ in range(100):
            wire.send("much", payload="x" * 90_000)

    with pytest.raises(ChannelError, match="nothing is taken"):
        send_all()
    theirs.close()
    wire.close()


def test_who_never_stops_is_read_in_turns(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("proxy.ops.worker_processes.MAX_READ_BYTES", 1 << 18)
    ours, theirs = socket.socketpair()
    wire = Wire(ours)
    theirs.setblocking(False)
    sent = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            sent += theirs.send(encode("again", value="x" * 1000))
    heard = 0
    while messages := wire.receive():
        assert len(messages) <= (1 << 18) // 1000 + 1
        heard += len(messages)
    assert heard >= sent // 1100
    theirs.close()
    wire.close()


def test_how_long_a_message_may_be():
    """Ten thousand routes with all that can be counted of them, and not much more where there are few."""
    assert line_limit(1) < 5 << 20
    assert line_limit(20_000) == 64 << 20


def test_what_is_not_taken_waits():
    ours, theirs = socket.socketpair()
    wire = Wire(ours)
    payload = "x" * 100_000
    for _ in range(20):
        wire.send("much", payload=payload)
    assert wire.waits
    theirs.setblocking(False)
    lines = Lines()
    found: list[Any] = []
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
