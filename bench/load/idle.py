"""Idle connections: each makes one delivery and then stays open, silent."""

from __future__ import annotations

import socket
import ssl
from time import monotonic

from bench.load.closed import unverified
from bench.load.process import FailedError


def settle(port: int, wanted: int, data: bytes, patience_s: float, *, tls: bool = False) -> list[socket.socket]:
    """So many connections, or as many as can be had in time."""
    deadline = monotonic() + patience_s
    context = unverified() if tls else None
    made: list[socket.socket] = []
    while len(made) < wanted and monotonic() < deadline:
        made.append(one(port, data, context))
    return made


def one(port: int, data: bytes, context: ssl.SSLContext | None) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), timeout=10)
    if context is not None:
        sock = context.wrap_socket(sock)
    sock.sendall(data)
    answer = b""
    while b"}" not in answer:  # the end of the origin's answer
        piece = sock.recv(4096)
        if not piece or not (answer + piece).startswith(b"HTTP/1.1 200"):
            raise FailedError(f"an idle connection was answered {(answer + piece)[:40]!r}")
        answer += piece
    return sock
