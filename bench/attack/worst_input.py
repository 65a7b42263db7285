"""The worst body that each family of schemes reads before its proof: how long it holds the loop, and its memory.

    python -m bench.attack.worst_input [--mib 24] [--only form]

Bodies as large as the scheme takes by default (with --mib: as the route states) go to a real ``ClientConnection`` in
reads of 64 KiB, each in a turn of the loop; the sender's transport is a stub, and no signature is right. "Loop held" is
the processor time of the dearest read, or how late a timer was while a thread made the verdict; of several rounds the
best, because other work on the machine only adds to it. "Memory" is the peak of the process over what it had before.
Fails beyond 5 ms.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from multiprocessing import get_context
from pathlib import Path

from bench.micro.exchange import Log, Transport
from proxy.core.addresses import AddressSet, Peer
from proxy.core.metrics import Metrics
from proxy.core.policy import BodyMode, Endpoint, Exposure, Limits, Policy, Route, ServerLimits
from proxy.core.record import ExchangeRecord
from proxy.core.schemes import PROVIDERS
from proxy.net.client import ClientConnection
from proxy.net.site import Site
from tests.deliveries import check_for, make

MIB = 1 << 20
READ_BYTES = 64 * 1024
ROUNDS = 5
PATIENCE_S = 60.0
MOST_HELD_MS = 5.0
BUDGET = 256 * MIB

Body = Callable[[int], bytes]


def filled(before: bytes, unit: bytes, after: bytes = b"") -> Body:
    """As many of ``unit`` as there is room for."""
    return lambda size: before + unit * ((size - len(before) - len(after)) // len(unit)) + after


def some(before: bytes, unit: bytes, count: int, after: bytes) -> Body:
    """So many of ``unit``, and a string for the rest."""
    return lambda size: (before + unit * count + b'"').ljust(size - len(after), b"x") + after


SNS = b'{"Type":"Notification","SignatureVersion":"2","Signature":"AAAA","Timestamp":"%b","a":'
GUN = b'{"signature":{"timestamp":"%b","token":"t","signature":"' + b"0" * 64 + b'"},"a":'
ADYEN = b'{"notificationItems":[{"NotificationRequestItem":{"additionalData":{"hmacSignature":"AAAA"},"a":'
GRAPH = b'{"value":[{"clientState":"guess"}],"a":'
TREE = b"bt_signature=a|" + b"0" * 40 + b"&bt_payload="
JSON_ENDS = {
    "mailgun": (GUN, b"}"),
    "sns": (SNS, b"}"),
    "adyen_payments": (ADYEN, b"}}]}"),
    "microsoft_graph": (GRAPH, b"}"),
}


@dataclass
class Case:
    """One input for one provider."""

    family: str
    slug: str
    name: str
    body: Body


def cases() -> list[Case]:
    found = [
        Case("HMAC of the raw body", "github", "anything", filled(b"", b"x")),
        Case("HMAC, body in a JSON string", "graphcms", "control characters", filled(b"", bytes(range(32)))),
        Case("HMAC, body in ASCII", "box", "emoji", filled(b"", "😀".encode())),
        Case("plain hash", "hubspot_v1", "anything", filled(b"", b"x")),
        Case("digest in a JWT", "livekit", "anything", filled(b"", b"x")),
        Case("ECDSA", "sendgrid", "anything", filled(b"", b"x")),
        Case("RSA", "wise", "anything", filled(b"", b"x")),
        Case("RSA of a CRC-32", "paypal", "anything", filled(b"", b"x")),
        Case("Ed25519", "discord", "anything", filled(b"", b"x")),
        Case("Ed25519, four signatures", "standard_webhooks_v1a", "anything", filled(b"", b"x")),
        Case("JWT for a body", "kinde", "one part", filled(b"", b"x")),
        Case("JWT for a body", "kinde", "claims", filled(b"e30.", b"eyJh", b".AAAA")),
    ]
    for slug, before in (("twilio", b"a="), ("braintree", TREE), ("plivo", b"a="), ("mailchimp", b"a=")):
        found += [
            Case("form", slug, "escapes", filled(before, b"%41")),
            Case("form", slug, "plain", filled(before, b"x")),
            Case("form", slug, "999 fields of escapes", partial(_fields, before)),
        ]
    for slug, (before, after) in JSON_ENDS.items():
        head = before.replace(b"%b", _stamp(slug))
        found += [
            Case("JSON", slug, "text and an emoji", filled(head + '"😀'.encode(), b"x", b'"' + after)),
            Case("JSON", slug, "escapes", filled(head + b'"', rb"\"", b'"' + after)),
            Case("JSON", slug, "6,000 objects", some(head + b"[", b"{},", 6000, b'"]' + after)),
            Case("JSON", slug, "objects", filled(head + b"[", b"{},", b"{}]" + after)),
            Case("JSON", slug, "lists in lists", filled(head, b"[")),
        ]
    return found


def _fields(before: bytes, size: int) -> bytes:
    unit = b"%41" * (size // 3300)
    return before + unit + b"".join(b"&k%d=" % number + unit for number in range(998))


def _stamp(slug: str) -> bytes:
    now = time.time()
    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(now)).encode() if slug == "sns" else b"%d" % now


LIMITS = Limits(
    max_body=25 * MIB,
    max_target=8192,
    max_head=16384,
    max_fields=100,
    hold_window=256 * 1024,
    head_timeout_s=60.0,
    body_min_rate=0,
    body_timeout_s=600.0,
    request_timeout_s=600.0,
    keepalive_timeout_s=60.0,
    upstream_timeout_s=60.0,
    write_timeout_s=60.0,
)
SERVER = ServerLimits(100, 100, BUDGET, 10.0, 5.0)


class Reader(Transport):
    """A transport that also does what a sender's does."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = asyncio.Event()
        self.reads.set()

    def pause_reading(self) -> None:
        self.reads.clear()

    def resume_reading(self) -> None:
        self.reads.set()

    def can_write_eof(self) -> bool:
        return False

    def close(self) -> None:
        pass


def route_of(slug: str, largest: int | None, port: int) -> Route:
    """The route that a configuration would make, for a body of so many bytes where it states one."""
    provider = PROVIDERS[slug]
    check = check_for(provider, make(slug, time.time()).secret)
    most = largest or check.max_body or LIMITS.max_body
    if check.work_factor:
        most = min(most, BUDGET // 2 // check.work_factor)
    return Route(
        name=slug,
        path=b"/",
        exact=False,
        methods=frozenset({b"POST"}),
        allow=None,
        token=None,
        signature=check,
        events=None,
        body=BodyMode.HOLD if check.whole_body else BodyMode.TAIL,
        observe=False,
        upstream=(Endpoint("127.0.0.1", port),),
        limits=replace(LIMITS, max_body=most),
        provider=slug,
    )


class Told(Log):
    """Says when an exchange has ended."""

    def __init__(self) -> None:
        super().__init__()
        self.written = asyncio.Event()

    def write(self, record: ExchangeRecord) -> None:
        super().write(record)
        self.written.set()


def site_for(route: Route, loop: asyncio.AbstractEventLoop, log: Told) -> Site:
    policy = Policy(
        generation=1,
        routes=(route,),
        exposure=Exposure.ROUTES,
        admission=None,
        allow=None,
        trusted_proxies=AddressSet.empty(),
        limits=LIMITS,
        server=SERVER,
    )
    return Site(loop=loop, policy=policy, log=log, metrics=Metrics(), instance="bench")


def head_for(slug: str, size: int) -> bytes:
    """A head with a well-formed and fresh signature, which is not that of the body."""
    delivery = make(slug, time.time())
    fields = [(name.encode(), value) for name, value in delivery.fields]
    if slug == "standard_webhooks_v1a":
        fields = [(name, b" ".join([value] * 4) if value.startswith(b"v1a,") else value) for name, value in fields]
    lines = b"".join(b"%b: %b\r\n" % field for field in fields)
    start = b"POST %b HTTP/1.1\r\nHost: hooks.example.com\r\nContent-Length: %d\r\n" % (delivery.target, size)
    return start + lines + b"\r\n"


class Watch:
    """How late a timer of the loop is at the most."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.worst_s = 0.0
        self._due = 0.0
        self.stopped = False
        self._next()

    def _next(self) -> None:
        self._due = self._loop.time() + 0.001
        self._loop.call_at(self._due, self._tick)

    def _tick(self) -> None:
        self.worst_s = max(self.worst_s, self._loop.time() - self._due - 0.001)  # a timer's own grain
        if not self.stopped:
            self._next()


def swallow(listener: socket.socket) -> None:
    """An application that takes everything and never answers; its thread waits in the kernel."""
    buffer = bytearray(MIB)
    while True:
        taken, _ = listener.accept()
        with taken, contextlib.suppress(OSError):
            while taken.recv_into(buffer):
                pass


def peak_kib() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


async def attack(case: Case, largest: int | None, port: int) -> tuple[float, float, int, str]:
    """Milliseconds held, MiB taken, bytes sent, and the answer."""
    loop = asyncio.get_running_loop()
    log = Told()
    site = site_for(route_of(case.slug, largest, port), loop, log)
    body = case.body(site.policy.routes[0].limits.max_body)
    head = head_for(case.slug, len(body))
    transport = Reader()
    client = ClientConnection(site, Peer.of("192.0.2.1"), secure=False, on_close=lambda: None)
    client.connection_made(transport)
    forget_peak()
    before = peak_kib()
    held = 0.0
    for piece in chain([head], (body[at : at + READ_BYTES] for at in range(0, len(body), READ_BYTES))):
        await asyncio.sleep(0)
        await transport.reads.wait()
        buffer = client.get_buffer(-1)
        buffer[: len(piece)] = piece
        began = time.thread_time()
        client.buffer_updated(len(piece))
        held = max(held, time.thread_time() - began)
    watch = Watch(loop)
    await asyncio.wait_for(log.written.wait(), PATIENCE_S)
    watch.stopped = True
    taken = (peak_kib() - before) / 1024
    answer = b"".join(transport.out).partition(b"\r\n\r\n")[2].split(b" ")[0].decode("latin-1").strip()
    await asyncio.sleep(0.003)
    client.connection_lost(None)
    site.apart.close()
    return max(held, watch.worst_s) * 1000, taken, len(body), answer


def measure(number: int, largest: int | None, port: int) -> tuple[float, float, int, str]:
    """The least that a case held the loop in several rounds, the most memory that it took."""
    case = cases()[number]
    rounds = [asyncio.run(attack(case, largest, port)) for _ in range(ROUNDS)]
    _, _, size, answer = rounds[0]
    return min(one[0] for one in rounds), max(one[1] for one in rounds), size, answer


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.attack.worst_input", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--mib", type=int, help="what the routes state as max_body")
    parser.add_argument("--only", default="", help="families whose name holds this")
    options = parser.parse_args(argv)
    largest = options.mib * MIB if options.mib else None
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    threading.Thread(target=swallow, args=(listener,), daemon=True).start()
    good = True
    print(
        "| family | provider | input | body MiB | loop held ms | memory MiB | answer |\n|---|---|---|---|---|---|---|"
    )
    for number, case in enumerate(cases()):
        if options.only not in case.family:
            continue
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as fresh:  # whose memory is its own
            held, taken, size, answer = fresh.submit(measure, number, largest, port).result()
        good = good and held <= MOST_HELD_MS
        figures = f"{size / MIB:.2f} | {held:.1f} | {taken:.1f}"
        print(f"| {case.family} | {case.slug} | {case.name} | {figures} | {answer} |", flush=True)
    print("within the bounds" if good else "OVER THE BOUNDS")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
