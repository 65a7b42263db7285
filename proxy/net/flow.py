"""The flow of one client's connection: what is read and written, a body on its way in, and the end.

``Reading`` and ``Writing`` are small objects that a ``ClientConnection`` owns and its exchange uses. They say why it is
not read, and whether it still takes what is written to it. They know a transport and a clock, no exchange and no
protocol.

An ``IncomingBody`` comes in piece by piece, or is judged beside the loop. It has what such a body takes: its share of
the buffer budget, its temporary file, and the thread that judges it. All of it is given back by ``release``. A small
body that came in one read needs none of this.

``Leaving`` takes the transport over when the connection is out of exchanges. What was written last still has to leave,
for as long as the client takes some of it; what the client still sends is discarded within bounds, because unread bytes
would make the close a reset, which destroys an answer on its way.
"""

from __future__ import annotations

import asyncio
import contextlib
import mmap
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Protocol

from proxy.core.addresses import Peer
from proxy.core.budget import BufferBudget, Party, Reservation
from proxy.core.policy import Policy
from proxy.core.relay import Relay
from proxy.core.states import CLIENT_MOVES, ClientState
from proxy.http1 import Piece
from proxy.net.beyond_ssl import say_end
from proxy.net.clock import Clock, Ready, Turn, Watched
from proxy.net.large_bodies import Apart, Job, SpillFile, Verdict
from proxy.net.sockets import abort

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


class Connection(Watched, Protocol):
    """A client's connection, as the worker sees it when it drains."""

    def drain(self) -> None:
        """Close when idle, at the latest when the site says, else after the exchange that is under way."""

    def abort(self) -> None:
        """Close now."""


class SiteParts(Protocol):
    """What a connection's parts need of the site."""

    clock: Clock
    turn: Turn
    budget: BufferBudget
    apart: Apart
    policy: Policy

    def party_of(self, client: Peer) -> Party:
        """For whom a buffer is."""
        ...

    def enter(self, connection: Connection) -> None:
        """See to its deadline, and to it when the worker drains, until it is forgotten."""

    def forget(self, connection: Connection) -> None:
        """It is closed, or another has its place."""


#: How long an exchange waits for its share of the buffer budget, or for a thread, before it is answered 503.
BUDGET_WAIT_S = 15.0
#: While a streamed body is under way it holds what is withheld and one write buffer, no longer a whole window.
STREAMING_BYTES = 160 * 1024
#: The same where there is plenty, and reads are large: the upstream may take nothing of one.
GENEROUS_BYTES = STREAMING_BYTES + LARGE_READ_BYTES


@dataclass(slots=True, eq=False, repr=False)
class IncomingBody:
    """One body on its way in."""

    _site: SiteParts
    _client: Ready  # is stepped when there is room, and when there is a verdict
    _reading: Reading
    _relay: Relay
    spill: SpillFile | None = None  # takes what memory does not

    verdict: tuple[Verdict] | None = field(init=False, default=None)  # of the thread, and not told yet
    _reservation: Reservation | None = field(init=False, default=None)
    _job: Job | None = field(init=False, default=None)
    _waits_since: float = field(init=False, default=0.0)  # for its share of the budget, or for a thread

    def reserve(self) -> Reservation:
        """Its share of the budget: as much of it as there is now."""
        if self._reservation is None:
            party = self._site.party_of(self._relay.admit.client)
            self._reservation = self._site.budget.reserve(party, self._granted)
            if self.spill is not None:
                self.spill.party = party
        return self._reservation

    def _granted(self) -> None:
        if self._reading.resume(Pause.BUDGET):
            self._site.turn.go_on(self._client)

    def count(self, unsent: int) -> None:
        """Hold room for what is held back, or read faster where memory is plenty; ``unsent`` waits for the upstream."""
        reservation, gate = self._reservation, self._relay.gate
        if reservation is None:
            return
        if not (gate.streaming or gate.spilling):
            if not reservation.hold(gate.held_bytes):
                self._waits_since = self._site.clock.now()
                self._reading.pause(Pause.BUDGET)
            return
        generous = gate.streaming and gate.takes_large_pieces and reservation.grow(GENEROUS_BYTES)
        if not generous:
            reservation.shrink(max(STREAMING_BYTES if gate.streaming else 0, unsent + gate.held_bytes))
        self._reading.buffer = LARGE_BUFFER if generous else BUFFER

    def hold(self) -> bool:
        """Hold room for all that came and is not in the file. Whether there is as much."""
        spilled = 0 if self.spill is None else self.spill.size
        return self.reserve().hold(self._relay.gate.received - spilled)

    def judge(self) -> bool:
        """Have the whole body judged by a thread, and then the client stepped. Whether there is room for that."""
        gate, reservation = self._relay.gate, self.reserve()
        self._waits_since = self._site.clock.now()
        if not (gate.spilling or reservation.hold(gate.held_bytes)):
            return False
        self._job = self._site.apart.submit(reservation.party, gate.finish, self._judged, self._not_judged)
        return True

    def _judged(self, verdict: Verdict) -> None:
        self._job = None
        self.verdict = (verdict,)
        self._site.turn.go_on(self._client)

    def _not_judged(self, bug: Exception) -> None:
        self._job = None
        self._client.failed(bug)

    @property
    def waits(self) -> bool:
        """Whether it waits for its share of the budget."""
        return bool(self._reading.reasons & Pause.BUDGET)

    def lacks(self, now: float) -> str:
        """What it has waited for too long, "" where it has not."""
        lacking = "buffer_budget" if self.waits else "verification" if self._job and not self._job.started else ""
        return lacking if now - self._waits_since > BUDGET_WAIT_S else ""

    def release(self) -> None:
        """Give everything back; what a thread still reads, later. Calling it twice does no harm."""
        # What calls back is let go of as well: each would keep the other, and the body, until the collector looks.
        job, self._job = self._job, None
        if job is not None:
            self._site.apart.abandon(job, self._give_back)
        else:
            self._give_back()

    def _give_back(self) -> None:
        reservation, self._reservation = self._reservation, None
        if reservation is not None:
            reservation.release()
        if self.spill is not None:
            self.spill.close()


#: Lingering close: what still comes is discarded for at most this long and this much.
LINGER_S = 2.0
LINGER_BYTES = 32 * 1024 * 1024
#: Whether the client still takes what was written is looked at this often.
CHECK_S = 1.0

_, _, _, REFUSING, CLOSING, CLOSED = ClientState


class Leaving(asyncio.BufferedProtocol):
    """The protocol of a connection that ends. One of ``linger``, ``close`` and ``abort`` has to be called at once."""

    __slots__ = ("_discarded", "_gone", "_reading", "_site", "_state", "_writing", "deadline")

    def __init__(
        self,
        site: SiteParts,
        client: Connection,
        state: ClientState,
        flow: tuple[Reading, Writing],
        gone: Callable[[], None],
    ) -> None:
        """Take the connection of ``client`` over, in ``state``; ``gone`` is called once, when it is closed."""
        self._site = site
        self._state = state
        self._reading, self._writing = flow
        self._gone = gone
        self._discarded = 0
        if self._writing.transport is not None:
            self._writing.transport.set_protocol(self)
        self.deadline = site.clock.after(CHECK_S)
        site.forget(client)
        site.enter(self)

    def linger(self) -> None:
        """Close without losing the answer to a reset: end our side, and discard what still comes."""
        self._state = CLIENT_MOVES[self._state][REFUSING]
        self.deadline = self._site.clock.after(LINGER_S)
        self._reading.resume_all()
        self._writing.end()

    def close(self) -> None:
        """Close, once all that was written has left."""
        self._state = CLIENT_MOVES[self._state][CLOSING]
        self._writing.close()

    def abort(self) -> None:
        """Close now, and by reset: an answer that ends with its connection must not look complete."""
        if self._state is not CLOSING:
            self._state = CLIENT_MOVES[self._state][CLOSING]
        self._writing.reset()

    def drain(self) -> None:
        """It ends already."""

    def deadline_passed(self, now: float) -> None:
        """The clock's call."""
        self.deadline = self._site.clock.after(CHECK_S)
        if self._writing.is_late(now, self._site.policy.limits.write_timeout_s):
            self.abort()
        elif self._state is REFUSING and not self._writing.unwritten:
            self.close()
        elif not self._writing.is_stalled:
            # Closing waits for the last answer as long as the client takes some of it.
            self._writing.stalled(now)

    # -- asyncio's calls

    def get_buffer(self, _: int) -> memoryview:
        return self._reading.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._discarded += nbytes
        if self._discarded > LINGER_BYTES:
            self.abort()

    def pause_writing(self) -> None:
        self._writing.stalled(self._site.clock.now())

    def resume_writing(self) -> None:
        self._writing.flows()

    def connection_lost(self, _: Exception | None) -> None:
        self._state = CLIENT_MOVES[self._state][CLOSED]
        closed(self._site, self, (self._reading, self._writing), self._gone)


def closed(site: SiteParts, connection: Connection, flow: tuple[Reading, Writing], gone: Callable[[], None]) -> None:
    """The transport of ``connection`` is closed: forget it, and call ``gone``."""
    site.forget(connection)
    for way in flow:
        way.transport = None
    gone()
