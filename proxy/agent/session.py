"""``Session``: one process of an agent, as one worker of its relay knows it: its control connection, and the
connections that serve its routes.

Those are upstream connections like any other, but that the agent has made them: they wait in the pool under an endpoint
of their own, so the pool's choice, health and bounds hold for them. Alive is an agent whose probe came through to its
application within ``FRESH_S``; that it is connected says little. Where the control connection falls silent, all others
of the session are cut: the exchanges on them would wait for an answer that does not come.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import deque
from collections.abc import Iterable
from typing import Protocol

from proxy.agent.talk import FRESH_S, PING_S, ControlTalk, Message, Side, Word, hold_fast
from proxy.core.addresses import Peer
from proxy.core.policy import Endpoint
from proxy.net.clock import Clock
from proxy.net.upstream import IDLE, Owner, UpstreamConnection
from proxy.reasons import Reason
from proxy.values import frozen, mutable

#: A connection of an agent may wait for as long as it likes: whether it lives is known otherwise.
LASTING_S = 1e9
#: A peak of use keeps connections for so long.
PEAK_S = 30.0
#: Probes whose answer is awaited.
MAX_ASKED = 64


class SessionOwner(Owner, Protocol):
    """The relay's agents, as a session sees them."""

    clock: Clock

    def entered(self, session: Session) -> None:
        """It is there, and can be used."""

    def left(self, session: Session, why: str) -> None:
        """It is not to be used any more."""

    def keep(self, connection: UpstreamConnection) -> None:
        """Nobody waits for this one."""

    def lent(self, session: Session) -> int:
        """How many of its connections are in use."""

    def judged(self, session: Session) -> None:
        """Its probes have said something new."""


class AgentConnection(UpstreamConnection):
    """A connection that an agent has made, and that serves as one to an upstream."""

    __slots__ = ("session",)

    def __init__(self, session: Session, owner: Owner, sock: socket.socket) -> None:
        super().__init__(session.endpoint, owner, sock)
        self.session = session

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.session.connections.discard(self)
        self.session.settle()

    def cut(self) -> None:
        """End it now; an exchange on it learns that there is no answer."""
        self._fail(Reason.UPSTREAM_RESET, "agent_gone")
        if self._transport is not None:
            self._transport.abort()


@frozen
class SessionTerms:
    """What a session was made by: the agent's name and key, its process, whether it guards again, from where it
    connects, and how many connections it is to keep idle, and to have at most.
    """

    name: str
    key: bytes
    instance: str
    guards: bool
    peer: Peer
    idle: int
    most: int


@mutable
class Probed:
    """What is known of one way to ask the application. Times are the clock's."""

    came_through: float | None = None  # when a probe last did
    word: str = ""  # of the last one


class Session(ControlTalk):
    """The protocol of a control connection at the relay."""

    def __init__(self, owner: SessionOwner, terms: SessionTerms, since: float) -> None:
        """``since`` is the time of day."""
        super().__init__(Side.AGENT, owner.clock.now)
        self.terms = terms
        self.since = since
        self.endpoint = Endpoint(terms.instance, 0, agent=terms.name, idle_timeout_s=LASTING_S)
        self.connections: set[AgentConnection] = set()
        self.waiters: deque[asyncio.Future[UpstreamConnection]] = deque()
        self.probes: dict[str, Probed] = {}
        self.gone = False
        self.deadline = 0.0
        self._owner = owner
        now = owner.clock.now()
        self._begun = now
        self._asked: dict[int, str] = {}
        self._number = 0
        self._probe_at = now
        self._peak = 0
        self._peak_at = now
        self._wanted = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._owner.entered(self)
        self.settle()
        self.deadline_passed(self._owner.clock.now())
        self._owner.clock.watch(self)

    def hear(self, message: Message) -> None:
        """A message of the agent."""
        if message.word is Word.DRAIN:
            self.end("draining")
        elif message.word is Word.PROBED:
            path = self._asked.pop(message.number, None)
            if path in self.probes:
                probed = self.probes[path]
                probed.word = message.texts[0]
                if probed.word == "ok":
                    probed.came_through = self._owner.clock.now()
                self._owner.judged(self)

    # -- the clock's call

    def deadline_passed(self, now: float) -> None:
        """Ping, probe, and see whether the agent lives."""
        if not self.is_alive_after_ping(now):
            return
        if now >= self._probe_at:
            self._probe_at = now + PING_S
            self._probe()
            self._owner.judged(self)
        if now - self._peak_at > PEAK_S:
            self._peak, self._peak_at = self._owner.lent(self), now
            self.settle()
            idle = sorted((one for one in self.connections if one.state is IDLE), key=lambda one: one.idle_since)
            for connection in idle[: max(0, len(self.connections) - self._wanted)]:
                connection.close()
        self.deadline = self._owner.clock.after(min(self.pulse.next_s(now), max(0.05, self._probe_at - now)))

    def _probe(self) -> None:
        while len(self._asked) + len(self.probes) > MAX_ASKED and self._asked:
            del self._asked[next(iter(self._asked))]
        for path in self.probes:
            self._number += 1
            self._asked[self._number] = path
            self.say(Message(Word.PROBE, self._number, (path,)))

    def ask_for(self, paths: Iterable[str]) -> None:
        """Probe exactly these from now on; "-" asks only whether the application can be reached."""
        wanted = set(paths)
        self.probes = {path: self.probes.get(path) or Probed() for path in sorted(wanted)}
        self._probe_at = 0.0
        self.deadline = self._owner.clock.after(0.0)

    def is_fresh(self, now: float) -> bool:
        """Whether every probe came through lately; one that has just connected has that time before it."""
        return all(now - (one.came_through or self._begun) <= FRESH_S for one in self.probes.values())

    def is_alive(self, now: float) -> bool:
        """Whether every probe has come through, and lately."""
        seen = [one.came_through for one in self.probes.values()]
        return bool(seen) and all(at is not None and now - at <= FRESH_S for at in seen)

    @property
    def is_failing(self) -> bool:
        """Whether the last probe of one of them did not come through."""
        return any(one.word not in ("", "ok") for one in self.probes.values())

    # -- connections

    def adopt(self, transport: asyncio.Transport) -> None:
        """Take a connection of the agent as one to its application: for who waits, or to the pool."""
        if len(self.connections) >= self.terms.most:
            transport.close()
            return
        connection = AgentConnection(self, self._owner, transport.get_extra_info("socket"))
        hold_fast(transport)
        transport.set_protocol(connection)
        self.connections.add(connection)
        connection.connection_made(transport)
        if not self.give(connection):
            self._owner.keep(connection)

    def give(self, connection: UpstreamConnection) -> bool:
        """Lend a connection to the one that has waited longest; False where none waits."""
        while self.waiters:
            waiter = self.waiters.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return True
        return False

    async def wait(self) -> UpstreamConnection:
        """A connection that is lent to the caller, as soon as there is one. OSError where the session ends before."""
        waiter: asyncio.Future[UpstreamConnection] = asyncio.get_running_loop().create_future()
        self.waiters.append(waiter)
        self.settle()
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._owner.released(waiter.result())
            raise
        finally:
            with contextlib.suppress(ValueError):
                self.waiters.remove(waiter)

    def settle(self) -> None:
        """Have as many connections as are in use and waited for, and some that are idle."""
        if self.gone:
            return
        use = self._owner.lent(self) + len(self.waiters)
        if use >= self._peak:
            self._peak, self._peak_at = use, self._owner.clock.now()
        wanted = min(self.terms.most, self._peak + self.terms.idle)
        if wanted != self._wanted:
            self._wanted = wanted
            self.say(Message(Word.WANT, wanted))

    # -- the end

    def drain(self) -> None:
        """Tell the agent that we leave; it stays with what it has until we are gone."""
        self.say(Message(Word.DRAIN))

    def end(self, why: str, *, cut: bool = False) -> None:
        """Use the session no more. ``cut``: end its connections at once, those in use as well."""
        if not self.gone:
            self.gone = True
            self._owner.clock.unwatch(self)
            self._owner.left(self, why)
            while self.waiters:
                waiter = self.waiters.popleft()
                if not waiter.done():
                    waiter.set_exception(ConnectionResetError(f"the agent is gone: {why}"))
        for connection in list(self.connections) if cut else ():
            connection.cut()
        self.hang_up(cut=cut)
