"""What is bounded and counted before an agent has proved itself: conversations of strangers, byte by byte."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from proxy.agent.keys import KeyShelf
from proxy.agent.relay import HELLO_S, AgentHello
from proxy.agent.roster import MAX_HELLOS, MAX_HELLOS_OF_ADDRESS, MOST_PROVED, RESERVED_HELLOS, AgentRoster, Gate
from proxy.agent.talk import MAX_LINE, Challenge, Hello, Purpose, from_text, to_text, write_agent
from proxy.config.settings import AgentRule, AgentSettings
from proxy.core.addresses import AddressSet, Peer
from proxy.core.metric_families import AGENT_HELLOS_FAILED
from tests.agent.test_whose_bytes import FINGERPRINT, Wire
from tests.net.dialogue import World

KEY = bytes(range(32))
HELLO = Hello(Purpose.SERVE, "ci", "host-1", bytes(32))
FAR = "192.0.2.1"


@dataclass
class Door:
    """The gate of a relay that has one agent, and all that came to it."""

    allow: AddressSet | None = None
    world: World = field(default_factory=World)
    wires: list[Wire] = field(default_factory=list)
    closed: int = 0

    def __post_init__(self) -> None:
        self.roster = AgentRoster(self.world.site, KeyShelf(lambda: 0.0))
        vars(self.roster.shelf)["key"] = {"ci": KEY}.get
        self.gate = Gate(self.world.site, self.roster, (0, 1, "0000beef"))
        self.gate.settings = AgentSettings(rules={"ci": AgentRule("ci", "x", b"", frozenset({"x"}), self.allow)})

    def come(self, address: str = FAR) -> Wire:
        wire = Wire(KEY)
        arriving = AgentHello(self.gate, Peer.of(address), FINGERPRINT, self._end)
        wire.set_protocol(arriving)
        arriving.connection_made(wire)
        self.wires.append(wire)
        self.settle()
        return wire

    def _end(self) -> None:
        self.closed += 1

    def settle(self) -> None:
        for wire in self.wires:
            if not wire.is_open:
                wire.lose()
        self.world.settle()

    def say(self, wire: Wire, data: bytes) -> None:
        wire.say(data)
        self.settle()

    def proof(self, wire: Wire, key: bytes = KEY) -> bytes:
        nonce = from_text(wire.written[-1].decode().split()[1], 32)
        return write_agent(Challenge(HELLO, nonce, FINGERPRINT, key).agent_proof())

    def agent(self, address: str = FAR) -> Wire:
        """One that proves itself, and then says nothing more."""
        wire = self.come(address)
        if wire.is_open:
            self.say(wire, HELLO.write())
            self.say(wire, self.proof(wire))
        return wire

    def counted(self) -> dict[str, float]:
        values = self.world.metrics.values(AGENT_HELLOS_FAILED)
        return {cause: value for (cause,), value in values.items() if value}


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        (b"x" * (MAX_LINE + 1), "talk"),
        (HELLO.write()[:-1] + b"y" * MAX_LINE, "talk"),
        (b"\0\n", "talk"),
        (b"\n", "talk"),
        (HELLO.write() * 2, "talk"),
        (HELLO.write() + b"AGENT " + to_text(bytes(32)).encode() + b"\n", "key"),
    ],
    ids=["oversize", "hello-without-end", "no-words", "empty", "twice", "guessed"],
)
def test_what_is_no_hello_ends_at_once_and_is_counted(said: bytes, cause: str) -> None:
    door = Door()
    wire = door.come()
    door.say(wire, said)
    assert (wire.is_open, door.closed, door.counted()) == (False, 1, {cause: 1.0})
    assert sum(map(len, wire.written)) < MAX_LINE, "and is answered with no more than it sent"


@pytest.mark.parametrize("said", [b"", b"HELLO 1 ser", HELLO.write()], ids=["nothing", "half", "whole"])
def test_half_a_hello_has_ten_seconds_however_slowly_it_comes(said: bytes) -> None:
    door = Door()
    wire = door.come()
    door.say(wire, said[:-1])
    for _ in range(int(HELLO_S * 2) + 2):
        door.say(wire, said[-1:])  # a byte now and then keeps nothing alive
        said = b""
        door.world.later(0.5)
        door.settle()
    assert (wire.is_open, door.closed) == (False, 1)
    assert door.counted() == {"time": 1.0}


def test_a_trickle_of_bytes_does_not_prolong_it() -> None:
    door = Door()
    wire = door.come()
    for byte in (HELLO.write() * 2)[: int(HELLO_S) + 2]:
        door.say(wire, bytes([byte]))
        door.world.later(1.0)
        door.settle()
    assert not wire.is_open


def test_one_that_closes_before_it_has_said_who_it_is_is_counted() -> None:
    door = Door()
    door.come().lose()
    assert (door.closed, door.counted()) == (1, {"closed": 1.0})


def test_half_of_a_message_waits_and_the_rest_completes_it() -> None:
    """On the control connection, behind the hello: no line is acted on before its end, and none is too long."""
    door = Door()
    wire = door.agent()
    door.say(wire, b"CONTROL 0\nPI")
    session = door.roster.session("ci", "host-1")
    assert session is not None
    wire.written.clear()
    door.say(wire, b"NG 7")
    assert wire.written == []
    door.say(wire, b"\n")
    assert wire.written == [b"PONG 7\n"]
    door.say(wire, b"PING " + b"1" * MAX_LINE)
    assert (session.gone, wire.is_open) == (True, False)


def test_strangers_leave_room_for_agents_that_are_known() -> None:
    door = Door()
    known = door.agent("198.51.100.7")
    known.lose()
    crowd = [door.come(f"192.0.2.{number // MAX_HELLOS_OF_ADDRESS + 1}") for number in range(MAX_HELLOS)]
    assert sum(wire.is_open for wire in crowd) == MAX_HELLOS - RESERVED_HELLOS
    assert door.counted() == {"room": float(RESERVED_HELLOS)}
    assert not door.agent("203.0.113.1").is_open, "nothing is known of it"
    assert door.agent("198.51.100.7").is_open


def test_an_address_that_is_listed_is_known_before_it_ever_came() -> None:
    door = Door(AddressSet.parse(["198.51.100.0/24"]))
    for number in range(MAX_HELLOS):
        door.come(f"192.0.2.{number // MAX_HELLOS_OF_ADDRESS + 1}")
    assert door.agent("198.51.100.7").is_open


def test_no_address_takes_more_than_its_share_known_or_not() -> None:
    door = Door()
    door.agent().lose()
    crowd = [door.come() for _ in range(MAX_HELLOS_OF_ADDRESS + 3)]
    assert sum(wire.is_open for wire in crowd) == MAX_HELLOS_OF_ADDRESS
    for wire in crowd:
        wire.lose()
    assert door.agent().is_open


def test_addresses_that_are_remembered_have_a_bound() -> None:
    door = Door()
    for number in range(MOST_PROVED + 5):
        door.gate.proved(Peer.of(f"10.0.{number // 250}.{number % 250}"))
    assert len(door.gate._proved) == MOST_PROVED
    assert not door.gate._is_known(Peer.of("10.0.0.0"))
