"""Connections from an address that is not allowed (127.0.0.2): with a delivery, or silent."""

from __future__ import annotations

import contextlib
import select
import socket
from time import monotonic

STRANGER = "127.0.0.2"
AT_ONCE = 100
SILENT_S = 0.05
TALKING_S = 0.5


def knock(port: int, seconds: float, data: bytes) -> dict[str, float]:
    """Connect again and again for ``seconds``; ``data`` is sent at once, b"" keeps silent.

    Gives connections and closed (by the server: reset, end, or an answer that refuses; a silent peer waits 50 ms).
    """
    started = monotonic()
    connections = closed = 0
    while monotonic() - started < seconds:
        socks = [dial(port) for _ in range(AT_ONCE)]
        if data:
            for sock in socks:
                with contextlib.suppress(OSError):
                    sock.send(data)
        connections += AT_ONCE
        closed += reap(socks, TALKING_S if data else SILENT_S)
    return {"connections": float(connections), "closed": float(closed)}


def dial(port: int) -> socket.socket:
    sock = socket.socket()
    sock.bind((STRANGER, 0))
    sock.setblocking(False)
    sock.connect_ex(("127.0.0.1", port))  # on the loopback the handshake ends within the call, unless it is ignored
    return sock


def reap(socks: list[socket.socket], patience_s: float) -> int:
    """How many the server ended or answered in time; all are closed."""
    deadline = monotonic() + patience_s
    poll = select.poll()
    waiting = {sock.fileno(): sock for sock in socks}
    for fd in waiting:
        poll.register(fd, select.POLLIN)
    while waiting and monotonic() < deadline:
        for fd, _ in poll.poll(max(0, (deadline - monotonic()) * 1000)):
            poll.unregister(fd)
            waiting.pop(fd).close()
    ended = len(socks) - len(waiting)
    for sock in waiting.values():
        sock.close()
    return ended
