"""Large deliveries, as fast as they go or paced: one thread, non-blocking sockets, one buffer for all senders.

The bytes of a delivery, with the framing of its chunks, are made once; a sender writes slices of them. A delivery ends
with its answer, which tells when the origin had it whole (see ``origin.py``).
"""

from __future__ import annotations

import gc
import re
import select
import socket
import statistics
from dataclasses import dataclass, field
from time import monotonic, monotonic_ns

from bench.load.process import FailedError

PIECE = 16 * 1024
GREEDY = 1024 * 1024
ANSWER_S = 20.0
AT = re.compile(rb'"at": *(\d+)')


@dataclass
class Sender:
    """One connection; ``sent`` bytes of the present delivery are out, ``last_ns`` is when the last byte was."""

    port: int
    wire: memoryview
    rate: float
    sock: socket.socket = field(init=False)
    begun: float = 0.0
    sent: int = 0
    last_ns: int = 0
    answer: bytes = b""
    blocked: bool = False

    def __post_init__(self) -> None:
        self.connect()

    def connect(self) -> None:
        self.sock = socket.create_connection(("127.0.0.1", self.port), timeout=ANSWER_S)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else the last piece waits for an ACK
        self.sock.setblocking(False)

    def begin(self, now: float) -> None:
        self.begun, self.sent, self.last_ns, self.answer, self.blocked = now, 0, 0, b"", False

    def due(self) -> float:
        """When the next piece may go."""
        return self.begun + self.sent / self.rate if self.rate else self.begun

    def write(self) -> None:
        size = PIECE if self.rate else GREEDY
        try:
            self.sent += self.sock.send(self.wire[self.sent : self.sent + size])
            self.blocked = False
        except BlockingIOError:
            self.blocked = True
        if self.sent == len(self.wire):
            self.last_ns = monotonic_ns()

    def read(self) -> bool:
        """Whether the answer is whole. Raises FailedError if it is not 200."""
        data = self.sock.recv(65536)
        self.answer += data
        head, mark, content = self.answer.partition(b"\r\n\r\n")
        if not data or (mark and not head.startswith(b"HTTP/1.1 200")):
            raise FailedError(f"a large delivery ended with {head[:40]!r}")
        chunked = b"chunked" in head.lower()
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        if chunked:
            return content.endswith(b"0\r\n\r\n")
        return bool(mark) and len(content) >= int(length or 0)

    def lag_ms(self) -> float | None:
        """From the last byte sent to complete at the origin; None where the answer does not say."""
        at = AT.search(self.answer)
        return (int(at[1]) - self.last_ns) / 1e6 if at else None


def send_bodies(
    port: int, wire: bytes, senders: int, seconds: float, rate: float = 0, least: int = 1
) -> dict[str, float]:
    """Deliveries from so many senders at once until the time is over and each has made ``least``.

    ``rate``: bytes per second of each sender, 0 as fast as it goes. Gives bytes_per_s, deliveries, lag_ms (median) and
    lag_max_ms.
    """
    view = memoryview(wire)
    started = monotonic()
    crowd = [Sender(port, view, rate) for _ in range(senders)]
    gc.disable()
    try:
        lags, done, taken = drive(crowd, started, seconds, least)
    finally:
        gc.enable()
        for sender in crowd:
            sender.sock.close()
    known = [lag for lag in lags if lag is not None]
    return {
        "deliveries": float(done),
        "bytes_per_s": done * len(wire) / taken,
        "lag_ms": statistics.median(known) if known else float("nan"),
        "lag_max_ms": max(known) if known else float("nan"),
    }


def drive(crowd: list[Sender], started: float, seconds: float, least: int) -> tuple[list[float | None], int, float]:
    """The loop: lags, deliveries, seconds taken."""
    lags: list[float | None] = []
    rounds = dict.fromkeys((sender.sock.fileno() for sender in crowd), 0)
    by_fd = {sender.sock.fileno(): sender for sender in crowd}
    for number, sender in enumerate(crowd):
        sender.begin(started + (number * PIECE / sender.rate / len(crowd) if sender.rate else 0))
    active = set(by_fd)
    while active:
        now = monotonic()
        if now - started > seconds + ANSWER_S:
            raise FailedError(f"{len(active)} of {len(crowd)} large deliveries had no answer after {ANSWER_S:g} s")
        writers, wait = [], ANSWER_S
        for fd in active:
            sender = by_fd[fd]
            if sender.sent == len(sender.wire):
                continue
            if not sender.blocked and sender.due() > now:
                wait = min(wait, sender.due() - now)
            else:
                writers.append(fd)
        # select and not epoll: it waits for microseconds, and a pace needs them.
        readable, writable, _ = select.select(list(active), writers, [], wait)
        for fd in writable:
            by_fd[fd].write()
        for fd in readable:
            sender = by_fd[fd]
            if not sender.read():
                continue
            lags.append(sender.lag_ms())
            rounds[fd] += 1
            now = monotonic()
            if now - started < seconds or rounds[fd] < least:
                sender.begin(now)
            else:
                active.discard(fd)
    return lags, sum(rounds.values()), monotonic() - started
