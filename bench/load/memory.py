"""Memory under slow readers: 200 senders of 25 MiB signed bodies, an application that reads 1 MiB/s from each.

The senders have so many addresses as a provider has: one group of them may hold no more than its share of the budget.
Prints the peak resident memory of hookward and whether anything was lost: each sender ends with 200 (or with a 503 that
says "try again", where the budget is spent), and the origin has as many complete requests as there were 200s.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import hmac
import random
import resource
import selectors
import socket
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from time import monotonic

from bench.load import delivery
from bench.load.process import Server, free_port
from bench.load.stage import LOAD_CORE, PROXY_CORE, count

MIB = 1 << 20


class Sender:
    """One non-blocking connection that sends one delivery and reads its answer."""

    def __init__(self, port: int, head: bytes, content: bytes, source: str) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), source_address=(source, 0))
        self.sock.setblocking(False)
        self._pieces = [memoryview(head), memoryview(content)]
        self._answer = b""
        self.status = 0

    def step(self) -> int:
        """Go on; the events to wait for, 0 when done."""
        with contextlib.suppress(BlockingIOError):
            while self._pieces:
                sent = self.sock.send(self._pieces[0][: 1 << 16])
                self._pieces[0] = self._pieces[0][sent:]
                if not self._pieces[0]:
                    self._pieces.pop(0)
        try:
            self._answer += self.sock.recv(65536)
        except BlockingIOError:
            return selectors.EVENT_READ | (selectors.EVENT_WRITE if self._pieces else 0)
        if b"\r\n" not in self._answer:
            self._pieces = []
            return 0
        self.status = int(self._answer.split(b" ", 2)[1])
        return 0


def send_all(senders: Sequence[Sender], timeout_s: float) -> None:
    """Drive all senders until each has an answer."""
    deadline = monotonic() + timeout_s
    with selectors.DefaultSelector() as selector:
        for sender in senders:
            selector.register(sender.sock, selectors.EVENT_READ | selectors.EVENT_WRITE, sender)
        while selector.get_map():
            if monotonic() > deadline:
                raise SystemExit(f"{len(selector.get_map())} senders had no answer after {timeout_s:g} s")
            for key, _ in selector.select(1):
                try:
                    events = key.data.step()
                except OSError:
                    events = 0
                if events:
                    selector.modify(key.fileobj, events, key.data)
                else:
                    selector.unregister(key.fileobj)
                    key.data.sock.close()


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.load.memory", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--senders", type=int, default=200)
    parser.add_argument("--addresses", type=int, default=20, help="of which the senders come, at most 254")
    parser.add_argument("--size", type=int, default=25 * MIB)
    parser.add_argument("--rate", type=int, default=MIB, help="bytes per second the application reads per connection")
    parser.add_argument("--budget", default="32MiB")
    parser.add_argument("--body", choices=["tail", "hold"], default="tail")
    parser.add_argument("--timeout", type=float, default=240.0)
    options = parser.parse_args(argv)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 8192)), hard))
    content = random.Random(1).randbytes(options.size)
    signature = "sha256=" + hmac.new(delivery.SECRET, content, hashlib.sha256).hexdigest()
    fields = delivery.fields(b"") | {"Content-Length": str(len(content)), "X-Hub-Signature-256": signature}
    lines = ["POST /hooks/github HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    head = "\r\n".join(lines).encode() + b"\r\n\r\n"
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        place = Path(folder)
        (place / "secret").write_bytes(delivery.SECRET)
        port, origin_port = free_port(), free_port()
        config = place / "hookward.toml"
        config.write_text(configuration(port, origin_port, place / "secret", options))
        origin = [sys.executable, "-m", "bench.load.origin", "--port", str(origin_port), "--rate", str(options.rate)]
        stack.enter_context(Server("origin", origin, origin_port, LOAD_CORE, place / "origin.log"))
        command = [sys.executable, "-m", "proxy", "--config", str(config)]
        guard = stack.enter_context(Server("hookward", command, port, PROXY_CORE, place / "hookward.log"))
        at_rest = guard.usage().peak_rss_bytes
        started = monotonic()
        sources = [f"127.0.1.{1 + number % options.addresses}" for number in range(options.senders)]
        senders = [Sender(port, head, content, source) for source in sources]
        send_all(senders, options.timeout)
        taken = monotonic() - started
        statuses = Counter(sender.status for sender in senders)
        usage = guard.usage()
        reached = count(origin_port)
    whole = reached == statuses[200] and set(statuses) <= {200, 503}
    print(f"{options.senders} senders of {options.size / MIB:g} MiB, {options.rate / MIB:g} MiB/s each, {taken:.1f} s")
    print(f"answers {dict(statuses)}, complete at the application {reached}: {'nothing lost' if whole else 'LOST'}")
    print(f"peak RSS {usage.peak_rss_bytes / MIB:.1f} MiB (at rest {at_rest / MIB:.1f}), CPU {usage.cpu_s:.1f} s")
    return 0 if whole else 1


def configuration(port: int, origin: int, secret: Path, options: argparse.Namespace) -> str:
    return f"""
listen = ["127.0.0.1:{port}"]
upstream = "http://127.0.0.1:{origin}"
[limits]
buffer_budget = "{options.budget}"
max_body = "{options.size}B"
body_timeout = "{options.timeout:g}s"
request_timeout = "{options.timeout:g}s"
body_min_rate = "1B"
[route.github]
path = "/hooks"
provider = "github"
secrets = ["file:{secret}"]
body = "{options.body}"
"""


if __name__ == "__main__":
    sys.exit(main())
