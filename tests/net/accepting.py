"""What the tests of accepting share: a policy, a site, a protocol that remembers, and clients that ask for little."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass, field

from proxy.config.notation import read_listen
from proxy.core.addresses import AddressSet, Peer
from proxy.core.policy import Policy
from proxy.net.admission import ConnectionSlots
from proxy.net.sockets import listen_all
from tests.policies import NOBODY, limits, policy, server_limits


def policy_of(*, admission: AddressSet | None = None, trusted: AddressSet = NOBODY, **server: float) -> Policy:
    changed = {"max_connections_per_address": 50, "tls_timeout_s": 5.0, "connect_timeout_s": 2.0} | server
    return policy(
        admission=admission,
        allow=admission,
        trusted_proxies=trusted,
        limits=limits(write_timeout_s=5.0),
        server=server_limits(**changed),
    )


@dataclass
class FakeSite:
    policy: Policy = field(default_factory=policy_of)
    slots: ConnectionSlots = field(default_factory=ConnectionSlots)


class Echo(asyncio.Protocol):
    """Sends back what comes, and remembers."""

    def __init__(self, peer: Peer, secure: bool, on_close: Callable[[], None]) -> None:
        self.peer, self.secure, self.on_close = peer, secure, on_close
        self.transport: asyncio.Transport | None = None
        self.received = b""
        self.lost = False

    def connection_made(self, transport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += data
        self.transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self.on_close()


class Made(list[Echo]):
    """A factory that keeps what it made."""

    def __call__(self, peer: Peer, secure: bool, on_close: Callable[[], None]) -> Echo:
        self.append(Echo(peer, secure, on_close))
        return self[-1]


def listening(entry: str = "127.0.0.1:0") -> socket.socket:
    [bound] = listen_all([read_listen(entry)], {})
    return bound.sock


async def until(condition: Callable[[], object]) -> None:
    """Wait for a condition; the deadline is that of the test."""
    while not condition():  # noqa: ASYNC110 - counters tell nobody
        await asyncio.sleep(0.001)


def dial(to: socket.socket | tuple[str, int], source: str = "127.0.0.1") -> socket.socket:
    """A connected non-blocking socket from a chosen address.

    Connected at once and before the loop runs: the kernel shakes hands without us, so a reset is always seen later.
    """
    address = to if isinstance(to, tuple) else to.getsockname()
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.bind((source, 0))
        sock.connect(address)
    except OSError:
        sock.close()
        raise
    sock.setblocking(False)
    return sock


async def receive(sock: socket.socket, size: int = 65536) -> bytes:
    return await asyncio.get_running_loop().sock_recv(sock, size)


async def send(sock: socket.socket, data: bytes) -> None:
    await asyncio.get_running_loop().sock_sendall(sock, data)


async def receive_exactly(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = await receive(sock, size - len(data))
        assert more, "ended early"
        data += more
    return data


async def is_reset(sock: socket.socket) -> bool:
    """Whether the other side resets the connection (and does not end it tidily, or answer)."""
    with sock:
        try:
            await receive(sock)
        except ConnectionResetError:
            return True
    return False
