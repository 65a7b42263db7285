"""What a worker of a relay has for its agents: the place where connections of agents and of clients part.

Whose a connection is says the protocol that TLS has agreed on. An agent says hello (``talk``) within ``HELLO_S`` and a
bounded number of bytes. What fails is told in words that are ours, summed up by the minute. A client goes on as if
nothing had happened, but where only agents may come from its address: then it is reset, with not a byte of HTTP read.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import secrets
from collections.abc import Callable, Sequence
from enum import Enum
from typing import cast

from proxy.agent import talk
from proxy.agent.keys import KeyShelf
from proxy.agent.roster import AgentRoster, Gate
from proxy.agent.session import Session, SessionTerms
from proxy.config.settings import Loaded
from proxy.core.addresses import Peer
from proxy.core.metric_families import AGENT_CONNECTIONS, AGENT_HELLOS_FAILED, AGENTS_ALIVE
from proxy.core.metrics import Metrics
from proxy.core.setup_faults import NOT_LISTED, SetupFault
from proxy.net.admission import AcceptCounters
from proxy.net.clock import NEVER
from proxy.net.http_server import JSON, Answer, Request
from proxy.net.listener import ConnectionFactory
from proxy.net.site import Site
from proxy.net.sockets import abort
from proxy.net.tls import AGENT_PROTOCOL

log = logging.getLogger(__name__)

_ENROL = "if it is an agent of yours, enrol it again: hookward enrol NAME"
_OTHER = "nothing, unless it is an agent of yours: then its version may be another one"
#: How what is told is counted, and what mends it; all else was not understood.
_TOLD = {
    "no such key": ("key", _ENROL),
    "it has another key": ("key", _ENROL),
    "key refused": ("key", _ENROL),
    "code used": ("key", _OTHER),
    "key not kept": ("key", "let the user that hookward runs as write to the folder of the agent's key"),
    "too many hellos at once": ("room", _OTHER),
    "no hello in time": ("time", _OTHER),
    "TLS before 1.3": ("tls", _OTHER),
}
#: A hello takes two round trips.
HELLO_S = 10.0


class HelloStep(Enum):
    """How far a hello has come."""

    HELLO = "hello"  # nothing was said
    PROOF = "proof"  # the relay has proved itself
    ROLE = "role"  # so has the agent
    OVER = "over"


class AgentOrClient(asyncio.Protocol):
    """The protocol of a connection until it is known whose it is, and of one that is nobody's."""

    def __init__(
        self, gate: Gate, peer: Peer, counters: AcceptCounters, on_close: Callable[[], None], client: ConnectionFactory
    ) -> None:
        self._gate = gate
        self._peer = peer
        self._counters = counters
        self._on_close = on_close
        self._client = client

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        connection = transport.get_extra_info("ssl_object")
        made = cast("asyncio.Transport", transport)
        protocol: asyncio.BaseProtocol
        if connection.selected_alpn_protocol() == AGENT_PROTOCOL:
            protocol = AgentHello(self._gate, self._peer, connection.context.fingerprint, self._on_close)
        elif self._gate.site.policy.is_client(self._peer):
            protocol = self._client(self._peer, secure=True, on_close=self._on_close)
        else:
            self._counters.refused_address += 1
            self._gate.site.note(NOT_LISTED, self._peer.text)
            abort(made, made.get_extra_info("socket"))
            return
        made.set_protocol(protocol)
        protocol.connection_made(made)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._on_close()


class AgentHello(asyncio.Protocol):
    """The relay's side of a hello."""

    def __init__(self, gate: Gate, peer: Peer, fingerprint: bytes, on_close: Callable[[], None]) -> None:
        """``fingerprint`` is the SHA-256 of the certificate that the other end was shown."""
        self.deadline = NEVER
        self._gate = gate
        self._peer = peer
        self._fingerprint = fingerprint
        self._on_close = on_close
        self._lines = talk.LineBuffer()
        self._step = HelloStep.HELLO
        self._transport: asyncio.Transport | None = None
        self._challenge: talk.Challenge | None = None
        self._key: bytes | None = None
        self._entered = False

    # -- asyncio's calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._entered = self._gate.enter(self._peer)
        if not self._entered or transport.get_extra_info("ssl_object").version() != "TLSv1.3":
            self._note("too many hellos at once" if not self._entered else "TLS before 1.3")
            self._close()
            return
        self.deadline = self._gate.site.clock.after(HELLO_S)
        self._gate.site.clock.watch(self)

    def data_received(self, data: bytes) -> None:
        self._lines.feed(data)
        try:
            while self._step is not HelloStep.OVER and (words := self._lines.take()) is not None:
                self._hear(words)
        except talk.TalkError as error:
            self._fail(error.word)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        if self._step is HelloStep.PROOF:
            self._note("no such key" if self._key is None else "it has another key")
        elif self._step is HelloStep.HELLO:
            self._gate.site.metrics.inc(AGENT_HELLOS_FAILED, "closed")
        self._leave()
        self._transport = None
        self._on_close()

    def deadline_passed(self, now: float) -> None:
        """The clock's call."""
        del now
        self._fail("no hello in time")

    # -- the steps

    def _hear(self, words: list[str]) -> None:
        if self._step is HelloStep.HELLO:
            self._begin(talk.read_hello(words))
        elif self._step is HelloStep.PROOF:
            self._check(talk.read_agent(words))
        elif words == ["DATA"]:
            self._take_data()
        elif words in (["CONTROL", "0"], ["CONTROL", "1"]):
            self._take_control(guards=words[1] == "1")
        else:
            raise talk.TalkError("role_expected")

    def _begin(self, hello: talk.Hello) -> None:
        self._key = self._gate.key_of(hello, self._peer)
        key = self._gate.decoy_of(hello.name) if self._key is None else self._key
        self._challenge = talk.Challenge(hello, secrets.token_bytes(talk.NONCE_BYTES), self._fingerprint, key)
        self._step = HelloStep.PROOF
        self._write(talk.write_relay(self._challenge.relay_nonce, self._challenge.relay_proof()))

    def _check(self, proof: bytes) -> None:
        challenge = self._challenge
        assert challenge is not None
        # Of a name that is not known nobody has the key: the comparison is made all the same.
        if not hmac.compare_digest(proof, challenge.agent_proof()) or self._key is None:
            self._refuse("key_refused")
        elif challenge.hello.kind is talk.Purpose.JOIN:
            self._join(challenge)
        else:
            self._step = HelloStep.ROLE
            self._gate.proved(self._peer)
            self._welcome()

    def _join(self, challenge: talk.Challenge) -> None:
        name = challenge.hello.name
        why = self._gate.roster.shelf.join(name, challenge.agent_key())
        if why:
            self._refuse(why)
            return
        log.info("agent %s has joined from %s", name, self._peer.text)
        self._welcome()
        self._close()

    def _welcome(self) -> None:
        number, workers, word = self._gate.place
        self._write(talk.Welcome(number, workers, word, self._gate.settings.idle).write())

    def _take_control(self, *, guards: bool) -> None:
        challenge, settings, site = self._challenge, self._gate.settings, self._gate.site
        assert challenge is not None
        assert self._key is not None
        hello = challenge.hello
        terms = SessionTerms(hello.name, self._key, hello.instance, guards, self._peer, settings.idle, settings.most)
        self._become(Session(self._gate.roster, terms, site.clock.wall()))

    def _take_data(self) -> None:
        challenge, transport = self._challenge, self._transport
        assert challenge is not None
        assert transport is not None
        session = self._gate.roster.session(challenge.hello.name, challenge.hello.instance)
        if session is None or session.terms.key != self._key or self._lines.rest:
            self._close()
            return
        self._step = HelloStep.OVER
        self._leave()
        self._on_close()  # from here on it is a connection to an upstream, and none of the clients'
        session.adopt(transport)

    def _become(self, session: Session) -> None:
        transport = self._transport
        assert transport is not None
        self._step = HelloStep.OVER
        self._leave()
        self._on_close()
        transport.set_protocol(session)
        session.connection_made(transport)
        if self._lines.rest:
            session.data_received(self._lines.rest)

    # -- the end

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def _refuse(self, word: str) -> None:
        self._note(word.replace("_", " "))
        self._write(talk.Refused(word).write())
        self._close()

    def _fail(self, why: str) -> None:
        self._note(why)
        self._step = HelloStep.OVER
        if self._transport is not None:
            abort(self._transport, self._transport.get_extra_info("socket"))

    def _close(self) -> None:
        self._step = HelloStep.OVER
        if self._transport is not None:
            self._transport.close()

    def _note(self, why: str) -> None:
        """Names come from strangers: only those of the configuration are told."""
        counted, mend = _TOLD.get(why, ("talk", _OTHER))
        self._gate.site.metrics.inc(AGENT_HELLOS_FAILED, counted)
        hello = None if self._challenge is None else self._challenge.hello
        name = hello.name if hello is not None and hello.name in self._gate.settings.rules else "an unknown name"
        self._gate.site.note(SetupFault("agent", f"agent {name}: {why}", mend), self._peer.text)

    def _leave(self) -> None:
        if self._entered:
            self._entered = False
            self._gate.site.clock.unwatch(self)
            self._gate.leave(self._peer)


#: Of more certificates the agents are told the first ones: a line has an end.
MOST_TOLD = 7


class AgentRelay(AgentRoster):
    """The agents of one worker. ``place`` is its number, how many workers there are, and a word of its own;
    ``fingerprints`` gives those of the certificates in force.
    """

    def __init__(
        self,
        site: Site,
        counters: AcceptCounters,
        place: tuple[int, int, str],
        fingerprints: Callable[[], Sequence[bytes]],
    ) -> None:
        super().__init__(site, KeyShelf(site.clock.wall))
        self._counters = counters
        self._fingerprints = fingerprints
        self._told: tuple[bytes, ...] = ()
        self._gate = Gate(site, self, place)
        site.pool.agents = self

    def use(self, loaded: Loaded) -> None:
        """A load of the configuration is in force."""
        self._gate.settings = loaded.settings.agents
        super().use(loaded)
        self._tell()  # before the first agent comes: it may stay for less than a ping

    def deadline_passed(self, now: float) -> None:
        """The clock's call: see whether the keys are still those, and tell of certificates that were renewed."""
        super().deadline_passed(now)
        self._tell()

    def _tell(self) -> None:
        shown = tuple(self._fingerprints()[:MOST_TOLD])
        if shown and shown != self._told:
            self._told = shown
            self.tell_certificates(shown)

    def parting(self, client: ConnectionFactory) -> ConnectionFactory:
        """What a listener makes connections by: an agent's is taken here, any other is made by ``client``."""

        def make(peer: Peer, *, secure: bool, on_close: Callable[[], None]) -> asyncio.BaseProtocol:
            del secure  # always: agents have no other way in
            return AgentOrClient(self._gate, peer, self._counters, on_close, client)

        return make

    def measure(self, metrics: Metrics) -> None:
        """Set the gauges."""
        metrics.replace(AGENTS_ALIVE, {(name,): alive for name, alive in self.alive().items()})
        metrics.replace(AGENT_CONNECTIONS, {(name,): count for name, count in self.connections().items()})

    def answer(self, _request: Request) -> Answer:
        """`hookward agents` asks over the private socket."""
        return Answer(200, JSON, json.dumps(self.describe()).encode("ascii") + b"\n")

    def describe(self) -> list[dict[str, object]]:
        """Every agent that is configured, and the processes of it that are here."""
        rows = self.processes()
        return [
            {
                "name": name,
                "routes": sorted(rule.routes),
                "joined": self.shelf.key(name) is not None,
                "processes": [row for row in rows if row["name"] == name],
            }
            for name, rule in sorted(self._gate.settings.rules.items())
        ]
