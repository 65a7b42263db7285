"""Whatever a connection brings, its parts are freed by their last reference: nothing waits for the collector.

``ops.collector`` lets the collector look seldom, because of this. Everything here is told by ``gc`` itself: what is in
``gc.garbage`` with ``DEBUG_SAVEALL`` could only be found by looking through all of memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import socket
import socketserver
import ssl
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
import trustme

from proxy.core.addresses import Peer
from proxy.core.causes import DIAGNOSABLE, Case, diagnose
from proxy.core.metrics import Metrics
from proxy.core.policy import BodyMode, Endpoint
from proxy.net.access_log import AccessLog
from proxy.net.admission import ConnectionSlots
from proxy.net.causes import Diagnoser
from proxy.net.client import ClientConnection
from proxy.net.listener import Listener
from proxy.net.log_formats import JsonLines
from proxy.net.site import Site
from proxy.net.tls import KeyPair, TlsContexts
from tests.faults import BODIES
from tests.net.accepting import listening, until
from tests.net.dialogue import forged, policy, request, route, signed

BODY = b'{"a":[1,{"b":"c"}]}'
BIG = json.dumps(["x" * 60] * 5000).encode()
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@contextlib.contextmanager
def only_the_collector_finds() -> Iterator[list[str]]:
    """What the block makes that no reference counts free, by type; filled in at the end of the block."""
    found: list[str] = []
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        yield found
        gc.collect()
        found += [f"{count} {kind}" for kind, count in Counter(map(kind_of, gc.garbage)).items()]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


def kind_of(thing: object) -> str:
    return f"{type(thing).__module__}.{type(thing).__qualname__} {getattr(thing, '__qualname__', '')}".strip()


class Application(socketserver.BaseRequestHandler):
    """Reads whole requests by their length or their last chunk, and answers each."""

    def handle(self) -> None:
        data = b""
        with contextlib.suppress(OSError):
            while piece := self.request.recv(1 << 16):
                data += piece
                while (size := whole(data)) is not None:
                    data = data[size:]
                    self.request.sendall(ANSWER)


def whole(data: bytes) -> int | None:
    head, found, body = data.partition(b"\r\n\r\n")
    if not found:
        return None
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            size = len(head) + 4 + int(line.partition(b":")[2])
            return size if len(data) >= size else None
    end = body.find(b"0\r\n\r\n")
    return None if end < 0 else len(head) + 4 + end + 5


@pytest.fixture
def application() -> Iterator[Endpoint]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Application) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield Endpoint("127.0.0.1", server.server_address[1])
        server.shutdown()
        thread.join()


def connect(port: int, tls: ssl.SSLContext | None) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), timeout=15)
    return sock if tls is None else tls.wrap_socket(sock, server_hostname="a.example")


def talk(port: int, tls: ssl.SSLContext | None, data: bytes, answers: int = 1, *, reset: bool = False) -> None:
    with contextlib.suppress(OSError), connect(port, tls) as sock:
        sock.sendall(data)
        heard = b""
        while heard.count(b"HTTP/1.1 ") < answers and (piece := sock.recv(1 << 16)):  # two may come in one
            heard += piece
        if reset:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def traffic(port: int, tls: ssl.SSLContext | None) -> None:
    """Every way in which an exchange and a connection may end."""
    good = signed(BODY)
    for path in (b"/hook", b"/hold", b"/free"):
        for data in (signed(BODY, path=path), signed(BIG, path=path), signed(BIG, path=path, chunked=True)):
            talk(port, tls, data)
        talk(port, tls, forged(BIG, path=path))
    for data in (forged(BODY), b"nonsense\r\n\r\n", request(BODY, path=b"/nowhere"), request(BODY, sign=b"")):
        talk(port, tls, data)
    talk(port, tls, good + good, 2)
    for reset in (False, True):
        talk(port, tls, good, reset=reset)
        for part in (b"", good[:30], good[:-3], signed(BIG)[:200_000]):
            talk(port, tls, part, 0, reset=reset)


def failures(port: int) -> None:
    """Handshakes that come to nothing."""
    old = ssl.create_default_context()
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    old.set_ciphers("AES128-SHA")
    for context in (old, ssl.create_default_context()):
        with contextlib.suppress(OSError):
            connect(port, context).close()
    for data in (b"", b"SSH-2.0-x\r\n", b"\x16\3\1\2\0"):
        for reset in (False, True):
            talk(port, None, data, 0, reset=reset)


@pytest.mark.parametrize("secure", [False, True], ids=["clear", "tls"])
def test_connections_leave_nothing_to_the_collector(run, authority, application, ca: trustme.CA, secure) -> None:
    async def main() -> list[str]:
        loop = asyncio.get_running_loop()
        routes = (
            route(b"/hook", upstream=(application,), max_body=1 << 20),
            route(b"/hold", BodyMode.HOLD, upstream=(application,), max_body=1 << 20),
            route(b"/free", BodyMode.FREE, signed=False, upstream=(application,), max_body=1 << 20),
        )
        site = Site(
            loop=loop,
            policy=policy(*routes),
            log=AccessLog(None, JsonLines(), loop),
            metrics=Metrics(),
            instance="here",
        )
        site.diagnoser = diagnoser = Diagnoser(site, lambda _: None)
        slots, sock = ConnectionSlots(), listening()
        port = sock.getsockname()[1]
        listener = Listener(
            sock,
            site=site,
            slots=slots,
            factory=lambda peer, secure, on_close: ClientConnection(site, peer, secure=secure, on_close=on_close),
            tls=TlsContexts([KeyPair(*authority.write("a", "a.example"))]) if secure else None,
        )
        listener.start()
        context = ssl.create_default_context() if secure else None
        if context is not None:
            ca.configure_trust(context)

        async def once() -> None:
            await loop.run_in_executor(None, traffic, port, context)
            if secure:
                await loop.run_in_executor(None, failures, port)
            await until(lambda: not (slots.counters.open or site.exchanges or diagnoser._waiting))

        await once()  # what is made once, and stays
        with only_the_collector_finds() as found:
            await once()
            for _ in range(3):
                await asyncio.sleep(0)
        await listener.abandon()
        await site.pool.close()
        diagnoser.close()
        site.diagnoser = None  # the two hold each other, for as long as the process lives
        site.clock.close()
        if isinstance(loop, asyncio.SelectorEventLoop):
            # Its transports hold themselves (``_read_ready_cb``), and their sockets; nothing else may hang on them.
            return [kind for kind in found if " proxy." in kind and not kind.endswith(".Accepted")]
        return found

    assert run(main()) == []


def test_looking_for_causes_leaves_nothing_to_the_collector() -> None:
    looked: list[Callable[[], object]] = [
        lambda case=fault.case, reason=reason: diagnose(
            Case(reason, case.head, case.body, case.route, case.routes, case.now)
        )
        for fault in BODIES
        for reason in DIAGNOSABLE
    ]
    for look in looked:
        look()
    with only_the_collector_finds() as found:
        for look in looked:
            look()
    assert found == []


def test_what_only_the_collector_finds_is_found() -> None:
    with only_the_collector_finds() as found:
        loop: list[object] = [Peer.unix()]
        loop.append(loop)
        del loop
    assert "1 builtins.list" in found
