"""``ControlTalk``: what both ends of a control connection have in common: messages, signs of life, and a bound.

A peer that does not read what we write is not read either: answers to its messages would pile up here. So it counts as
silent, and is cut like any other that is (``pulse``). What a message means is for the side that receives it.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import cast

from proxy.agent.control import Message, Side, Word, read_message
from proxy.agent.hello import LineBuffer, TalkError
from proxy.agent.pulse import Pulse
from proxy.net.sockets import abort

#: The kernel gives a connection up whose other end has acknowledged nothing for so long.
USER_TIMEOUT_MS = 10_000
KEEPALIVE = (("TCP_KEEPIDLE", 5), ("TCP_KEEPINTVL", 2), ("TCP_KEEPCNT", 3))


def hold_fast(transport: asyncio.BaseTransport) -> None:
    """Let the kernel notice within seconds that the other end of a connection is gone."""
    sock = transport.get_extra_info("socket")
    for name, value in (*KEEPALIVE, ("TCP_USER_TIMEOUT", USER_TIMEOUT_MS)):
        with contextlib.suppress(AttributeError, OSError):  # not every system has each of them
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class ControlTalk(asyncio.Protocol):
    """One end of a control connection. ``other`` is the side that it hears, ``now`` gives seconds."""

    def __init__(self, other: Side, now: Callable[[], float]) -> None:
        self.pulse = Pulse(now())
        self._other = other
        self._now = now
        self._lines = LineBuffer()
        self._transport: asyncio.Transport | None = None

    # -- of the side

    def hear(self, message: Message) -> None:
        """Any message but a ping."""
        raise NotImplementedError

    def end(self, why: str, *, cut: bool = False) -> None:
        """It is over; ``cut``: so is all that belongs to it, at once. A second call does nothing."""
        raise NotImplementedError

    # -- asyncio's calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        hold_fast(transport)

    def data_received(self, data: bytes) -> None:
        self.pulse.heard(self._now())
        self._lines.feed(data)
        try:
            while (words := self._lines.take()) is not None:
                message = read_message(words, self._other)
                if message.word is Word.PING:
                    self.say(Message(Word.PONG, message.number))
                else:
                    self.hear(message)
        except TalkError as error:
            self.end(error.word, cut=True)

    def eof_received(self) -> bool:
        self.end("closed")
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self.end("lost" if exc else "closed")

    def pause_writing(self) -> None:
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    # -- for the side

    def say(self, message: Message) -> None:
        """Send one."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(message.write())

    def is_alive_after_ping(self, now: float) -> bool:
        """Ping where that is due. False where the other end was silent for too long: then it is cut."""
        if self.pulse.is_dead(now):
            self.end("silent", cut=True)
            return False
        number = self.pulse.ping(now)
        if number:
            self.say(Message(Word.PING, number))
        return True

    def hang_up(self, *, cut: bool) -> None:
        """Close the connection itself."""
        if self._transport is not None:
            if cut:
                abort(self._transport, self._transport.get_extra_info("socket"))
            else:
                self._transport.close()
