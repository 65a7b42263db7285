"""The flow of one client's connection: why it is not read, and whether it still takes what is written to it.

Two small objects that a ``ClientConnection`` owns and its exchange uses, and how both sides write. They know a
transport and a clock, no exchange and no protocol.
"""

from __future__ import annotations

import asyncio
import contextlib
import mmap
import socket
from collections.abc import Sequence
from enum import IntEnum

from proxy.http1 import Piece
from proxy.net.clock import Clock
from proxy.net.sockets import abort
from proxy.net.tls_end import say_end

#: One read takes at most this much: it bounds what a connection holds beyond its windows.
READ_BYTES = 64 * 1024
#: The same where an exchange has reserved enough for it: each read has a price of its own.
LARGE_READ_BYTES = 1024 * 1024

#: Reads of all connections land here, and are used up or copied at once: a connection at rest holds no buffer. Mapped,
#: so that only what a read has filled takes memory.
LARGE_BUFFER = memoryview(mmap.mmap(-1, LARGE_READ_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
BUFFER = LARGE_BUFFER[:READ_BYTES]


class Pause(IntEnum):
    """Why a client's connection is not read. Reasons can be added up."""

    BUDGET = 1  # no buffer for its body yet: what was read is not looked at either
    UPSTREAM = 2  # the upstream is slower than the client
    CONNECT = 4  # content waits for a connection to the upstream
    PIPELINED = 8  # the next request has to wait for this one's answer
    UNREAD = 16  # the client does not take the answers it has: the next request waits until it does
    TURN = 32  # it has had its turn of the loop


def write(transport: asyncio.Transport, pieces: Sequence[Piece], *, secure: bool) -> None:
    """Give ``pieces`` to a transport: under TLS as one, since each write makes a record of its own."""
    if len(pieces) == 1:
        transport.write(pieces[0])
    elif pieces and secure:
        transport.write(b"".join(pieces))
    elif pieces:
        transport.writelines(pieces)


def unsent(sock: socket.socket, pieces: list[Piece]) -> list[Piece]:
    """Give ``pieces`` to the kernel, past a transport that has nothing to write: it would keep what the kernel does not
    take. Returns that, of which copies are the transport's to write.
    """
    try:
        size = sock.sendmsg(pieces)
    except OSError:
        return pieces  # the transport finds out why
    for number, piece in enumerate(pieces):
        if size < len(piece):
            return [memoryview(piece)[size:], *pieces[number + 1 :]]
        size -= len(piece)
    return []


class Reading:
    """Reading goes on while no reason forbids it. Time spent paused by us is not the peer's fault."""

    __slots__ = ("_clock", "_since", "_total", "buffer", "reasons", "transport")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.buffer = BUFFER  # where the next read goes
        self.transport: asyncio.Transport | None = None
        self.reasons = 0  # values of ``Pause``, added up
        self._since = 0.0
        self._total = 0.0

    def pause(self, why: Pause) -> None:
        """Stop reading, for one more reason."""
        if not self.reasons and self.transport is not None:
            self._since = self._clock.now()
            self.transport.pause_reading()
        self.reasons |= why

    def resume(self, why: Pause) -> bool:
        """Read on, where no other reason forbids it. Whether ``why`` was one of the reasons."""
        if not self.reasons & why:
            return False
        self.reasons &= ~why
        if not self.reasons and self.transport is not None:
            self._total += self._clock.now() - self._since
            self.transport.resume_reading()
        return True

    def let_others(self) -> None:
        """Read on when the loop has seen to the others: libuv reads up to 32 times in a row while it fills buffers."""
        self.pause(Pause.TURN)
        asyncio.get_running_loop().call_soon(self.resume, Pause.TURN)

    def resume_all(self) -> None:
        """Read on, whatever the reasons were: they ended with their exchange."""
        if self.reasons:
            self.reasons = 0
            if self.transport is not None:
                self.transport.resume_reading()

    def begin_request(self) -> None:
        """Count paused time from here."""
        self._total = 0.0

    def paused_s(self, now: float) -> float:
        """Seconds of this request in which we did not read."""
        return self._total + (now - self._since if self.reasons else 0.0)


class Writing:
    """What a client is told, and whether it takes it: it stalls when nothing moves while the buffer is too full."""

    __slots__ = ("_bytes", "_since", "is_stalled", "secure", "transport")

    def __init__(self, *, secure: bool) -> None:
        self.secure = secure
        self.transport: asyncio.Transport | None = None
        self.is_stalled = False  # whether the peer is behind
        self._since = 0.0
        self._bytes = 0

    def write(self, pieces: Sequence[Piece]) -> None:
        """Give bytes of an answer to the transport; a client that is gone gets nothing."""
        if self.transport is not None:
            write(self.transport, pieces, secure=self.secure)

    def end(self) -> None:
        """Tell the client that nothing further comes; what it sends is read as before."""
        if self.transport is None:
            return
        if self.secure:
            say_end(self.transport)
            return
        # asyncio shuts the socket down at once, which fails where the client's reset waits to be read.
        with contextlib.suppress(OSError):
            if self.transport.can_write_eof():
                self.transport.write_eof()

    def close(self) -> None:
        """Close, once all that was written has left."""
        if self.transport is not None:
            self.transport.close()

    def reset(self) -> None:
        """Close now: what was written and has not left is dropped."""
        if self.transport is not None:
            abort(self.transport, self.transport.get_extra_info("socket"))

    @property
    def local_address(self) -> object:
        """Where the client has connected to, as ``getsockname`` gives it; None where it is gone."""
        return None if self.transport is None else self.transport.get_extra_info("sockname")

    @property
    def unwritten(self) -> int:
        """Bytes that were written and have not reached the kernel."""
        return self.transport.get_write_buffer_size() if self.transport is not None else 0

    def stalled(self, now: float) -> None:
        """From ``now`` on the peer is behind."""
        self.is_stalled = True
        self._since = now
        self._bytes = self.unwritten

    def flows(self) -> None:
        """The peer has caught up."""
        self.is_stalled = False

    def is_late(self, now: float, timeout_s: float) -> bool:
        """Whether it has taken nothing for ``timeout_s``; to be asked again and again."""
        if not self.is_stalled:
            return False
        unwritten = self.unwritten
        if unwritten < self._bytes:
            self._since = now
        self._bytes = unwritten
        return now - self._since > timeout_s
