"""No byte of a route reaches an agent that is not listed for it: a property over random enrolments, revocations,
configurations and lies.

The relay's whole way is real but for TLS and the kernel: gate, hello, sessions and pool. Agents say hello with the key
that they have and any name and instance that they like. What a route sends is written to the wire of whoever holds it,
and the test knows by which key each wire was opened.
"""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from proxy.agent.keys import KeyShelf
from proxy.agent.relay import AgentHello
from proxy.agent.roster import AgentRoster, Gate
from proxy.agent.talk import Challenge, Hello, Purpose, from_text, line, to_text
from proxy.config.settings import AgentRule, AgentSettings, Loaded
from proxy.core.addresses import Peer
from proxy.core.policy import Endpoint
from proxy.http1 import ResponseHead
from proxy.net.upstream import UpstreamConnection
from proxy.reasons import Reason
from tests import policies
from tests.examples import examples
from tests.net.dialogue import FakeSocket, World

#: One is the beginning of another.
NAMES = ["a", "ab", "b"]
INSTANCES = ["a", "b", "host-1"]
FINGERPRINT = bytes(32)
PEER = Peer.of("192.0.2.1")
MARK = b"of route "


class Secured:
    """What a transport tells of TLS."""

    @staticmethod
    def version() -> str:
        return "TLSv1.3"


class Wire(asyncio.Transport):
    """One connection of the holder of ``key``: what was written to it, until it was closed."""

    def __init__(self, key: bytes) -> None:
        super().__init__({"socket": FakeSocket(), "ssl_object": Secured()})
        self.key = key
        self.written: list[bytes] = []
        self.is_open = True
        self.is_over = False
        self._protocol: Any = None

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def write(self, data: object) -> None:
        if self.is_open:
            self.written.append(bytes(data))  # type: ignore[call-overload] # bytes of a kind

    def writelines(self, pieces: Any) -> None:
        self.write(b"".join(pieces))

    def is_closing(self) -> bool:
        return not self.is_open

    def abort(self) -> None:
        self.is_open = False

    close = abort

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...

    def say(self, data: bytes) -> None:
        """The agent's bytes."""
        if self.is_open:
            self._protocol.data_received(data)

    def lose(self) -> None:
        """The agent closes it, or it learns that we did."""
        self.is_open = False
        if not self.is_over:
            self.is_over = True
            self._protocol.connection_lost(None)


class Sink:
    """In the place of an exchange."""

    def upstream_answer(self, head: ResponseHead, content: list[bytes], *, ended: bool) -> None: ...
    def upstream_content(self, content: list[bytes], *, ended: bool) -> None: ...
    def upstream_failed(self, reason: Reason, detail: str) -> None: ...
    def upstream_writable(self, *, writable: bool) -> None: ...


class Relay:
    """A relay's worker, agents that come and go, and an administrator who changes the mind all the time."""

    def __init__(self) -> None:
        self.keys: dict[str, bytes] = {}
        self.held: dict[str, list[bytes]] = {name: [] for name in NAMES}
        self.world = World()
        self.roster = AgentRoster(self.world.site, KeyShelf(lambda: 0.0))
        vars(self.roster.shelf)["key"] = lambda name: self.keys.get(name) if name in self.routes_of else None
        self.world.site.pool.agents = self.roster
        self.gate = Gate(self.world.site, self.roster, (0, 1, "0000beef"))
        self.routes_of: dict[str, set[str]] = {}
        self.wires: list[Wire] = []
        self.lent: list[tuple[UpstreamConnection, Wire, int]] = []
        self.made = 0
        self.configure({"x": ["a"], "y": ["b"], "z": ["a", "ab"]}, {"z": True})
        for name in NAMES:
            self.enrol(name)

    # -- the administrator

    def configure(self, listed: dict[str, list[str]], verifies: dict[str, bool]) -> None:
        self.listed = listed
        made = [
            policies.route(
                name=name,
                upstream=tuple(Endpoint("", 0, agent=one, verifies=verifies.get(name, False)) for one in agents),
            )
            for name, agents in listed.items()
        ]
        self.upstreams = {route.name: route.upstream for route in made}
        self.verifies = verifies
        self.routes_of = {
            one: {name for name, agents in listed.items() if one in agents}
            for one in NAMES
            if any(one in agents for agents in listed.values())
        }
        rules = {one: AgentRule(one, "x", b"", frozenset(routes)) for one, routes in self.routes_of.items()}
        self.gate.settings = AgentSettings(rules=rules)
        loaded: Any = type("Settings", (), {"agents": self.gate.settings})
        self.roster.use(Loaded(policies.policy(*made), loaded))
        self.settle()

    def enrol(self, name: str) -> None:
        """Anew, so that an older key is good no more."""
        self.made += 1
        self.keys[name] = self.made.to_bytes(32)
        self.held[name].append(self.keys[name])
        self.check_keys()

    def revoke(self, name: str) -> None:
        self.keys.pop(name, None)
        self.check_keys()

    def check_keys(self) -> None:
        """What the clock does each second."""
        self.roster.deadline_passed(self.world.loop.now)
        self.settle()

    # -- agents

    def connect(self, holder: str, age: int, lie: str, instance: str, guards: bool, data: int) -> None:
        """A control connection and some others, with the newest key or an older one, under its own name or another."""
        for role in [f"CONTROL {guards:d}", *["DATA"] * data]:
            self.say_hello(lie or holder, self.key_of(holder, age), instance, role)

    def connect_to_what_is_there(self, holder: str, age: int, name: str, instance: str) -> None:
        """Into a session that may be another's."""
        self.say_hello(name, self.key_of(holder, age), instance, "DATA")

    def key_of(self, holder: str, age: int) -> bytes:
        keys = self.held[holder]
        return keys[max(0, len(keys) - 1 - age)]

    def say_hello(self, name: str, key: bytes, instance: str, role: str) -> None:
        wire = Wire(key)
        self.wires.append(wire)
        arriving = AgentHello(self.gate, PEER, FINGERPRINT, lambda: None)
        wire.set_protocol(arriving)
        arriving.connection_made(wire)
        hello = Hello(Purpose.SERVE, name, instance, bytes(32))
        wire.say(hello.write())
        _, nonce, _ = wire.written[-1].decode().split()
        challenge = Challenge(hello, from_text(nonce, 32), FINGERPRINT, key)
        wire.say(line("AGENT", to_text(challenge.agent_proof())))
        wire.say(line(*role.split()))
        self.settle()

    def leave(self, which: int, says: bool) -> None:
        """Close a connection, or say first that all of them will."""
        if self.wires:
            wire = self.wires[which % len(self.wires)]
            if says:
                wire.say(line("DRAIN"))
            else:
                wire.lose()
            self.settle()

    # -- deliveries

    def deliver(self, which: list[tuple[str, bool]]) -> None:
        for name, whole in which:
            self.deliver_one(name, whole)

    def deliver_one(self, name: str, whole: bool) -> None:
        if name not in self.upstreams or not self.roster.among(self.upstreams[name]):
            return
        connection = self.world.site.pool.acquire(self.upstreams[name])
        if connection is None:
            return
        connection.start(Sink(), b"POST", [MARK + name.encode()], complete=whole)
        [wire] = [one for one in self.wires if one.written and one.written[-1].startswith(MARK)]
        self.judge(wire, name)
        wire.written.clear()
        self.lent.append((connection, wire, whole))

    def judge(self, wire: Wire, name: str) -> None:
        """The key by which the wire was opened is in force for an agent that the route lists, now."""
        owners = {owner for owner, key in self.keys.items() if key == wire.key}
        assert owners, "its key was revoked"
        assert owners <= set(self.listed[name])
        if self.verifies.get(name):
            [session] = [
                one for one in self.roster._sessions.values() if one.terms.key == wire.key and self.has(one, wire)
            ]
            assert session.terms.guards

    @staticmethod
    def has(session: Any, wire: Wire) -> bool:
        return any(connection._transport is wire for connection in session.connections)

    def answer(self, which: int) -> None:
        """The connection is idle again, or its exchange goes on with a piece."""
        if not self.lent:
            return
        connection, wire, whole = self.lent.pop(which % len(self.lent))
        if whole:
            wire.say(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        else:
            connection.send([b"more"], complete=True)
            wire.say(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        self.settle()
        wire.written.clear()

    # -- what holds at every moment

    def check(self) -> None:
        self.whose_key_is_gone_has_nothing_open()
        self.what_is_lent_of_a_revoked_agent_is_cut()
        assert self.world.loop.complaints == []

    def settle(self) -> None:
        """Let happen what the loop would do next."""
        while closed := [wire for wire in self.wires if not wire.is_open and not wire.is_over]:
            for wire in closed:
                wire.lose()
        self.world.settle()
        self.wires = [wire for wire in self.wires if wire.is_open]

    def whose_key_is_gone_has_nothing_open(self) -> None:
        for wire in self.wires:
            if wire.key not in self.keys.values() and wire.is_open:
                assert not any(self.has(one, wire) for one in self.roster._sessions.values())

    def what_is_lent_of_a_revoked_agent_is_cut(self) -> None:
        in_force = set(self.keys.values())
        assert [wire for _, wire, _ in self.lent if wire.key not in in_force and wire.is_open] == []


def step(dice: Random) -> tuple[Any, ...]:
    """What happens next."""
    name, other, number = dice.choice(NAMES), dice.choice(NAMES), dice.randrange(30)
    age, instance = dice.choice([*[0] * 6, 1, 2]), dice.choice(INSTANCES)
    listed = {route: dice.sample(NAMES, dice.randint(1, 2)) for route in "xyz"}
    act = dice.choices(
        [Relay.connect, Relay.deliver, Relay.answer, Relay.connect_to_what_is_there, Relay.leave, Relay.enrol,
         Relay.revoke, Relay.configure],
        [6, 6, 4, 1, 1, 1, 1, 1],
    )[0]  # fmt: skip
    words: dict[Any, tuple[Any, ...]] = {
        Relay.connect: (name, age, dice.choice([*[""] * 6, other]), instance, dice.random() < 0.5, dice.randint(1, 3)),
        Relay.deliver: ([(dice.choice("xyz"), dice.random() < 0.5) for _ in range(4)],),
        Relay.answer: (number,),
        Relay.connect_to_what_is_there: (name, age, other, instance),
        Relay.leave: (number, dice.random() < 0.5),
        Relay.enrol: (name,),
        Relay.revoke: (name,),
        Relay.configure: (listed, {route: dice.random() < 0.5 for route in "xyz"}),
    }
    return act, *words[act]


@examples(60)
@given(st.integers(0, 2**64))
def test_no_byte_of_a_route_reaches_an_agent_that_it_does_not_list(seed: int) -> None:
    dice, relay = Random(seed), Relay()
    for _ in range(50):
        act, *words = step(dice)
        act(relay, *words)
        relay.check()


def test_a_delivery_under_way_is_cut_when_the_key_goes_after_the_control_connection() -> None:
    relay = Relay()
    relay.connect("a", 0, "", "host-1", guards=False, data=1)
    relay.deliver_one("x", whole=False)
    [(_, wire, _)] = relay.lent
    relay.wires[0].lose()
    relay.check_keys()
    assert wire.is_open, "what is under way ends in its own time"
    relay.revoke("a")
    assert not wire.is_open
