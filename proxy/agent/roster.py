"""``AgentRoster``: the agents of a relay, as one worker has them: who is there, and with which connections.

It stands between exchanges and the pool: the pool asks it which processes of an agent there are (``among``), and for a
connection where none is idle (``open``). A route reaches an agent only by an endpoint of its configuration, and an
agent is only ever in the place of its own name, so what a key was made for is all that it opens. Keys are looked at
again every few seconds: where one is gone or another, the sessions made with it are cut.

Before it is known whose a connection is, its hello passes a ``Gate``: only so many are under way at once, and of one
address but a share.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from proxy.agent.keys import KeyShelf
from proxy.agent.session import Session
from proxy.agent.talk import WHY, Hello, Message, Purpose, Word
from proxy.config.settings import AgentRule, AgentSettings, Loaded
from proxy.core.addresses import Peer
from proxy.core.policy import Endpoint, Policy
from proxy.net.clock import NEVER
from proxy.net.site import Site
from proxy.net.upstream import UpstreamConnection

log = logging.getLogger(__name__)

#: Keys are looked at again so often.
KEYS_S = 1.0
#: Processes of one agent at a worker. Beyond that the oldest goes: it may be one that has not been missed yet.
MAX_PROCESSES = 16

#: Hellos under way, in all and of one address.
MAX_HELLOS = 64
MAX_HELLOS_OF_ADDRESS = 16
#: Of these, so many are for addresses that are known: named by an agent's ``allow``, or proved from before. So
#: strangers from anywhere do not keep out an agent that comes back.
RESERVED_HELLOS = 16
#: Addresses that are remembered for it; each takes a key to be remembered.
MOST_PROVED = 1024

_WHY = {
    **WHY,
    "draining": "it is draining",
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

    def processes(self) -> list[dict[str, object]]:
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


class Gate:
    """What all arrivals of one worker share. ``place`` is this worker's number, how many there are, and its word."""

    def __init__(self, site: Site, roster: AgentRoster, place: tuple[int, int, str]) -> None:
        self.site = site
        self.roster = roster
        self.place = place
        self.settings = AgentSettings()
        self.decoy = secrets.token_bytes(32)
        self._hellos: dict[tuple[int, int], int] = {}
        self._proved: dict[tuple[int, int], None] = {}

    def enter(self, peer: Peer) -> bool:
        """Whether one more may say hello; then ``leave`` is to be called."""
        mine = self._hellos.get(peer.group, 0)
        most = MAX_HELLOS if self._is_known(peer) else MAX_HELLOS - RESERVED_HELLOS
        if mine >= MAX_HELLOS_OF_ADDRESS or sum(self._hellos.values()) >= most:
            return False
        self._hellos[peer.group] = mine + 1
        return True

    def leave(self, peer: Peer) -> None:
        """One hello is over."""
        left = self._hellos[peer.group] - 1
        if left:
            self._hellos[peer.group] = left
        else:
            del self._hellos[peer.group]

    def _is_known(self, peer: Peer) -> bool:
        rules = self.settings.rules.values()
        return peer.group in self._proved or any(rule.allow is not None and peer in rule.allow for rule in rules)

    def proved(self, peer: Peer) -> None:
        """An agent has proved itself from there."""
        self._proved.pop(peer.group, None)
        self._proved[peer.group] = None
        if len(self._proved) > MOST_PROVED:
            del self._proved[next(iter(self._proved))]

    def key_of(self, hello: Hello, peer: Peer) -> bytes | None:
        """What the other end must know; None where there is none that may come from there."""
        rule = self.settings.rules.get(hello.name)
        if rule is None or not rule.admits(peer):
            return None
        shelf = self.roster.shelf
        return shelf.key(hello.name) if hello.kind is Purpose.SERVE else shelf.open_code(hello.name)

    def decoy_of(self, name: str) -> bytes:
        """A key that none has; the same for the same name."""
        return hmac.digest(self.decoy, name.encode("ascii"), hashlib.sha256)


def _paths_of(policy: Policy) -> dict[str, set[str]]:
    """What to ask each agent's application for, by name."""
    found: dict[str, set[str]] = {}
    for route in policy.routes:
        for endpoint in (*route.upstream, *route.drained):
            if endpoint.agent:
                path = endpoint.health.path if endpoint.health is not None else "-"
                found.setdefault(endpoint.agent, set()).add(path)
    return {name: paths - {"-"} if len(paths) > 1 else paths for name, paths in found.items()}
