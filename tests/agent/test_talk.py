"""What both ends of a control connection do alike: pings are answered, and one that takes nothing is not heard."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from proxy.agent.dial import dial
from proxy.agent.talk import PING_S, SILENCE_S, ControlTalk, Message, Side, Word
from tests.agent.meeting import meeting, until
from tests.agent.test_on_sockets import credential, session_of
from tests.net.conftest import Run


class Ear(ControlTalk):
    """A side that only writes down."""

    def __init__(self, side: Side = Side.AGENT) -> None:
        self.now = 0.0
        super().__init__(side, lambda: self.now)
        self.heard: list[Message] = []
        self.ended: list[tuple[str, bool]] = []

    def hear(self, message: Message) -> None:
        self.heard.append(message)

    def end(self, why: str, *, cut: bool = False) -> None:
        self.ended.append((why, cut))


class Wire(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__({"socket": None})
        self.said = b""
        self.is_read = True

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.said += bytes(data)

    def pause_reading(self) -> None:
        self.is_read = False

    def resume_reading(self) -> None:
        self.is_read = True

    def is_closing(self) -> bool:
        return False


@pytest.fixture
def wire() -> Wire:
    return Wire()


def talking(wire: Wire) -> Ear:
    ear = Ear()
    ear._transport = wire
    return ear


def test_a_ping_is_answered_and_anything_else_is_for_the_side(wire: Wire) -> None:
    ear = talking(wire)
    ear.data_received(b"PING 7\nDRAIN\nPI")
    ear.data_received(b"NG 8\n")
    assert wire.said == b"PONG 7\nPONG 8\n"
    assert ear.heard == [Message(Word.DRAIN)]


def test_a_message_of_the_wrong_side_cuts(wire: Wire) -> None:
    ear = talking(wire)
    ear.data_received(b"WANT 4\nPING 1\n")
    assert (ear.ended, wire.said) == ([("message_unknown", True)], b"")


def test_signs_of_life(wire: Wire) -> None:
    ear = talking(wire)
    assert ear.is_alive_after_ping(PING_S)
    assert wire.said == b"PING 1\n"
    assert not ear.is_alive_after_ping(SILENCE_S)
    assert ear.ended == [("silent", True)]


def test_who_takes_nothing_is_not_heard_until_it_does(wire: Wire) -> None:
    ear = talking(wire)
    ear.pause_writing()
    assert not wire.is_read
    ear.resume_writing()
    assert wire.is_read
    ear.connection_lost(None)
    ear.pause_writing()
    ear.resume_writing()
    assert ear.ended == [("closed", False)]


class Deaf(asyncio.Protocol):
    """An agent that says more and more, and takes nothing of what is answered."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self.is_lost = False
        self.transport = transport
        transport.set_protocol(self)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        transport.pause_reading()
        transport.write(b"CONTROL 0\n")

    def resume_writing(self) -> None:
        self.transport.write(b"PING 1\n" * 300_000)

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True


async def test_answers_that_are_not_taken_do_not_pile_up(run: Run[None], tmp_path: Path) -> None:
    async with meeting(tmp_path) as one:
        one.keep_key()
        deaf = Deaf((await dial(one.address, credential(one), one.dials())).transport)
        await until(lambda: one.roster._sessions, "no session")
        session = session_of(one)
        assert session._transport is not None
        session._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        waiting = session._transport.get_write_buffer_size
        deaf.resume_writing()
        await until(waiting, "its answers are not waited for")
        # Pings come as long as they are read: silence says that they are not.
        await until(lambda: session.pulse.silent_s(one.site.clock.now()) > 1, "it is heard on and on")
        assert waiting() < 3 << 20  # of 7 MB that were asked for
        session.end("silent", cut=True)  # as the clock does some seconds later
        await until(lambda: deaf.is_lost, "it is not cut")
