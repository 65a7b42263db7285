"""A flood from an address that no list admits, with and without the kernel filter: CPU microseconds per attempt.

``python -m bench.micro.kernel_filter``. A child process connects without waiting, as floods do; the parent is a
listener of hookward on uvloop. "hookward" is the CPU time of the listener's process (user and system). "sender" is the
child's, which on loopback includes what the kernel does for both ends: the handshake that is answered, or the SYN that
is dropped. The last column is what the listener saw. Then what a list costs to compile and to put on a socket, once a
reload. Half a minute to run; compare runs on the same quiet machine only.
"""

import asyncio
import logging
import os
import resource
import socket
import statistics
import time
from contextlib import suppress
from dataclasses import replace

import uvloop

from bench.micro.accept import CloseAtOnce, Site, cpu_us, listening, policy
from bench.micro.timing import few
from proxy.core.addresses import AddressSet
from proxy.core.bpf import compile_filter, fit
from proxy.net.kernel_filter import attach
from proxy.net.listener import Listener

ATTEMPTS, AT_ONCE, ROUNDS = few(20_000, 40), few(100, 20), few(5)
SYN_SENT = 2  # include/net/tcp_states.h


def networks(count: int) -> AddressSet:
    return AddressSet.parse(["127.0.0.1", *(f"10.{i >> 8}.{i & 255}.0/25" for i in range(count))])


LISTS = {"1 address": networks(0), "1,000 networks": networks(1000), "10,000 networks": networks(few(10_000, 2000))}


def flood(address: tuple[str, int]) -> None:
    """Each attempt is given up at once; one that is answered waits for its reset, so that no queue runs over."""
    for _ in range(ATTEMPTS // AT_ONCE):
        socks = []
        for _ in range(AT_ONCE):
            sock = socket.socket()
            sock.bind(("127.0.0.2", 0))
            sock.setblocking(False)
            sock.connect_ex(address)
            socks.append(sock)
        for sock in socks:
            if sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != SYN_SENT:
                sock.setblocking(True)
                with suppress(ConnectionError):
                    sock.recv(1)
            sock.close()


def child_us() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (used.ru_utime + used.ru_stime) * 1e6


async def under_flood(addresses: AddressSet, *, shielded: bool) -> tuple[float, float, int]:
    """CPU of hookward and of the sender per attempt, and how many attempts came to be judged."""
    site = Site(replace(policy(), admission=addresses))
    sock = listening()
    address = sock.getsockname()
    listener = Listener(sock, site=site, slots=site.slots, factory=lambda peer, secure, on_close: CloseAtOnce(on_close))
    listener.start()
    listener.shield(on=shielded)
    assert listener.is_shielded is shielded
    pid = os.fork()
    if pid == 0:
        flood(address)
        os._exit(0)
    before, before_child = cpu_us(), child_us()
    while os.waitpid(pid, os.WNOHANG) == (0, 0):  # noqa: ASYNC110, ASYNC222 - the end of a child sets no event
        await asyncio.sleep(0.01)
    ours, theirs = cpu_us() - before, child_us() - before_child
    await listener.abandon()
    return ours / ATTEMPTS, theirs / ATTEMPTS, site.slots.counters.refused_address


def measure(addresses: AddressSet, *, shielded: bool) -> tuple[float, float, int]:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        rounds = [runner.run(under_flood(addresses, shielded=shielded)) for _ in range(ROUNDS)]
    return tuple(statistics.median(column) for column in zip(*rounds, strict=True))


def milliseconds(act, rounds: int = ROUNDS) -> float:
    took = []
    for _ in range(rounds):
        begin = time.perf_counter()
        act()
        took.append((time.perf_counter() - begin) * 1e3)
    return statistics.median(took)


def main() -> None:
    logging.disable()  # that a list was widened is in the table
    print(f"{'list':18} {'filter':7} {'hookward us':>12} {'sender us':>10} {'judged':>8}")
    for name, addresses in LISTS.items():
        for shielded in (False, True):
            ours, theirs, judged = measure(addresses, shielded=shielded)
            print(f"{name:18} {'on' if shielded else 'off':7} {ours:12.2f} {theirs:10.1f} {judged:8.0f}")
    print(f"\n{'list':18} {'exact':>7} {'fitted':>7} {'joined':>7} {'compile ms':>11} {'attach ms':>10}")
    for name, addresses in LISTS.items():
        program = fit(addresses)
        exact = len(compile_filter(addresses))
        with listening() as sock:
            attaching = milliseconds(lambda s=sock, p=program: attach(s, p.instructions))
        compiling = milliseconds(lambda a=addresses: fit(a))
        size = len(program.instructions)
        print(f"{name:18} {exact:7} {size:7} {program.joined:7} {compiling:11.2f} {attaching:10.2f}")


if __name__ == "__main__":
    main()
