"""A connection that arrives at the relay's listener: an agent's, by the protocol that TLS has agreed on, or a client's.

An agent says hello (``hello``) within ``HELLO_S`` and a bounded number of bytes; only so many do so at once, and of one
address but a share. What fails is told in words that are ours, summed up by the minute. A client goes on as if nothing
had happened, but where only agents may come from its address: then it is reset, with not a byte of HTTP read.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import secrets
from collections.abc import Callable
from enum import Enum
from typing import cast

from proxy.agent.hello import (
    NONCE_BYTES,
    Challenge,
    Hello,
    LineBuffer,
    Purpose,
    Refused,
    TalkError,
    Welcome,
    read_agent,
    read_hello,
    same,
    write_relay,
)
from proxy.agent.roster import AgentRoster
from proxy.agent.session import Session, SessionTerms
from proxy.config.settings import AgentSettings
from proxy.core.addresses import Peer
from proxy.core.metric_families import AGENT_HELLOS_FAILED
from proxy.core.setup_faults import NOT_LISTED, SetupFault
from proxy.net.admission import AcceptCounters
from proxy.net.clock import NEVER
from proxy.net.listener import ConnectionFactory
from proxy.net.site import Site
from proxy.net.sockets import abort
from proxy.net.tls import AGENT_PROTOCOL

log = logging.getLogger(__name__)

_MEND = "nothing, unless it is an agent of yours: then its version may be another one"
_MENDS = {
    "no such key": "if it is an agent of yours, enrol it again: hookward enrol NAME",
    "it has another key": "if it is an agent of yours, enrol it again: hookward enrol NAME",
    "key refused": "if it is an agent of yours, enrol it again: hookward enrol NAME",
    "key not kept": "let the user that hookward runs as write to the folder of the agent's key",
}
#: What is counted, of what is told; all else was not understood.
_CAUSES = {
    "no such key": "key",
    "it has another key": "key",
    "key refused": "key",
    "code used": "key",
    "key not kept": "key",
    "too many hellos at once": "room",
    "no hello in time": "time",
    "TLS before 1.3": "tls",
}
#: A hello takes two round trips.
HELLO_S = 10.0
#: Hellos under way, in all and of one address.
MAX_HELLOS = 64
MAX_HELLOS_OF_ADDRESS = 16
#: Of these, so many are for addresses that are known: named by an agent's ``allow``, or proved from before. So
#: strangers from anywhere do not keep out an agent that comes back.
RESERVED_HELLOS = 16
#: Addresses that are remembered for it; each takes a key to be remembered.
MOST_PROVED = 1024


class HelloStep(Enum):
    """How far a hello has come."""

    HELLO = "hello"  # nothing was said
    PROOF = "proof"  # the relay has proved itself
    ROLE = "role"  # so has the agent
    OVER = "over"


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
        self._lines = LineBuffer()
        self._step = HelloStep.HELLO
        self._transport: asyncio.Transport | None = None
        self._challenge: Challenge | None = None
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
        except TalkError as error:
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
            self._begin(read_hello(words))
        elif self._step is HelloStep.PROOF:
            self._check(read_agent(words))
        elif words == ["DATA"]:
            self._take_data()
        elif words in (["CONTROL", "0"], ["CONTROL", "1"]):
            self._take_control(guards=words[1] == "1")
        else:
            raise TalkError("role_expected")

    def _begin(self, hello: Hello) -> None:
        self._key = self._gate.key_of(hello, self._peer)
        key = self._gate.decoy_of(hello.name) if self._key is None else self._key
        self._challenge = Challenge(hello, secrets.token_bytes(NONCE_BYTES), self._fingerprint, key)
        self._step = HelloStep.PROOF
        self._write(write_relay(self._challenge.relay_nonce, self._challenge.relay_proof()))

    def _check(self, proof: bytes) -> None:
        challenge = self._challenge
        assert challenge is not None
        # Of a name that is not known nobody has the key: the comparison is made all the same.
        if not same(proof, challenge.agent_proof()) or self._key is None:
            self._refuse("key_refused")
        elif challenge.hello.kind is Purpose.JOIN:
            self._join(challenge)
        else:
            self._step = HelloStep.ROLE
            self._gate.proved(self._peer)
            self._welcome()

    def _join(self, challenge: Challenge) -> None:
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
        self._write(Welcome(number, workers, word, self._gate.settings.idle).write())

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
        self._write(Refused(word).write())
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
        self._gate.site.metrics.inc(AGENT_HELLOS_FAILED, _CAUSES.get(why, "talk"))
        hello = None if self._challenge is None else self._challenge.hello
        name = hello.name if hello is not None and hello.name in self._gate.settings.rules else "an unknown name"
        self._gate.site.note(SetupFault("agent", f"agent {name}: {why}", _MENDS.get(why, _MEND)), self._peer.text)

    def _leave(self) -> None:
        if self._entered:
            self._entered = False
            self._gate.site.clock.unwatch(self)
            self._gate.leave(self._peer)
