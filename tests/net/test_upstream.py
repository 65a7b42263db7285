"""A connection to the upstream by itself: what it tells its exchange, and when it may be used again."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from typing import Any

import pytest

from proxy.http1 import CONTINUE, ResponseHead
from proxy.net.clock import Turn
from proxy.net.upstream import CLOSED, IDLE, MAX_INTERIM, UpstreamConnection
from proxy.reasons import Reason
from tests.net.dialogue import HIGH, OK, End, FakeSocket, World
from tests.policies import APP

REQUEST = b"POST /hook HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}"


class Told:
    """An exchange that writes down what it is told."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.heads: list[ResponseHead] = []

    def upstream_answer(self, head: ResponseHead, content: list[bytes], *, ended: bool) -> None:
        self.heads.append(head)
        self.calls.append(("answer", head.status, b"".join(content), ended))

    def upstream_content(self, content: list[bytes], *, ended: bool) -> None:
        self.calls.append(("content", b"".join(content), ended))

    def upstream_failed(self, reason: Reason, detail: str) -> None:
        self.calls.append(("failed", reason, detail))

    def upstream_writable(self, *, writable: bool) -> None:
        self.calls.append(("writable", writable))


class Owner:
    def __init__(self, turn: Turn) -> None:
        self.turn = turn
        self.calls: list[str] = []

    def made(self, connection: UpstreamConnection) -> None:
        self.calls.append("made")

    def released(self, connection: UpstreamConnection) -> None:
        assert connection.state is IDLE
        self.calls.append("released")

    def lost(self, connection: UpstreamConnection) -> None:
        assert connection.state is CLOSED
        self.calls.append("lost")


class Stage:
    def __init__(self) -> None:
        world = World()
        self.owner, self.told, self.sock = Owner(world.site.turn), Told(), FakeSocket()
        self.connection = UpstreamConnection(APP, self.owner, self.sock)
        self.app = End(world, self.connection, sock=self.sock)

    def ask(self, method: bytes = b"POST", data: bytes = REQUEST, *, complete: bool = True) -> None:
        self.connection.start(self.told, method, [data], complete=complete)


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_it_serves_one_request_after_the_other(stage: Stage) -> None:
    for _ in range(2):
        stage.ask()
        stage.app << REQUEST
        stage.app >> OK
    assert stage.told.calls == [("answer", 200, b"ok", True)] * 2
    assert stage.owner.calls == ["made", "released", "released"]


def test_it_is_given_back_before_its_answer_is_told(stage: Stage) -> None:
    """Who is told may begin the next request at once, over this very connection."""
    stage.told.upstream_answer = lambda head, content, *, ended: stage.ask()  # type: ignore[method-assign]
    stage.ask()
    stage.app >> OK
    stage.app << REQUEST + REQUEST


@pytest.mark.parametrize(
    ("answer", "reusable"),
    [
        (OK, True),
        (b"HTTP/1.1 204 No Content\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX: y\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", False),
        (OK + b"H", False),
        (b"HTTP/1.1 204 No Content\r\n\r\nx", False),
        (b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok", False),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n", False),
    ],
)
def test_when_it_may_be_used_again(stage: Stage, answer: bytes, *, reusable: bool) -> None:
    stage.ask()
    stage.app >> answer
    assert (stage.connection.state is IDLE) is reusable
    assert stage.app.saw == (None if reusable else "fin")
    assert stage.told.calls[-1][-1] is True
    assert stage.owner.calls == ["made", "released" if reusable else "lost"]


@pytest.mark.parametrize("answer", [OK, b"HTTP/1.1 200 OK\r\n\r\nok"], ids=["length", "eof"])
def test_an_answer_to_half_a_request_ends_in_a_reset(stage: Stage, answer: bytes) -> None:
    """An upstream that takes the end of a connection for the end of a body must not be helped to."""
    stage.ask(complete=False)
    stage.app >> answer
    stage.app.finish()
    assert stage.app.saw == "reset"
    assert stage.told.calls[-1][-1] is True
    stage.connection.send([b"more"], complete=True)
    stage.app << REQUEST


def test_an_answer_to_what_has_not_left_forbids_a_reuse(stage: Stage) -> None:
    stage.app.take(10)
    stage.ask()
    stage.app >> OK
    assert stage.app.saw == "reset"
    assert stage.told.calls == [("answer", 200, b"ok", True)]


@pytest.mark.parametrize("size", [1, 2, 5, 100])
def test_any_cut_is_the_same_answer(stage: Stage, size: int) -> None:
    whole = CONTINUE + b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n3;a=b\r\nay!\r\n0\r\n\r\n"
    stage.ask()
    for at in range(0, len(whole), size):
        stage.app >> whole[at : at + size]
    assert b"".join(call[-2] for call in stage.told.calls) == b"okay!"
    assert [call[-1] for call in stage.told.calls].count(True) == 1
    assert stage.connection.state is IDLE


def test_interim_answers_are_bounded(stage: Stage) -> None:
    stage.ask()
    for _ in range(MAX_INTERIM):
        stage.app >> b"HTTP/1.1 102 Processing\r\n\r\n"
    assert stage.told.calls == []
    stage.app >> b"HTTP/1.1 102 Processing\r\n\r\n"
    assert stage.told.calls == [("failed", Reason.UPSTREAM_INVALID, "interim_flood")]
    assert stage.app.saw == "reset"
    assert stage.owner.calls == ["made", "lost"]


@pytest.mark.parametrize(
    ("said", "detail"),
    [
        (b"HTTP/2 200\r\n\r\n", "bad_status_line"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz", "bad_chunk"),
    ],
)
def test_nonsense(stage: Stage, said: bytes, detail: str) -> None:
    stage.ask()
    stage.app >> said
    assert stage.told.calls == [("failed", Reason.UPSTREAM_INVALID, detail)]
    assert stage.app.saw == "reset"


def test_nonsense_within_content(stage: Stage) -> None:
    stage.ask()
    stage.app >> b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    stage.app >> b"1\r\nxy"
    assert stage.told.calls[-1] == ("failed", Reason.UPSTREAM_INVALID, "bad_chunk")


@pytest.mark.parametrize(("said", "detail"), [(b"", "eof"), (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok", "eof")])
def test_an_end_before_the_end(stage: Stage, said: bytes, detail: str) -> None:
    stage.ask()
    stage.app >> said
    stage.app.finish()
    assert stage.told.calls[-1] == ("failed", Reason.UPSTREAM_RESET, detail)
    assert stage.owner.calls == ["made", "lost"]


def test_a_connection_lost_while_its_answer_runs_to_the_end_of_it_is_no_end(stage: Stage) -> None:
    """Without the other side's FIN (under TLS: close_notify) nobody knows whether that was all."""
    for error, detail in ((ConnectionResetError(), "reset"), (None, "closed")):
        stage = Stage()
        stage.ask()
        stage.app >> b"HTTP/1.1 200 OK\r\n\r\nhel"
        stage.app.transport.lose(error)
        assert stage.told.calls[-1] == ("failed", Reason.UPSTREAM_RESET, detail)


def test_bytes_or_an_end_while_idle(stage: Stage) -> None:
    stage.app >> OK
    assert (stage.connection.state, stage.app.saw) == (CLOSED, "reset")
    ended = Stage()
    ended.app.finish()
    assert (ended.connection.state, ended.app.saw) == (CLOSED, "fin")
    assert stage.owner.calls == ended.owner.calls == ["made", "lost"]


@pytest.mark.parametrize(
    ("happens", "stale"),
    [
        (lambda end: None, False),
        (lambda end: end.shutdown(socket.SHUT_WR), True),
        (lambda end: end.send(b"x"), True),
        (lambda end: end.close(), True),
        (lambda end: (end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)), end.close()), True),
    ],
    ids=["nothing", "its end", "bytes", "closed", "reset"],
)
def test_whether_it_is_stale(happens: Callable[[socket.socket], object], *, stale: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as ours:
        theirs, _ = listener.accept()
        with theirs:
            connection = UpstreamConnection(APP, Owner(World().site.turn), ours)
            happens(theirs)
            assert connection.is_stale is stale


@pytest.mark.parametrize("taken", [0, 1, 4, 6, 10])
def test_of_what_it_sends_nothing_is_kept_but_copies(stage: Stage, taken: int) -> None:
    stage.ask(data=b"head", complete=False)
    stage.app << b"head"
    stage.app.take(taken)
    buffer = bytearray(b"abcdef")
    stage.connection.send([b"1234", memoryview(buffer)[1:]], complete=False)
    buffer[:] = bytes(6)
    stage.connection.send([b"...", memoryview(b"567")], complete=True)
    assert stage.connection.buffered_bytes == 15 - taken
    stage.app.take(None) << b"1234bcdef...567"


def test_what_goes_past_a_transport_does_not_overtake_what_is_in_it(stage: Stage) -> None:
    stage.app.take(2)
    stage.ask(data=b"head", complete=False)
    stage.app.transport.takes = 100  # the loop has not seen it yet
    stage.connection.send([b"1234"], complete=True)
    stage.app.take(None) << b"head1234"


def test_a_connection_that_is_gone_takes_nothing(stage: Stage) -> None:
    stage.ask(data=b"head", complete=False)
    stage.app.transport.closing = True
    stage.connection.send([b"1234"], complete=False)
    stage.app << b"head"


def test_pace(stage: Stage) -> None:
    stage.app.take(0)
    stage.ask(complete=False)
    stage.connection.send([b"x" * HIGH, b"y"], complete=False)
    assert not stage.connection.writable
    assert stage.connection.buffered_bytes == len(REQUEST) + HIGH + 1
    stage.app.take(None)
    assert stage.connection.writable
    assert stage.told.calls == [("writable", False), ("writable", True)]
    stage.connection.send([], complete=True)
    stage.connection.pause_reading()
    stage.connection.pause_reading()
    stage.app >> OK
    assert (stage.app.is_read, stage.connection.reading_paused) == (False, True)
    stage.connection.resume_reading()
    stage.connection.resume_reading()
    stage.app >> b""
    assert stage.told.calls[-1] == ("answer", 200, b"ok", True)
    assert not stage.connection.reading_paused


def test_aborting_says_nothing_more_to_the_exchange(stage: Stage) -> None:
    stage.ask(complete=False)
    stage.connection.abort()
    stage.connection.abort()
    stage.app.world.settle()
    stage.connection.close()
    assert stage.told.calls == []
    assert stage.app.saw == "reset"
    assert stage.owner.calls == ["made", "lost"]
    assert stage.connection.buffered_bytes == 0


def test_writing_pauses_of_an_idle_connection_concern_nobody(stage: Stage) -> None:
    stage.connection.pause_writing()
    assert not stage.connection.writable
    stage.connection.resume_writing()
    assert stage.connection.writable


def test_closing_while_the_socket_is_gone_already(stage: Stage) -> None:
    def fail(*_: object) -> None:
        raise OSError(9, "Bad file descriptor")

    stage.sock.setsockopt = fail  # type: ignore[method-assign, assignment]
    stage.ask()
    stage.connection.abort()
    assert stage.connection.state is CLOSED
