"""Five attacks on memory, one after the other, and the peak that hookward reaches, against what docs/memory.md derives.

500 senders of 25 MiB, whose budget is a fraction of what they offer; bodies in chunks of one byte; heads of 100 KiB;
chunked bodies that never end; compressed bodies that would be 100 MiB. Genuine deliveries come all the while.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import selectors
import socket
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Self

from bench.attack.stage import Stage, head, staged

MIB = 1 << 20
BUDGET_MIB = 32
SENDERS = 500
LIMITS = f"""
buffer_budget = "{BUDGET_MIB}MiB"
max_body = "25MiB"
max_connections = 1000
max_exchanges = 520
max_connections_per_address = 1000
"""
#: As docs/memory.md derives it: connections, exchanges, the budget, Python itself; and a quarter for the allocator.
BOUND_MIB = 1.25 * (1000 * (16 + 10) / 1024 + 520 * 128 / 1024 + BUDGET_MIB + 40)
PIECE = bytes(64 * 1024)
GUEST = "/hooks/guest"


def declared() -> Iterator[bytes]:
    """25 MiB with a signature that is wrong."""
    yield head("Content-Length: 26214400", path=GUEST, secret=b"guess")
    for _ in range(25 * MIB // len(PIECE)):
        yield PIECE


def single_bytes() -> Iterator[bytes]:
    """Six bytes on the wire for each byte of content."""
    yield head("Transfer-Encoding: chunked", path=GUEST, secret=b"guess")
    chunks = b"1\r\nx\r\n" * 8192
    for _ in range(100):
        yield chunks


def long_heads() -> Iterator[bytes]:
    yield b"POST /hooks/guest HTTP/1.1\r\nHost: hooks.example.com\r\n"
    for number in range(100):
        yield b"X-%d: %b\r\n" % (number, b"a" * 1024)


def endless() -> Iterator[bytes]:
    """One chunk after the other; the length is never said."""
    yield head("Transfer-Encoding: chunked", path=GUEST, secret=b"guess")
    chunk = b"%x\r\n%b\r\n" % (len(PIECE), PIECE)
    while True:
        yield chunk


def compressed() -> Iterator[bytes]:
    """A body that whoever decompresses it would hold a thousand times over."""
    content = gzip.compress(bytes(100 * MIB), 9)
    lines = [f"Content-Length: {len(content)}", "Content-Encoding: gzip"]
    yield head(*lines, path=GUEST, content=content, secret=b"guess")
    yield content


ATTACKS = {
    "25 MiB bodies": declared,
    "chunks of 1 byte": single_bytes,
    "heads of 100 KiB": long_heads,
    "endless chunked": endless,
    "compressed": compressed,
}


@dataclass
class Attacker:
    """One connection; it sends as fast as it is read and looks for an answer."""

    sock: socket.socket
    pieces: Iterator[bytes]
    rest: memoryview
    status: int = 0

    def step(self) -> bool:
        """Go on; False when it is over."""
        with contextlib.suppress(BlockingIOError):
            answer = self.sock.recv(4096)
            if answer.startswith(b"HTTP/1.1 "):
                self.status = int(answer[9:12])
            return False
        with contextlib.suppress(BlockingIOError):
            if not self.rest:
                self.rest = memoryview(next(self.pieces, b""))
            self.rest = self.rest[self.sock.send(self.rest) :] if self.rest else self.rest
        return True


class Genuine(threading.Thread):
    """Deliveries one after the other, as long as the block lasts."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(daemon=True)
        self._stage = stage
        self._over = threading.Event()
        self.sent = self.passed = 0
        self.slowest_s = 0.0

    def run(self) -> None:
        while not self._over.wait(0.1):
            started = monotonic()
            self.passed += self._stage.deliver() == 200
            self.slowest_s = max(self.slowest_s, monotonic() - started)
            self.sent += 1

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()


def attack(stage: Stage, name: str, seconds: float) -> Counter[int]:
    """500 senders for so long, and their answers."""
    begun = ATTACKS[name]
    shared = list(begun()) if name == "compressed" else None
    statuses: Counter[int] = Counter()
    deadline = monotonic() + seconds
    with selectors.DefaultSelector() as selector:
        for _ in range(SENDERS):
            sock = socket.create_connection(("127.0.0.1", stage.port))
            sock.setblocking(False)
            attacker = Attacker(sock, iter(shared) if shared else begun(), memoryview(b""))
            selector.register(sock, selectors.EVENT_READ | selectors.EVENT_WRITE, attacker)
        while selector.get_map() and monotonic() < deadline:
            for key, _ in selector.select(0.1):
                try:
                    goes_on = key.data.step()
                except OSError:
                    goes_on = False
                if not goes_on:
                    statuses[key.data.status] += 1
                    selector.unregister(key.fileobj)
                    key.data.sock.close()
        for key in list(selector.get_map().values()):
            statuses[-1] += 1
            key.data.sock.close()
    return statuses


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.attack.memory", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10.0, help="for each attack, at most")
    parser.add_argument("--body", choices=["tail", "hold"], default="tail")
    options = parser.parse_args(argv)
    good = True
    with staged(LIMITS, body=options.body) as stage:
        stage.deliver()
        print(f"at rest {stage.guard.memory_mib:.1f} MiB; bound {BOUND_MIB:.0f} MiB ({SENDERS} senders)")
        for name in ATTACKS:
            with Genuine(stage) as genuine:
                statuses = attack(stage, name, options.seconds)
            shown = ", ".join(
                f"{count} x {({0: 'closed', -1: 'cut at the end'}).get(status, status)}"
                for status, count in sorted(statuses.items())
            )
            peak, now = stage.guard.peak_mib, stage.guard.memory_mib
            deliveries = f"genuine {genuine.passed}/{genuine.sent}, slowest {genuine.slowest_s:.2f} s"
            print(f"{name:18} peak so far {peak:6.1f} MiB, now {now:6.1f}; {deliveries}; answers {shown}")
            good = good and peak <= BOUND_MIB and genuine.passed == genuine.sent
    print("within the bound" if good else "OVER THE BOUND, or genuine deliveries were lost")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
