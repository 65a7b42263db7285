"""The admin listener: ``/livez``, ``/readyz``, ``/metrics`` and ``/status``, for those who run hookward.

It is never on a public port. One request per connection, within a few seconds and a few KiB. The Host must name this
host: a web page that its author lets resolve to 127.0.0.1 (DNS rebinding) gets nothing, and neither does a page of
another origin. There is no command here that changes anything. It never knows a secret or a sender.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import Coroutine, Iterator
from ipaddress import ip_address
from typing import Protocol, cast
from urllib.parse import parse_qs

from proxy.core.exposition import CONTENT_TYPE, OPEN_METRICS_TYPE
from proxy.core.request_head import HeadLimits, read_request_head
from proxy.errors import ProtocolError
from proxy.http1 import RequestHead, phrase_of, write_response_head

HEAD_LIMITS = HeadLimits(max_head=8192, max_target=1024, max_fields=50)
#: A request that is not here after this many seconds does not come.
REQUEST_TIMEOUT_S = 5.0
#: Probes and a scraper or two. Who comes when there are so many takes the place of the one that has said nothing for
#: longest, so that silent connections keep no probe out.
MAX_CONNECTIONS = 64

#: What readiness is made of. A probe may leave some of it out, as at the API server of Kubernetes:
#: ``/readyz?exclude=upstream``.
PARTS = ("draining", "listener", "upstream")

TEXT = b"text/plain; charset=utf-8"
JSON = b"application/json"

#: Gives status, kind and content.
Page = Coroutine[None, None, tuple[int, bytes, bytes]]


class Status(Protocol):
    """What is asked of the worker."""

    def not_ready(self) -> dict[str, str]:
        """Why no delivery can be taken now, a line for each part (of PARTS); empty when all is well."""

    async def expose(self) -> bytes:
        """The metrics in Prometheus' text format. Raises TimeoutError where other workers had to be asked in vain."""

    async def expose_open_metrics(self) -> bytes:
        """The same in OpenMetrics' text format."""

    async def describe(self) -> dict[str, object]:
        """The configuration in force and the state of the parts, for JSON. Raises TimeoutError likewise."""


class AdminServer:
    """The listener and its connections."""

    def __init__(self, status: Status, hosts: frozenset[str] = frozenset()) -> None:
        """``hosts`` are names (lower case) the admin listener answers to, besides those of loopback."""
        self.status = status
        self.hosts = hosts
        self.connections: dict[AdminConnection, None] = {}  # in the order in which they came
        self._servers: list[asyncio.Server] = []

    async def listen(self, sock: socket.socket) -> None:
        """Serve on a bound socket, which is closed with the server."""
        loop = asyncio.get_running_loop()
        self._servers.append(await loop.create_server(lambda: AdminConnection(self, loop), sock=sock))

    def leave(self) -> None:
        """Stop listening; requests that are here already are answered."""
        for server in self._servers:
            server.close()

    def close(self) -> None:
        """Stop listening and drop what is open."""
        self.leave()
        for connection in list(self.connections):
            connection.abort()


class AdminConnection(asyncio.Protocol):
    """One request and its answer."""

    def __init__(self, server: AdminServer, loop: asyncio.AbstractEventLoop) -> None:
        self._server = server
        self._loop = loop
        self._buffer = b""
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._page: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, unless there are too many."""
        self._transport = cast("asyncio.Transport", transport)
        connections = self._server.connections
        if len(connections) >= MAX_CONNECTIONS:
            silent = next((one for one in connections if one.is_silent), self)
            connections.pop(silent, None)
            silent.abort()
            if silent is self:
                return
        connections[self] = None
        self._timer = self._loop.call_later(REQUEST_TIMEOUT_S, self.abort)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the reason changes nothing
        """Forget it."""
        self._server.connections.pop(self, None)
        if self._timer is not None:
            self._timer.cancel()
        if self._page is not None:
            self._page.cancel()

    @property
    def is_silent(self) -> bool:
        """Whether no request has come yet."""
        return self._page is None

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Read a head; answer when it is whole or cannot become good."""
        if self._transport is None or self._transport.is_closing() or self._page is not None:
            return
        self._buffer += data
        try:
            found = read_request_head(self._buffer, HEAD_LIMITS)
        except ProtocolError as error:
            self._answer(error.reason.status or 400, TEXT, f"{error.reason.word}\n".encode())
            return
        if found is not None:
            self._respond(found[0])

    def _respond(self, head: RequestHead) -> None:
        without_content = head.method == b"HEAD"
        if not self._is_for_us(head.host):
            self._answer(403, TEXT, b"host_refused\n", without_content=without_content)
        elif not is_own_origin(head):
            self._answer(403, TEXT, b"origin_refused\n", without_content=without_content)
        elif head.path not in _PAGES:
            self._answer(404, TEXT, b"not_found\n", without_content=without_content)
        elif head.method not in (b"GET", b"HEAD"):
            self._answer(405, TEXT, b"method_not_allowed\n", allow=True)
        else:
            page = _PAGES[head.path](self._server.status, head)
            self._page = self._loop.create_task(self._show(page, without_content=without_content))

    async def _show(self, page: Page, *, without_content: bool) -> None:
        try:
            status, kind, content = await page
        except TimeoutError:
            status, kind, content = 503, TEXT, b"workers_silent\n"
        if self._transport is not None and not self._transport.is_closing():
            self._answer(status, kind, content, without_content=without_content)

    def _is_for_us(self, host: bytes) -> bool:
        assert self._transport is not None
        here = self._transport.get_extra_info("sockname")
        if not isinstance(here, tuple):
            return True  # a unix socket: no browser reaches it
        name = host.decode("latin-1").lower()
        name = name[1:].partition("]")[0] if name.startswith("[") else name.partition(":")[0]
        name = name.removesuffix(".")
        if not name or name == "localhost" or name.endswith(".localhost") or name in self._server.hosts:
            return True
        with contextlib.suppress(ValueError):
            address = ip_address(name)
            return address.is_loopback or str(address) == here[0]
        return False

    def _answer(
        self, status: int, kind: bytes, content: bytes, *, without_content: bool = False, allow: bool = False
    ) -> None:
        assert self._transport is not None
        fields = [
            (b"Content-Type", kind),
            (b"Content-Length", b"%d" % len(content)),
            (b"Cache-Control", b"no-store"),
            (b"X-Content-Type-Options", b"nosniff"),
            (b"Connection", b"close"),
        ]
        if allow:
            fields.append((b"Allow", b"GET, HEAD"))
        self._transport.write(write_response_head(status, phrase_of(status), fields))
        if not without_content:
            self._transport.write(content)
        self._transport.close()


def is_own_origin(head: RequestHead) -> bool:
    """Whether no web page asks, or one that came from here: with an Origin whose authority is the Host."""
    origin = head.get(b"origin")
    return origin is None or origin.partition(b"://")[2].lower() == head.host.lower() != b""


def prefers_open_metrics(accept: bytes) -> bool:
    """Whether an ``Accept`` value wants OpenMetrics at least as much as the older text."""
    wanted = dict(_weights(accept))
    return wanted.get(b"application/openmetrics-text", 0.0) >= max(wanted.get(b"text/plain", 0.0), 1e-9)


def _weights(accept: bytes) -> Iterator[tuple[bytes, float]]:
    """Media types and their weights (RFC 9110 section 12.5.1); a weight that is none counts as 0."""
    for part in accept.lower().split(b","):
        kind, *parameters = (piece.strip() for piece in part.split(b";"))
        weight = 1.0
        for parameter in parameters:
            if parameter.startswith(b"q="):
                try:
                    weight = float(parameter[2:])
                except ValueError:
                    weight = 0.0
        yield kind, weight


async def _livez(_status: Status, _head: RequestHead) -> tuple[int, bytes, bytes]:
    return 200, TEXT, b"alive\n"


async def _readyz(status: Status, head: RequestHead) -> tuple[int, bytes, bytes]:
    left_out = parse_qs((head.query or b"").decode("latin-1"), keep_blank_values=True).get("exclude", [])
    if not set(left_out) <= set(PARTS):
        # Ignored, a misspelt name would make of a probe another one than its author thinks.
        return 400, TEXT, f"exclude knows {', '.join(PARTS)}\n".encode()
    missing = [line for part, line in status.not_ready().items() if part not in left_out]
    if missing:
        return 503, TEXT, "".join(f"not ready: {line}\n" for line in missing).encode("utf-8", "replace")
    return 200, TEXT, b"ready\n"


async def _metrics(status: Status, head: RequestHead) -> tuple[int, bytes, bytes]:
    if prefers_open_metrics(head.get(b"accept") or b""):
        return 200, OPEN_METRICS_TYPE, await status.expose_open_metrics()
    return 200, CONTENT_TYPE, await status.expose()


async def _status(status: Status, _head: RequestHead) -> tuple[int, bytes, bytes]:
    return 200, JSON, json.dumps(await status.describe(), indent=1).encode("ascii") + b"\n"


_PAGES = {b"/livez": _livez, b"/readyz": _readyz, b"/metrics": _metrics, b"/status": _status}
