"""A small HTTP/1.1 server for our own listeners: admin, the console, and the private socket of each worker.

One request per connection, within a few seconds and a bounded size; the answer is written whole, or piece by piece as
its stream gives them and the other end takes them. What answers is given: this module knows no page, no credential and
no secret. It is not for strangers: what comes from the network is ``net.client``'s.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import ssl
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping, Sequence
from dataclasses import field, replace
from ipaddress import ip_address
from typing import Generic, TypeAlias, TypeVar, cast
from urllib.parse import parse_qsl, unquote

from proxy.core.request_head import HeadLimits, read_request_head
from proxy.errors import ProtocolError
from proxy.http1 import CONTINUE, Framing, RequestHead, phrase_of, write_response_head
from proxy.net.sockets import peer_process
from proxy.values import frozen

HEAD_LIMITS = HeadLimits(max_head=8192, max_target=4096, max_fields=50)
#: A request that is not here after this many seconds does not come.
REQUEST_TIMEOUT_S = 5.0
#: The other end of an answer that has taken nothing for so long is cut.
STALLED_S = 30.0
#: One more takes the place of the oldest for which no handler is at work, so that silent connections keep no probe out.
MAX_CONNECTIONS = 64

TEXT = b"text/plain; charset=utf-8"
JSON = b"application/json"
T = TypeVar("T")
#: struct ucred of unix(7): pid, uid, gid.


@frozen
class Caller:
    """The other end of a connection: its address, or of a unix socket the user and process there (Linux tells)."""

    address: str
    uid: int | None = None
    pid: int | None = None

    def __str__(self) -> str:
        return self.address if self.uid is None else f"uid {self.uid} (pid {self.pid})"


@frozen
class Request:
    """One request, whole. ``here`` is the address of the listener, None of a unix socket."""

    head: RequestHead
    content: bytes
    caller: Caller
    here: str | None
    secure: bool = False
    params: Mapping[str, str] = field(default_factory=dict)  # of the path that was matched

    @property
    def query(self) -> dict[str, str]:
        """The parameters of the query; of one that comes twice, the last."""
        return dict(parse_qsl((self.head.query or b"").decode("latin-1"), keep_blank_values=True))


@frozen
class Answer:
    """What is answered. With a ``stream``, its pieces follow until it ends, and ``content`` is empty."""

    status: int
    kind: bytes = TEXT
    content: bytes = b""
    fields: Sequence[tuple[bytes, bytes]] = ()
    stream: AsyncGenerator[bytes, None] | None = None


Answering: TypeAlias = Answer | Coroutine[None, None, Answer]
Handler: TypeAlias = Callable[[Request], Answering]


#: In bytes, of a request whose content has not come yet.
ContentBound: TypeAlias = Callable[[Request], int]


class HttpServer:
    """A listener and its connections. ``max_content``: how much of a request is read before ``respond`` is asked."""

    def __init__(self, respond: Handler, *, max_content: ContentBound = lambda _: 1024) -> None:
        self.respond = respond
        self.max_content = max_content
        self.connections: dict[HttpConnection, None] = {}  # in the order in which they came
        self._servers: list[asyncio.Server] = []

    async def listen(self, sock: socket.socket, tls: ssl.SSLContext | None = None) -> None:
        """Serve on a bound socket, which is closed with the server."""
        loop = asyncio.get_running_loop()
        self._servers.append(await loop.create_server(lambda: HttpConnection(self, loop), sock=sock, ssl=tls))

    def leave(self) -> None:
        """Stop listening; requests that are here already are answered."""
        for server in self._servers:
            server.close()

    def close(self) -> None:
        """Stop listening and drop what is open."""
        self.leave()
        for connection in list(self.connections):
            connection.abort()


class HttpConnection(asyncio.Protocol):
    """One request and its answer."""

    def __init__(self, server: HttpServer, loop: asyncio.AbstractEventLoop) -> None:
        self._server = server
        self._loop = loop
        self._buffer = bytearray()
        self._head: RequestHead | None = None  # once it is here whole
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._answering: asyncio.Task[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, unless there are too many."""
        self._transport = cast("asyncio.Transport", transport)
        connections = self._server.connections
        if len(connections) >= MAX_CONNECTIONS:
            idle = next((one for one in connections if one.is_idle), self)
            connections.pop(idle, None)
            idle.abort()
            if idle is self:
                return
        connections[self] = None
        self._end_in(REQUEST_TIMEOUT_S)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        del exc
        self._server.connections.pop(self, None)
        self._untimed()
        if self._answering is not None:
            self._answering.cancel()

    def pause_writing(self) -> None:
        """The other end is slower than its stream."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """It has caught up."""
        self._writable.set()

    @property
    def is_idle(self) -> bool:
        """Whether no handler is at work for it: no request has come yet, or its answer waits to be taken."""
        return self._answering is None or self._answering.done()

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Read a head and its content; answer when they are whole or cannot become good."""
        if self._transport is None or self._transport.is_closing() or self._answering is not None:
            return
        self._buffer += data
        try:
            if self._head is None and not self._read_head():
                return
        except ProtocolError as error:
            self._write(Answer(error.reason.status or 400, TEXT, f"{error.reason.word}\n".encode()))
            return
        assert self._head is not None
        wanted = self._head.content_length or 0
        if len(self._buffer) >= wanted and not self._transport.is_closing():
            self._respond(self._request(self._head, bytes(self._buffer[:wanted])))

    def _read_head(self) -> bool:
        found = read_request_head(bytes(self._buffer), HEAD_LIMITS)
        if found is None:
            return False
        self._head, end = found
        del self._buffer[:end]
        length = self._head.content_length
        if self._head.framing is Framing.CHUNKED:
            self._write(Answer(411, TEXT, b"length_required\n"))
        elif length and length > self._server.max_content(self._request(self._head)):
            self._write(Answer(413, TEXT, b"body_too_large\n"))
        elif self._head.expect_continue and self._transport is not None:
            self._transport.write(CONTINUE)
        return True

    def _request(self, head: RequestHead, content: bytes = b"") -> Request:
        assert self._transport is not None
        here = self._transport.get_extra_info("sockname")
        return Request(
            head,
            content,
            caller_of(self._transport),
            here[0] if isinstance(here, tuple) else None,
            self._transport.get_extra_info("sslcontext") is not None,
        )

    def _respond(self, request: Request) -> None:
        found = self._server.respond(request)
        if isinstance(found, Answer) and found.stream is None:
            self._write(found)
        else:
            self._untimed()  # the request is here; how long its answer may take is the handler's to say
            self._answering = self._loop.create_task(self._answer(found))

    async def _answer(self, found: Answering) -> None:
        try:
            answer = found if isinstance(found, Answer) else await found
        except Exception as error:  # noqa: BLE001 - told to the loop, as of any task
            self._loop.call_exception_handler({"message": "an answer of ours failed", "exception": error})
            answer = Answer(500, TEXT, b"internal_error\n")
        if self._transport is not None and not self._transport.is_closing():
            self._write(answer)
            if answer.stream is not None:
                await self._pass_on(answer.stream)

    async def _pass_on(self, stream: AsyncGenerator[bytes, None]) -> None:
        assert self._transport is not None
        try:
            async with contextlib.aclosing(stream):
                async for piece in stream:
                    self._transport.write(piece)
                    async with asyncio.timeout(STALLED_S):
                        await self._writable.wait()
        except TimeoutError:
            self.abort()
        else:
            self._transport.close()

    def _write(self, answer: Answer) -> None:
        assert self._transport is not None
        fields = [
            (b"Content-Type", answer.kind),
            (b"Cache-Control", b"no-store"),
            (b"X-Content-Type-Options", b"nosniff"),
            (b"Connection", b"close"),
            *answer.fields,
        ]
        if answer.stream is None:
            fields.insert(1, (b"Content-Length", b"%d" % len(answer.content)))
        self._transport.write(write_response_head(answer.status, phrase_of(answer.status), fields))
        if self._head is None or self._head.method != b"HEAD":
            self._transport.write(answer.content)
        if answer.stream is None:
            self._transport.close()
            self._end_in(STALLED_S)

    def _end_in(self, seconds: float) -> None:
        self._untimed()
        self._timer = self._loop.call_later(seconds, self.abort)

    def _untimed(self) -> None:
        if self._timer is not None:
            self._timer.cancel()


def caller_of(transport: asyncio.BaseTransport) -> Caller:
    """What is at the other end of a connection."""
    peer = transport.get_extra_info("peername")
    if isinstance(peer, tuple):
        return Caller(str(peer[0]))
    sock = transport.get_extra_info("socket")
    with contextlib.suppress(OSError):
        if sock is not None and (found := peer_process(sock)) is not None:
            return Caller("unix:", found[1], found[0])
    return Caller("unix:")


class Places(Generic[T]):
    """The table of what a server answers: ``GET /queue/{id}``, and what answers there. Parts add their own."""

    def __init__(self, table: Mapping[str, T]) -> None:
        self.table: dict[str, T] = {}
        self._patterns: dict[bytes, list[tuple[re.Pattern[str], T]]] = {}
        for place, handler in table.items():
            self.add(place, handler)

    def add(self, place: str, handler: T) -> None:
        """Answer at one more place."""
        method, path = place.split(" ")
        pieces = (f"(?P<{piece[1:-1]}>[^/]+)" if piece[:1] == "{" else re.escape(piece) for piece in path.split("/"))
        self.table[place] = handler
        self._patterns.setdefault(method.encode(), []).append((re.compile("/".join(pieces)), handler))

    def find(self, request: Request) -> Answer | tuple[T, Request]:
        """What answers a request, and it with the parameters of its path; else a 404, or a 405."""
        path = request.head.path.decode("latin-1")
        asked = b"GET" if request.head.method == b"HEAD" else request.head.method
        for pattern, handler in self._patterns.get(asked, ()):
            if found := pattern.fullmatch(path):
                return handler, replace(
                    request, params={name: unquote(each) for name, each in found.groupdict().items()}
                )
        others = [method for method, known in self._patterns.items() if any(each.fullmatch(path) for each, _ in known)]
        if not others:
            return Answer(404, TEXT, b"not_found\n")
        allow = b", ".join([b"GET, HEAD" if each == b"GET" else each for each in others])
        return Answer(405, TEXT, b"method_not_allowed\n", [(b"Allow", allow)])


class Paths(Places[Handler]):
    """A table whose handlers are given the request alone."""

    def respond(self, request: Request) -> Answering:
        """Find the handler and ask it."""
        found = self.find(request)
        return found if isinstance(found, Answer) else found[0](found[1])


# -- what a browser may be made to ask


def names_us(request: Request, hosts: frozenset[str]) -> bool:
    """Whether the Host is a name of loopback, the listener's own address or one of ``hosts`` (lower case). A page whose
    author lets its name resolve to 127.0.0.1 (DNS rebinding) asks with that name.
    """
    if request.here is None:
        return True  # a unix socket: no browser reaches it
    name = request.head.host.decode("latin-1").lower()
    name = name[1:].partition("]")[0] if name.startswith("[") else name.partition(":")[0]
    name = name.removesuffix(".")
    if not name or name == "localhost" or name.endswith(".localhost") or name in hosts:
        return True
    with contextlib.suppress(ValueError):
        address = ip_address(name)
        return address.is_loopback or str(address) == request.here
    return False


def is_own_origin(head: RequestHead) -> bool:
    """Whether no web page asks, or one that came from here: with an Origin whose authority is the Host."""
    origin = head.get(b"origin")
    return origin is None or origin.partition(b"://")[2].lower() == head.host.lower() != b""
