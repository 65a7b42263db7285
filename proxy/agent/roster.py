"""``AgentRoster``: the agents of a relay, as one worker has them: who is there, and with which connections.

It stands between exchanges and the pool: the pool asks it which processes of an agent there are (``among``), and for a
connection where none is idle (``open``). A route reaches an agent only by an endpoint of its configuration, and an
agent is only ever in the place of its own name, so what a key was made for is all that it opens. Keys are looked at
again every few seconds: where one is gone or another, the sessions made with it are cut.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from proxy.agent.control import Message, Word
from proxy.agent.keys import KeyShelf
from proxy.agent.session import Session
from proxy.config.settings import AgentRule, Loaded
from proxy.core.policy import Endpoint, Policy
from proxy.net.clock import NEVER
from proxy.net.site import Site
from proxy.net.upstream import UpstreamConnection

log = logging.getLogger(__name__)

#: Keys are looked at again so often.
KEYS_S = 1.0
#: Processes of one agent at a worker. Beyond that the oldest goes: it may be one that has not been missed yet.
MAX_PROCESSES = 16

_WHY = {
    "draining": "it is draining",
    "silent": "nothing was heard from it for 9 s",
    "closed": "it closed the connection",
    "lost": "the connection was lost",
    "revoked": "its key is no longer good",
    "not_listed": "it may no longer connect from there",
    "replaced": "it has connected again",
    "crowded": "too many processes of this name",
    "stopping": "we stop",
}


class AgentRoster:
    """The sessions of one worker. ``pool.agents`` is this."""

    def __init__(self, site: Site, shelf: KeyShelf) -> None:
        self.clock = site.clock
        self.turn = site.turn
        self.deadline = NEVER
        self.shelf = shelf
        self.is_leaving = False
        self._site = site
        self._pool = site.pool
        self._rules: Mapping[str, AgentRule] = {}
        self._sessions: dict[tuple[str, str], Session] = {}
        self._ending: set[Session] = set()  # used no more, but some of their connections still are
        self._among: dict[tuple[tuple[Endpoint, bool, int], ...], tuple[Endpoint, ...]] = {}
        self._paths: dict[str, set[str]] = {}
        self._certificates: Message | None = None  # which the relay shows

    # -- the configuration

    def use(self, loaded: Loaded) -> None:
        """These are the agents from now on, and these their routes."""
        self._rules = loaded.settings.agents.rules
        self.shelf.use(self._rules)
        self._paths = _paths_of(loaded.policy)
        self._among.clear()
        self._check_keys()
        for session in self._sessions.values():
            session.ask_for(self._paths.get(session.terms.name, ()))
        self.deadline = self.clock.after(KEYS_S)
        self.clock.watch(self)

    def deadline_passed(self, now: float) -> None:
        """The clock's call: see whether the keys are still those."""
        del now
        self._check_keys()
        self.deadline = self.clock.after(KEYS_S)

    def _check_keys(self) -> None:
        self._ending = {session for session in self._ending if session.connections}
        for session in (*self._sessions.values(), *self._ending):
            name, rule = session.terms.name, self._rules.get(session.terms.name)
            if self.shelf.key(name) != session.terms.key:
                session.end("revoked", cut=True)
            elif rule is not None and not rule.admits(session.terms.peer):
                session.end("not_listed", cut=True)

    # -- for the pool

    def among(self, endpoints: tuple[Endpoint, ...]) -> tuple[Endpoint, ...]:
        """The endpoints, with the processes of each agent that are there in its place."""
        # Endpoints are equal where they lead to the same place; who may serve the route is no part of that.
        key = tuple([(each, each.verifies, each.weight) for each in endpoints])
        found = self._among.get(key)
        if found is None:
            found = self._among[key] = tuple(one for each in endpoints for one in self._processes(each))
        return found

    def _processes(self, endpoint: Endpoint) -> Iterator[Endpoint]:
        if not endpoint.agent:
            yield endpoint
            return
        for session in self._of(endpoint.agent):
            if session.terms.guards or not endpoint.verifies:
                yield replace(session.endpoint, weight=endpoint.weight, verifies=endpoint.verifies)

    async def open(self, endpoint: Endpoint) -> UpstreamConnection:
        """A connection to that process of an agent, lent to the caller. OSError where it is gone."""
        session = self._sessions.get((endpoint.agent, endpoint.host))
        if session is None:
            raise ConnectionRefusedError("the agent is gone")
        return await session.wait()

    def made(self, connection: UpstreamConnection) -> None:
        """A connection stands."""
        self._pool.made(connection)

    def released(self, connection: UpstreamConnection) -> None:
        """A connection is idle: lend it to who waits for one, else the pool keeps it."""
        session = self._sessions.get((connection.endpoint.agent, connection.endpoint.host))
        if session is None or connection not in session.connections:
            self._pool.released(connection)
            connection.close()
            return
        session.settle()
        if not session.give(connection):
            self.keep(connection)

    def keep(self, connection: UpstreamConnection) -> None:
        """A connection is idle, and nobody waits for it."""
        self._pool.released(connection)

    def lost(self, connection: UpstreamConnection) -> None:
        """A connection is closed."""
        self._pool.lost(connection)
        if (connection.endpoint.agent, connection.endpoint.host) not in self._sessions:
            self._pool.endpoints.forget(connection.endpoint)

    # -- for sessions

    def entered(self, session: Session) -> None:
        """A process of an agent is there."""
        terms = session.terms
        before = self._sessions.get((terms.name, terms.instance))
        if before is not None:
            before.end("replaced", cut=True)
        others = self._of(terms.name)
        if len(others) >= MAX_PROCESSES:
            others[0].end("crowded", cut=True)
        self._sessions[terms.name, terms.instance] = session
        self._among.clear()
        session.ask_for(self._paths.get(terms.name, ()))
        if self._certificates:
            session.say(self._certificates)
        log.info("agent %s has connected: %s from %s", terms.name, terms.instance, terms.peer.text)
        if self.is_leaving:
            session.drain()

    def left(self, session: Session, why: str) -> None:
        """It is not used any more."""
        terms = session.terms
        if self._sessions.get((terms.name, terms.instance)) is not session:
            return
        del self._sessions[terms.name, terms.instance]
        self._ending.add(session)
        self._among.clear()
        self._pool.endpoints.forget(session.endpoint)
        tell = log.info if why in ("draining", "replaced", "stopping") else log.warning
        tell(
            "agent %s has disconnected: %s from %s: %s", terms.name, terms.instance, terms.peer.text, _WHY.get(why, why)
        )

    def lent(self, session: Session) -> int:
        """How many of its connections are in use."""
        return self._pool.endpoints[session.endpoint].outstanding

    def judged(self, session: Session) -> None:
        """Tell the pool how it is."""
        well = session.is_fresh(self.clock.now())
        self._pool.endpoints.checked(session.endpoint, well=well, failing=session.is_failing or not well, asked=False)

    def session(self, name: str, instance: str) -> Session | None:
        """That of a process."""
        return self._sessions.get((name, instance))

    def _of(self, name: str) -> list[Session]:
        return [one for one in self._sessions.values() if one.terms.name == name]

    # -- for the worker

    def tell_certificates(self, hashes: Sequence[bytes]) -> None:
        """The relay shows these certificates from now on."""
        self._certificates = Message(Word.CERTIFICATES, 0, tuple(one.hex() for one in hashes))
        for session in self._sessions.values():
            session.say(self._certificates)

    def drain(self) -> None:
        """Tell the agents that this worker leaves."""
        self.is_leaving = True
        for session in self._sessions.values():
            session.drain()

    async def close(self) -> None:
        """End all sessions."""
        self.clock.unwatch(self)
        for session in list(self._sessions.values()):
            session.end("stopping")
        await asyncio.sleep(0)

    def describe(self) -> list[dict[str, object]]:
        """The agents that are there, for `hookward agents`. Ages in seconds."""
        now = self.clock.now()
        return [self._row(session, now) for session in self._sessions.values()]

    def _row(self, session: Session, now: float) -> dict[str, object]:
        terms = session.terms
        through = [one.came_through for one in session.probes.values()]
        seen = [at for at in through if at is not None]
        return {
            "name": terms.name,
            "process": terms.instance,
            "from": terms.peer.text,
            "since": session.since,
            "alive": session.is_alive(now),
            "guards": terms.guards,
            "probe_age_s": round(now - min(seen), 1) if len(seen) == len(through) and seen else None,
            "probe": ", ".join(sorted({one.word for one in session.probes.values() if one.word})),
            "connections": len(session.connections),
            "in_use": self.lent(session),
        }

    def connections(self) -> dict[str, int]:
        """Of each agent that is configured, how many connections it has made."""
        return {name: sum(len(one.connections) for one in self._of(name)) for name in self._paths}

    def alive(self) -> dict[str, int]:
        """Of each agent that is configured, how many processes are alive."""
        now = self.clock.now()
        return {name: sum(one.is_alive(now) for one in self._of(name)) for name in self._paths}


def _paths_of(policy: Policy) -> dict[str, set[str]]:
    """What to ask each agent's application for, by name."""
    found: dict[str, set[str]] = {}
    for route in policy.routes:
        for endpoint in (*route.upstream, *route.drained):
            if endpoint.agent:
                path = endpoint.health.path if endpoint.health is not None else "-"
                found.setdefault(endpoint.agent, set()).add(path)
    return {name: paths - {"-"} if len(paths) > 1 else paths for name, paths in found.items()}
