"""Conversations between a sender, us and an upstream, without a socket and without a second of waiting.

    world = World()
    sender = world.sender()
    sender >> signed(b"{}")                         # the sender says
    world.upstream << b"POST /hook HTTP/1.1*{}"      # the upstream must have got exactly this, "*" is anything
    world.upstream >> OK                            # the upstream says
    sender << b"HTTP/1.1 200 OK*ok"

What is real: ``ClientConnection``, ``Exchange``, ``UpstreamConnection``, the pool's accounts, the budget, the clock's
sweep. What is staged: the loop's time and queue, the transports, and dialling. ``<<`` takes all that has come since
the last look, so nothing can be said unheard. Every conversation ends with ``world.over()``: one record for each
exchange, and everything given back.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
import socket
import struct
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextvars import Context
from dataclasses import replace
from functools import partial
from typing import Any

from proxy.core.addresses import Peer
from proxy.core.metrics import Metrics
from proxy.core.policy import BodyMode, Limits, Policy, Route, ServerLimits
from proxy.core.record import ExchangeRecord
from proxy.core.schemes import find
from proxy.core.signing.proof import SignatureCheck
from proxy.core.signing.scheme import Secret
from proxy.http1 import Piece
from proxy.net.client import ClientConnection
from proxy.net.clock import Clock
from proxy.net.flow import READ_BYTES
from proxy.net.pool import Dial, UpstreamPool
from proxy.net.site import Site
from proxy.net.upstream import UpstreamConnection
from proxy.reasons import Reason
from tests import policies

KEY = b"It's a Secret to Everybody"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
HIGH, LOW = 64 * 1024, 16 * 1024  # asyncio's own
RESET = struct.pack("ii", 1, 0)

LIMITS = policies.limits(max_body=4 << 20, upstream_timeout_s=40.0)
SERVER = policies.server_limits(max_connections_per_address=100, buffer_budget=16 << 20)
GITHUB = find("github")
assert GITHUB is not None
assert GITHUB.scheme is not None
SIGNATURE = SignatureCheck(GITHUB.scheme, (Secret("s1", KEY),))


def route(path: bytes = b"/hook", body: BodyMode = BodyMode.TAIL, *, signed: bool = True, **changed: Any) -> Route:
    """A route for GitHub, or one that proves nothing; ``changed`` may name limits as well."""
    limits = {name: changed.pop(name) for name in list(changed) if name in Limits.__dataclass_fields__}
    fields: dict[str, Any] = {
        "name": path.decode().strip("/") or "root",
        "path": path,
        "methods": frozenset({b"POST", b"GET", b"HEAD"}),
        "signature": SIGNATURE if signed else None,
        "body": body,
        "limits": replace(LIMITS, **limits),
        "provider": "github" if signed else "",
        "event_header": GITHUB.event_header,
        "delivery_header": GITHUB.delivery_header,
    }
    return policies.route(**fields | changed)


ROUTES = (route(b"/hook"), route(b"/hold", BodyMode.HOLD), route(b"/free", BodyMode.FREE, signed=False))


def policy(*routes: Route, **changed: Any) -> Policy:
    """``changed`` may name limits of a policy, of a server, or fields of the policy."""
    limits = {name: changed.pop(name) for name in list(changed) if name in Limits.__dataclass_fields__}
    server = {name: changed.pop(name) for name in list(changed) if name in ServerLimits.__dataclass_fields__}
    fields: dict[str, Any] = {"limits": replace(LIMITS, **limits), "server": replace(SERVER, **server)}
    return policies.policy(*(routes or ROUTES), **fields | changed)


def signature(body: bytes) -> bytes:
    return b"sha256=" + hmac.new(KEY, body, hashlib.sha256).hexdigest().encode()


def chunks(body: bytes, size: int = 1000) -> bytes:
    pieces = [body[i : i + size] for i in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def request(
    body: bytes = b"",
    *,
    path: bytes = b"/hook",
    method: bytes = b"POST",
    extra: bytes = b"",
    sign: bytes | None = None,
    chunked: bool = False,
    minor: int = 1,
) -> bytes:
    """A request; ``sign`` is the body that its signature covers. ``extra`` are whole field lines."""
    head = b"%b %b HTTP/1.%d\r\nHost: h\r\n" % (method, path, minor)
    if sign is not None:
        head += b"X-Hub-Signature-256: %b\r\n" % signature(sign)
    if chunked:
        return head + b"Transfer-Encoding: chunked\r\n" + extra + b"\r\n" + chunks(body)
    if body or method == b"POST":
        head += b"Content-Length: %d\r\n" % len(body)
    return head + extra + b"\r\n" + body


def signed(body: bytes = b"{}", **more: Any) -> bytes:
    return request(body, sign=body, **more)


def forged(body: bytes = b"{}", **more: Any) -> bytes:
    return request(body, sign=body + b"!", **more)


class FakeTimer:
    def __init__(self, when: float, call: Callable[[], None]) -> None:
        self.when, self.call, self.cancelled = when, call, False

    def cancel(self) -> None:
        self.cancelled = True


class FakeLoop:
    """A queue and a time that stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.ready: deque[Callable[[], object]] = deque()
        self.timers: list[FakeTimer] = []
        self.tasks: set[asyncio.Task[None]] = set()
        self.complaints: list[dict[str, Any]] = []

    def time(self) -> float:
        return self.now

    def call_soon(self, call: Callable[..., object], *args: object, context: Context | None = None) -> None:
        self.ready.append(partial(context.run, call, *args) if context is not None else partial(call, *args))

    call_soon_threadsafe = call_soon

    def call_later(self, delay: float, call: Callable[..., None], *args: object, context: Any = None) -> FakeTimer:
        del context
        timer = FakeTimer(self.now + delay, lambda: call(*args))
        self.timers.append(timer)
        return timer

    def create_future(self) -> asyncio.Future[None]:
        return asyncio.Future(loop=self)

    def create_task(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.Task(work, loop=self)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    @staticmethod
    def get_debug() -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.complaints.append(context)


#: A connection on which nothing ever comes: what a poll of a fake one looks at.
QUIET = socket.socketpair()


class FakeSocket:
    """What is asked of a socket below a transport."""

    def __init__(self) -> None:
        self.linger: bytes | None = None
        self.transport: FakeTransport | None = None

    def sendmsg(self, pieces: list[Piece]) -> int:
        """Past the transport, as much as the other end takes."""
        assert self.transport is not None
        return self.transport.pass_by(b"".join(pieces))

    def fileno(self) -> int:
        return QUIET[0].fileno()

    def setsockopt(self, level: int, option: int, value: bytes) -> None:
        self.linger = value


class FakeTransport(asyncio.Transport):
    """A transport between one of our protocols and the test, with asyncio's rules of flow."""

    def __init__(self, world: World, protocol: Any, sock: FakeSocket, *, tls: bool = False) -> None:
        super().__init__({"socket": sock})
        self.world, self.protocol, self.sock, self.tls = world, protocol, sock, tls
        self.inbox: deque[bytes] = deque()  # said by the other end, not read by us yet
        self.inbox_ended = False
        self.reading = True
        self.outbox = b""  # written by us, not taken by the other end
        self.taken = b""  # what the other end took since it was asked last
        self.takes: int | None = None  # how much more it takes; None is everything
        self.stuck = False
        self.eof_written = False
        self.closing = False
        self.lost = False
        self.end: str | None = None  # what the other end sees: "fin" or "reset"

    # -- what our protocols call

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def get_write_buffer_size(self) -> int:
        return len(self.outbox)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        assert high == HIGH

    def is_closing(self) -> bool:
        return self.closing

    def can_write_eof(self) -> bool:
        return not self.tls

    def write(self, data: Any) -> None:
        assert isinstance(data, bytes)
        if self.lost or self.eof_written:
            raise RuntimeError("write after the end")
        if self.closing:
            return
        self.outbox += data
        self.flush()
        if len(self.outbox) > HIGH and not self.stuck:
            self.stuck = True
            self.protocol.pause_writing()

    def writelines(self, pieces: Any) -> None:
        assert pieces, "some versions of asyncio cannot write nothing"
        self.write(b"".join(pieces))

    def write_eof(self) -> None:
        assert not self.tls
        if not self.closing:
            self.eof_written = True
            self.flush()

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = not self.closing

    def close(self) -> None:
        if not self.closing:
            self.closing, self.reading = True, False
            self.flush()

    def abort(self) -> None:
        if not self.lost and self.end != "reset":
            self.closing, self.reading, self.outbox = True, False, b""
            self.end = "reset" if self.sock.linger == RESET else "fin"
            self.world.loop.call_soon(self.lose, None)

    def pass_by(self, data: bytes) -> int:
        assert not self.outbox, "it would overtake what was written"
        if self.lost or self.closing:
            raise BrokenPipeError
        size = len(data) if self.takes is None else min(self.takes, len(data))
        if not size:
            raise BlockingIOError
        self.taken += data[:size]
        if self.takes is not None:
            self.takes -= size
        return size

    # -- what the other end does

    def flush(self) -> None:
        size = len(self.outbox) if self.takes is None else min(self.takes, len(self.outbox))
        self.taken += self.outbox[:size]
        self.outbox = self.outbox[size:]
        if self.takes is not None:
            self.takes -= size
        if self.stuck and len(self.outbox) <= LOW:
            self.stuck = False
            self.protocol.resume_writing()
        if not self.outbox and (self.closing or self.eof_written) and self.end is None:
            self.end = "fin"
        if not self.outbox and self.closing and not self.lost:
            self.world.loop.call_soon(self.lose, None)

    def lose(self, error: Exception | None) -> None:
        if not self.lost:
            self.lost = self.closing = True
            self.reading = False
            self.inbox.clear()
            self.protocol.connection_lost(error)

    def deliver(self) -> bool:
        """One read; whether there was something to read."""
        if not self.reading or self.closing:
            return False
        if self.inbox:
            data = self.inbox.popleft()
            buffer = self.protocol.get_buffer(-1) if isinstance(self.protocol, asyncio.BufferedProtocol) else None
            most = READ_BYTES if buffer is None else len(buffer)
            if len(data) > most:
                self.inbox.appendleft(data[most:])
                data = data[:most]
            if buffer is not None:
                buffer[: len(data)] = data
                self.protocol.buffer_updated(len(data))
                buffer[: len(data)] = bytes(len(data))  # the buffer is everybody's: nothing may be kept of it
            else:
                self.protocol.data_received(data)
            return True
        if self.inbox_ended:
            self.inbox_ended = False
            if not self.protocol.eof_received():
                self.close()
            return True
        return False


class End:
    """The other end of one of our connections, played by the test."""

    def __init__(self, world: World, protocol: Any, *, tls: bool = False, sock: FakeSocket | None = None) -> None:
        self.world = world
        self.protocol = protocol
        self.preface = b""  # of a connection to an upstream: what it was told of the client
        self.sock = sock or FakeSocket()
        self.transport = self.sock.transport = FakeTransport(world, protocol, self.sock, tls=tls)
        world.transports.append(self.transport)
        protocol.connection_made(self.transport)

    def __rshift__(self, data: bytes) -> End:
        """Say ``data``."""
        self.transport.inbox.append(data)
        self.world.settle()
        return self

    def __lshift__(self, expected: bytes) -> End:
        """Have heard exactly ``expected`` since the last look; "*" stands for anything."""
        self.world.settle()
        heard = self.hear()
        pattern = b".*?".join(re.escape(part) for part in expected.split(b"*"))
        assert re.fullmatch(pattern, heard, re.DOTALL), f"heard {heard[:2000]!r}"
        return self

    def hear(self) -> bytes:
        """What came since the last look."""
        heard, self.transport.taken = self.transport.taken, b""
        return heard

    def say(self, *pieces: bytes) -> End:
        """Say ``pieces``, each in a read of its own."""
        for piece in pieces:
            self >> piece
        return self

    def finish(self) -> End:
        """End our side, and still listen."""
        self.transport.inbox_ended = True
        self.world.settle()
        return self

    def vanish(self) -> End:
        """Be gone, by reset."""
        self.transport.lose(ConnectionResetError())
        self.world.settle()
        return self

    def take(self, size: int | None) -> End:
        """Take ``size`` more bytes and then no more; None: everything from now on."""
        self.transport.takes = size
        if not self.transport.lost:
            self.transport.flush()
        self.world.settle()
        return self

    @property
    def saw(self) -> str | None:
        """How we ended the connection: "fin", "reset", or None while it stands."""
        return self.transport.end

    @property
    def is_read(self) -> bool:
        return self.transport.reading


class StagedUpstream(UpstreamConnection):
    """One whose other end has said what a kernel would show to a poll, though nothing has read it."""

    @property
    def is_stale(self) -> bool:
        transport = self._transport
        assert isinstance(transport, FakeTransport)
        return bool(transport.inbox) or transport.inbox_ended or super().is_stale


class StagedPool(UpstreamPool):
    """The pool with its own accounts; the test says when a dial succeeds. By itself it does at once."""

    def __init__(self, world: World, clock: Clock) -> None:
        super().__init__(world.loop, clock, world.site.turn, connect_timeout_s=5.0)
        self.world = world
        self.waiting: list[Dial] = []
        self.connects = True

    def dial(self, dial: Dial) -> Dial:
        self.waiting.append(dial)
        if self.connects:
            self.world.loop.call_soon(self.connect)
        return dial

    def connect(self) -> None:
        """The oldest dial succeeds."""
        dial = self.waiting.pop(0)
        sock = FakeSocket()
        connection = StagedUpstream(dial.endpoints[0], self, sock)
        self.world.upstreams.append(End(self.world, connection, sock=sock))
        self.world.upstream.preface = dial.preface
        if dial.cancelled:
            self.released(connection)
        else:
            dial.ready(connection)

    def refuse(self) -> None:
        """The oldest dial fails for good."""
        dial = self.waiting.pop(0)
        if not dial.cancelled:
            dial.failed()


class StagedThreads:
    """Work is done at once, or where the test holds it, when it says so."""

    def __init__(self) -> None:
        self.holds = False
        self.held: list[tuple[Future[Any], Callable[[], Any]]] = []

    def submit(self, work: Callable[[], Any]) -> Future[Any]:
        self.held.append((Future(), work))
        future = self.held[-1][0]
        if not self.holds:
            self.go_on()
        return future

    def go_on(self) -> None:
        """The oldest work that is held is done."""
        future, work = self.held.pop(0)
        try:
            future.set_result(work())
        except Exception as bug:  # noqa: BLE001 - the future tells
            future.set_exception(bug)


class World:
    """A worker's shared parts, with everything around them dial."""

    def __init__(self, *routes: Route, **changed: Any) -> None:
        self.loop = FakeLoop()
        self.records: list[ExchangeRecord] = []
        self.transports: list[FakeTransport] = []
        self.upstreams: list[End] = []
        self.closed = 0
        self.senders = 0
        self.metrics = Metrics()
        self.site = Site(
            loop=self.loop,
            policy=policy(*routes, **changed),
            log=self,
            metrics=self.metrics,
            instance="test",
            now=self.loop.time,
        )
        self.pool = self.site.pool = StagedPool(self, self.site.clock)
        self.threads = self.site.apart.executor = StagedThreads()  # type: ignore[assignment]

    def write(self, record: ExchangeRecord) -> None:
        """The access log's."""
        self.records.append(record)

    def sender(self, peer: str = "192.0.2.1", *, secure: bool = False) -> End:
        """A new sender."""
        self.senders += 1
        return End(self, ClientConnection(self.site, Peer.of(peer), secure=secure, on_close=self._closed), tls=secure)

    def _closed(self) -> None:
        self.closed += 1

    @property
    def upstream(self) -> End:
        """The upstream's end of the newest connection."""
        return self.upstreams[-1]

    def settle(self) -> None:
        """Let everything happen that can."""
        outer = asyncio._get_running_loop()
        asyncio._set_running_loop(self.loop)
        try:
            for _ in range(100_000):
                if self.loop.ready:
                    self.loop.ready.popleft()()
                elif not sum(transport.deliver() for transport in self.transports):
                    return
        finally:
            asyncio._set_running_loop(outer)
        raise AssertionError("it never comes to rest")

    def later(self, seconds: float) -> None:
        """Let time pass, timer by timer."""
        until = self.loop.now + seconds
        self.settle()
        while timers := [timer for timer in self.loop.timers if timer.when <= until]:
            timer = min(timers, key=lambda one: one.when)
            self.loop.timers.remove(timer)
            self.loop.now = max(self.loop.now, timer.when)
            if not timer.cancelled:
                timer.call()
            self.settle()
        self.loop.now = until

    @property
    def reasons(self) -> list[Reason]:
        """How the exchanges ended, in that order."""
        return [record.reason for record in self.records]

    def abandon(self) -> None:
        """Everybody is gone."""
        for transport in self.transports:
            transport.lose(None)
        for task in list(self.loop.tasks):
            task.cancel()
        self.settle()

    def over(self, *reasons: Reason) -> None:
        """The end: these were the exchanges, and everything was given back. ``reasons`` ends the check by order."""
        self.settle()
        self.abandon()
        assert not self.loop.complaints, self.loop.complaints
        assert tuple(self.reasons) == reasons, self.reasons
        assert self.site.budget.used == 0, self.site.budget.used
        assert self.site.budget.waiting == 0
        assert self.site.spill_space.used == 0
        assert self.site.in_flight == 0
        assert not self.site.outcomes
        assert self.pool.lent_connections() == 0, self.pool.lent_connections()
        assert self.pool.idle_connections() == 0
        assert not self.site.connections
        assert self.closed == self.senders
