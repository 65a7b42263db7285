"""Open-loop load: a delivery every so often, whether the last one is answered or not.

Each is timed from the moment at which it was due, so that a stall is seen by all that it delayed.
"""

from __future__ import annotations

import gc
import select
import socket
from collections import deque
from time import monotonic

from bench.load.process import FailedError

CONNECTIONS = 32
PATIENCE_S = 5.0


def open_loop(port: int, data: bytes, per_s: float, seconds: float) -> dict[str, float]:
    """p50_us, p99_us, max_us and the rate that was answered. The unanswered count with their time so far."""
    by_fd = {sock.fileno(): sock for sock in (connect(port) for _ in range(CONNECTIONS))}
    gc.disable()
    try:
        return drive(by_fd, port, data, per_s, seconds)
    finally:
        gc.enable()
        for sock in by_fd.values():
            sock.close()


def connect(port: int) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), timeout=10)
    sock.setblocking(False)
    return sock


def drive(by_fd: dict[int, socket.socket], port: int, data: bytes, per_s: float, seconds: float) -> dict[str, float]:
    free = deque(by_fd.values())
    due_of: dict[int, float] = {}
    answers = dict.fromkeys(by_fd, b"")
    times: list[float] = []
    total = max(1, int(per_s * seconds))
    started = monotonic()
    sent = 0
    while len(times) < total:
        now = monotonic()
        if now - started > seconds + PATIENCE_S:
            break
        while free and sent < total and started + sent / per_s <= now:
            sock = free.popleft()
            sock.send(data)
            due_of[sock.fileno()] = started + sent / per_s
            sent += 1
        wait = max(0.0, started + sent / per_s - now) if free and sent < total else 0.2
        readable, _, _ = select.select(list(due_of), [], [], wait)
        for fd in readable:
            piece = by_fd[fd].recv(65536)
            answers[fd] += piece
            if not piece or not answers[fd].startswith(b"HTTP/1.1 200"):
                raise FailedError(f"under open-loop load: {answers[fd][:40]!r}")
            if b"}" in answers[fd]:  # the end of the origin's answer
                times.append(monotonic() - due_of.pop(fd))
                sock = by_fd[fd]
                if b"\r\nConnection: close\r\n" in answers.pop(fd):  # it has served as many as it may
                    by_fd.pop(fd).close()
                    sock = connect(port)
                    by_fd[sock.fileno()] = sock
                answers[sock.fileno()] = b""
                free.append(sock)
    ended = monotonic()
    answered = len(times)
    times += [ended - due for due in due_of.values()]
    times += [ended - (started + number / per_s) for number in range(sent, total)]
    times.sort()
    return {
        "p50_us": times[len(times) // 2] * 1e6,
        "p99_us": times[int(len(times) * 0.99)] * 1e6,
        "max_us": times[-1] * 1e6,
        "answered_per_s": answered / (ended - started),
    }
