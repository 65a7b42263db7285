"""What tests of the kernel filter share: can it be used here, and what the kernel did with a connection attempt."""

from __future__ import annotations

import errno
import socket
import struct
import sys
from functools import cache
from time import monotonic

import pytest

from proxy.net.kernel_filter import attach
from proxy.net.sockets import dropped_packets

PATIENCE_S = 10.0
ESTABLISHED, SYN_SENT = 1, 2  # include/net/tcp_states.h


@cache
def why_not() -> str:
    """Why there is no kernel filter here; "" where there is."""
    if sys.platform != "linux":
        return "only Linux has it"
    with socket.create_server(("127.0.0.1", 0)) as probe:
        try:
            attach(probe, [(0x06, 0, 0, 0)])
        except OSError as error:
            return f"the kernel takes no program: {error.strerror}"
        with attempt(probe.getsockname(), "127.0.0.1") as sock:
            if state(sock) == SYN_SENT and dropped_packets(probe) == 1:
                return ""
    return "the kernel takes a program, but does not run or count it"


def needs_kernel_filter() -> None:
    """Skip the test where it cannot be had."""
    if reason := why_not():
        pytest.skip(reason)


def state(sock: socket.socket) -> int:
    """The state of a TCP connection, from the first byte of struct tcp_info."""
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]


def attempt(address: tuple[str, int], source: str | None = None, *, sock: socket.socket | None = None) -> socket.socket:
    """A socket that has begun to connect, and does not wait."""
    if sock is None:
        sock = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
    sock.setblocking(False)
    if source is not None:
        sock.bind((source, 0))
    assert sock.connect_ex(address) in (0, errno.EINPROGRESS)
    return sock


def gets_in(listener: socket.socket, address: tuple[str, int], source: str | None = None, **options: object) -> bool:
    """Whether an attempt reaches the accept queue of ``listener``; False where the kernel has dropped it."""
    dropped = dropped_packets(listener)
    deadline = monotonic() + PATIENCE_S
    with attempt(address, source, **options) as sock:
        while state(sock) == SYN_SENT:
            if dropped_packets(listener) > dropped:
                return state(sock) != SYN_SENT
            assert monotonic() < deadline, "neither connected nor dropped"
        return True


def option_memory(sock: socket.socket) -> int:
    """What a socket's options take, of which a program is one: the seventh of SO_MEMINFO's numbers."""
    return int(struct.unpack("=9I", sock.getsockopt(socket.SOL_SOCKET, 55, 36))[6])
