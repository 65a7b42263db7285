"""The impaired link does to packets what it is told to, and nothing else: a proof stands on it."""

from __future__ import annotations

import errno
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from socket import inet_aton, inet_ntoa
from time import monotonic
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.whole.impaired import (
    ACK,
    FAR,
    NEAR,
    PUBLIC,
    RST,
    SYN,
    Direction,
    Flows,
    ImpairedLink,
    Nat,
    Packet,
    adjusted,
    checksum,
    lacking,
    reset_packet,
)

PORT = 8443
PATIENCE_S = 20.0
needs_tun = pytest.mark.skipif(bool(lacking()), reason=f"no impaired link here: {lacking()}")
INSIDE, OUTSIDE = (inet_aton(FAR), 40000), (inet_aton(NEAR), PORT)


def packet(source: Any = INSIDE, target: Any = OUTSIDE, flags: int = ACK, seq: int = 7, ack: int = 9) -> Packet:
    tcp = struct.pack("!HHIIBBHHH", source[1], target[1], seq, ack, 5 << 4, flags, 100, 0, 0) + b"content"
    pseudo = source[0] + target[0] + struct.pack("!BBH", 0, 6, len(tcp))
    tcp = tcp[:16] + checksum(pseudo + tcp).to_bytes(2) + tcp[18:]
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(tcp), 1, 0, 64, 6, 0, source[0], target[0])
    found = Packet.read(head[:10] + checksum(head).to_bytes(2) + head[12:] + tcp)
    assert found is not None
    return found


def is_sound(data: bytes) -> bool:
    """Both checksums are right: over what holds its own checksum it is 0."""
    pseudo = data[12:20] + struct.pack("!BBH", 0, 6, len(data) - 20)
    return checksum(data[:20]) == 0 and checksum(pseudo + data[20:]) == 0


@given(st.binary(min_size=4, max_size=60), st.binary(min_size=4, max_size=4))
def test_a_checksum_is_adjusted_to_what_it_would_be(data: bytes, new: bytes) -> None:
    data = data[: len(data) // 2 * 2]
    after = adjusted(checksum(data), data[:4], new)
    # 0 and 0xFFFF are the same number in this arithmetic.
    assert after % 0xFFFF == checksum(new + data[4:]) % 0xFFFF


def test_a_nat_rewrites_there_and_back() -> None:
    nat = Nat()
    out = packet(flags=SYN)
    assert nat.outward(out)
    assert (inet_ntoa(out.source[0]), out.target) == (PUBLIC, OUTSIDE)
    assert is_sound(bytes(out.data))
    back = packet(OUTSIDE, out.source, SYN | ACK)
    assert nat.inward(back)
    assert (back.source, back.target) == (OUTSIDE, INSIDE)
    assert is_sound(bytes(back.data))


def test_what_has_no_mapping_goes_nowhere() -> None:
    nat = Nat()
    assert not nat.outward(packet(flags=ACK))
    assert not nat.outward(packet(flags=SYN | ACK))
    first = packet(flags=SYN)
    assert nat.outward(first)
    assert nat.outward(packet(flags=ACK))
    nat.rebind("10.99.0.101")
    assert not nat.outward(packet(flags=ACK))
    assert not nat.inward(packet(OUTSIDE, first.source))
    again = packet(flags=SYN)
    assert nat.outward(again)
    assert inet_ntoa(again.source[0]) == "10.99.0.101"
    assert again.source[1] != first.source[1]


def test_resets_carry_the_number_that_each_end_waits_for() -> None:
    flows = Flows()
    flows.see(packet(flags=SYN))
    flows.see(packet(seq=100, ack=900))
    flows.see(packet(OUTSIDE, INSIDE, seq=900, ack=107))
    forged = [Packet(bytearray(data)) for data in flows.resets()]
    assert {(one.source, one.target, one.numbers[0], one.flags) for one in forged} == {
        (OUTSIDE, INSIDE, 900, RST),
        (INSIDE, OUTSIDE, 107, RST),
    }
    assert all(is_sound(bytes(one.data)) for one in forged)
    assert flows.resets() == []


def test_what_is_reset_needs_no_second_reset() -> None:
    flows = Flows()
    flows.see(packet())
    flows.see(Packet(bytearray(reset_packet(OUTSIDE, INSIDE, 9))))
    assert flows.resets() == []


@pytest.mark.parametrize("data", [b"", b"\x60" + bytes(60), b"\x45" + bytes(8) + b"\x11" + bytes(40)])
def test_only_tcp_over_ipv4_passes(data: bytes) -> None:
    assert Packet.read(data) is None


# -- between two hosts


class Server:
    """Answers with what it reads, on the near host."""

    def __init__(self, link: ImpairedLink) -> None:
        self.ended: list[str] = []
        self._sockets = [link.near.call(lambda: socket.create_server(("0.0.0.0", PORT)))]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                sock, _ = self._sockets[0].accept()
                self._sockets.append(sock)
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        try:
            while data := sock.recv(65536):
                sock.sendall(data)
        except OSError as error:
            self.ended.append(errno.errorcode[error.errno or 0])

    def close(self) -> None:
        for sock in self._sockets:
            with suppress(OSError):  # wakes who waits on it
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()


class Pair:
    """A link, a server on its near host, and connections from its far host."""

    def __init__(self, link: ImpairedLink) -> None:
        self.link = link
        self.server = Server(link)
        self.connections: list[socket.socket] = []

    def connect(self, address: str = NEAR) -> socket.socket:
        sock = self.link.far.call(socket.socket)
        self.connections.append(sock)
        sock.settimeout(PATIENCE_S)
        sock.connect((address, PORT))
        return sock

    def close(self) -> None:
        for sock in self.connections:
            sock.close()
        self.server.close()


def read(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = sock.recv(65536)
        assert piece, "it was closed"
        data += piece
    return data


def ask(sock: socket.socket, data: bytes = b"x\n", seconds: float = PATIENCE_S) -> bytes:
    sock.settimeout(seconds)
    sock.sendall(data)
    return read(sock, len(data))


@pytest.fixture
def pair() -> Iterator[Pair]:
    with ImpairedLink("-t") as link, closing(Pair(link)) as one:
        yield one


def until(condition: Callable[[], object]) -> None:
    deadline, pause = monotonic() + PATIENCE_S, threading.Event()
    while not condition():
        assert monotonic() < deadline
        pause.wait(0.01)


@needs_tun
def test_without_conditions_all_passes(pair: Pair) -> None:
    data = bytes(range(256)) * 1000
    assert ask(pair.connect(), data) == data
    assert pair.link.to_near.dropped == pair.link.to_far.dropped == 0


@needs_tun
@pytest.mark.parametrize("way", ["to_near", "to_far"])
def test_one_direction_drops_and_the_connection_stands(pair: Pair, way: str) -> None:
    one = pair.connect()
    assert ask(one) == b"x\n"
    direction: Direction = getattr(pair.link, way)
    pair.link.set(direction, drops=True)
    with pytest.raises(TimeoutError):
        ask(one, seconds=0.5)
    assert direction.dropped > 0
    assert pair.server.ended == [], "neither end knows"
    pair.link.set()
    one.settimeout(PATIENCE_S)
    assert read(one, 2) == b"x\n", "it was sent again, and has come"


@needs_tun
def test_loss_and_reordering_cost_time_and_nothing_else(pair: Pair) -> None:
    pair.link.set(loss=0.1, reordered=0.2)
    one = pair.connect()
    lines = [b"%d\n" % number for number in range(40)]
    assert [ask(one, line) for line in lines] == lines
    assert pair.link.to_near.dropped + pair.link.to_far.dropped > 0


@needs_tun
def test_delay_is_there_and_back(pair: Pair) -> None:
    one = pair.connect()
    pair.link.set(delay_s=0.15)
    begun = monotonic()
    ask(one)
    assert monotonic() - begun >= 0.3


@needs_tun
def test_a_rate_bounds_what_passes(pair: Pair) -> None:
    one = pair.connect()
    pair.link.set(pair.link.to_near, rate=50_000)
    begun = monotonic()
    ask(one, b"z" * 30_000)
    assert monotonic() - begun >= 0.5


@needs_tun
def test_a_reset_is_heard_at_both_ends(pair: Pair) -> None:
    one = pair.connect()
    assert ask(one) == b"x\n"
    until(lambda: pair.link.to_near.carried >= 4)  # the last acknowledgement has passed
    pair.link.reset()
    with pytest.raises(ConnectionResetError):
        read(one, 1)
    until(lambda: pair.server.ended)
    assert pair.server.ended == ["ECONNRESET"]
    assert ask(pair.connect()) == b"x\n"


@needs_tun
def test_a_rebound_nat_knows_only_new_connections(pair: Pair) -> None:
    old = pair.connect()
    assert ask(old) == b"x\n"
    pair.link.rebind("10.99.0.101")
    with pytest.raises(TimeoutError):
        ask(old, seconds=0.5)
    assert pair.server.ended == []
    assert ask(pair.connect()) == b"x\n"


@needs_tun
def test_both_ends_can_move(pair: Pair) -> None:
    old = pair.connect()
    pair.link.move("far", f"{FAR}/24", "192.168.8.2/24")
    pair.link.move("near", f"{NEAR}/16", "10.99.0.2/16")
    with pytest.raises(OSError, match=r"timed out|unreachable|No route"):
        ask(old, seconds=0.5)
    new = pair.connect("10.99.0.2")
    assert ask(new) == b"x\n"
    assert new.getsockname()[0] == "192.168.8.2"
