"""What a connection costs before it is anybody's: ``python -m bench.micro.accept`` prints CPU microseconds for each.

A child process connects, some connections at a time as a flood does; the parent accepts, and only the parent's CPU
time (user and system) is counted. Refused peers come from 127.0.0.2 and are judged by 10,000 prefixes; admitted ones
are handed over to a protocol that closes. The kernel bills part of the handshakes to whoever runs: compare with the
floor, which is an accept and a reset in a bare loop. Seconds to run; compare runs on the same quiet machine only.
"""

import asyncio
import contextlib
import os
import resource
import socket
import statistics
from dataclasses import dataclass, field

import uvloop

from bench.micro.timing import few
from proxy.config.notation import read_listen
from proxy.core.addresses import AddressSet
from proxy.core.policy import Exposure, Limits, Policy, ServerLimits
from proxy.net.admission import ConnectionSlots
from proxy.net.listener import Listener
from proxy.net.sockets import listen_all, reset

CONNECTIONS, AT_ONCE, ROUNDS = few(4000, 20), few(40, 10), few(7)
PREFIXES = [f"10.{i >> 8}.{i & 255}.0/25" for i in range(10_000)]
ALLOWED = AddressSet.parse(["127.0.0.1", *PREFIXES])


@dataclass
class Site:
    policy: Policy
    slots: ConnectionSlots = field(default_factory=ConnectionSlots)


def policy() -> Policy:
    times = dict.fromkeys(
        (
            "head_timeout_s",
            "body_timeout_s",
            "request_timeout_s",
            "keepalive_timeout_s",
            "upstream_timeout_s",
            "write_timeout_s",
        ),
        10.0,
    )
    limits = Limits(max_body=1, max_target=1, max_head=1, max_fields=1, hold_window=1, body_min_rate=1, **times)
    server = ServerLimits(100_000, 100_000, 1, 10.0, 5.0)
    return Policy(1, (), Exposure.ROUTES, ALLOWED, None, AddressSet.empty(), limits, server)


def connect(address: tuple[str, int], source: str) -> None:
    for _ in range(CONNECTIONS // AT_ONCE):
        socks = [socket.socket() for _ in range(AT_ONCE)]
        for sock in socks:
            sock.bind((source, 0))
            sock.setblocking(False)
            sock.connect_ex(address)
        for sock in socks:
            sock.setblocking(True)
            with contextlib.suppress(ConnectionError):
                sock.recv(1)
            sock.close()


def child(address: tuple[str, int], source: str) -> int:
    pid = os.fork()
    if pid == 0:
        connect(address, source)
        os._exit(0)
    return pid


def cpu_us() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return (used.ru_utime + used.ru_stime) * 1e6


def floor(sock: socket.socket, source: str) -> float:
    pid = child(sock.getsockname(), source)
    sock.setblocking(True)
    before = cpu_us()
    for _ in range(CONNECTIONS):
        reset(sock.accept()[0])
    used = cpu_us() - before
    os.waitpid(pid, 0)
    return used / CONNECTIONS


class CloseAtOnce(asyncio.Protocol):
    def __init__(self, on_close) -> None:
        self.on_close = on_close

    def connection_made(self, transport) -> None:
        transport.close()

    def connection_lost(self, exc) -> None:
        self.on_close()


async def through(sock: socket.socket, source: str) -> float:
    site = Site(policy())
    counters = site.slots.counters
    address = sock.getsockname()
    listener = Listener(sock, site=site, slots=site.slots, factory=lambda peer, secure, on_close: CloseAtOnce(on_close))
    pid = child(address, source)
    listener.start()
    before = cpu_us()
    while counters.refused_address + counters.accepted < CONNECTIONS or counters.open:  # noqa: ASYNC110
        await asyncio.sleep(0.01)  # an event would be set once a connection, and be measured
    used = cpu_us() - before
    await listener.abandon()
    os.waitpid(pid, 0)  # noqa: ASYNC222 - it has ended
    return used / CONNECTIONS


def listening() -> socket.socket:
    [bound] = listen_all([read_listen("127.0.0.1:0")], {})
    return bound.sock


def measure(loop_factory, source: str) -> float:
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        return runner.run(through(listening(), source))


def bare() -> float:
    with listening() as sock:
        return floor(sock, "127.0.0.2")


CASES = {
    "floor: accept and reset": bare,
    "refused, uvloop": lambda: measure(uvloop.new_event_loop, "127.0.0.2"),
    "refused, asyncio": lambda: measure(asyncio.SelectorEventLoop, "127.0.0.2"),
    "admitted and handed over, uvloop": lambda: measure(uvloop.new_event_loop, "127.0.0.1"),
    "admitted and handed over, asyncio": lambda: measure(asyncio.SelectorEventLoop, "127.0.0.1"),
}


def main() -> None:
    for name, case in CASES.items():
        rounds = [case() for _ in range(ROUNDS)]
        print(f"{name:36} {statistics.median(rounds):7.1f} us   best {min(rounds):6.1f}")


if __name__ == "__main__":
    main()
