"""``Leaving``: the end of a client's connection, which is out of exchanges. It takes the transport over.

What was written last still has to leave, for as long as the client takes some of it; what the client still sends is
discarded within bounds, because unread bytes would make the close a reset, which destroys an answer on its way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from proxy.core.states import CLIENT_MOVES, ClientState
from proxy.net.flow import Reading, Writing
from proxy.net.site import Connection, Site

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
        site: Site,
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


def closed(site: Site, connection: Connection, flow: tuple[Reading, Writing], gone: Callable[[], None]) -> None:
    """The transport of ``connection`` is closed: forget it, and call ``gone``."""
    site.forget(connection)
    for way in flow:
        way.transport = None
    gone()
