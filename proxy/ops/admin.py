"""The admin listener: ``/livez``, ``/readyz``, ``/metrics`` and ``/status``, for those who run hookward.

It is never on a public port. The Host must name this host: a web page that its author lets resolve to 127.0.0.1 (DNS
rebinding) gets nothing, and neither does a page of another origin. There is no command here that changes anything. It
never knows a secret or a sender.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Iterator
from typing import Protocol
from urllib.parse import parse_qs

from proxy.core.metrics import CONTENT_TYPE, OPEN_METRICS_TYPE
from proxy.net.http_server import JSON, TEXT, Answer, Answering, HttpServer, Paths, Request, is_own_origin, names_us

#: What readiness is made of. A probe may leave some of it out, as at the API server of Kubernetes:
#: ``/readyz?exclude=upstream``.
PARTS = ("draining", "listener", "relay", "upstream", "queue")

#: Gives status, kind and content.
Page = Callable[["Status", Request], Coroutine[None, None, Answer]]


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


class AdminServer(HttpServer):
    """The listener and its connections."""

    def __init__(self, status: Status, hosts: frozenset[str] = frozenset()) -> None:
        """``hosts`` are names (lower case) the admin listener answers to, besides those of loopback."""
        super().__init__(self._judge)
        self._hosts = hosts
        self._pages = Paths({place: _shown(status, page) for place, page in _PAGES.items()})

    def _judge(self, request: Request) -> Answering:
        if not names_us(request, self._hosts):
            return Answer(403, TEXT, b"host_refused\n")
        if not is_own_origin(request.head):
            return Answer(403, TEXT, b"origin_refused\n")
        return self._pages.respond(request)


def _shown(status: Status, page: Page) -> Callable[[Request], Answering]:
    async def show(request: Request) -> Answer:
        try:
            return await page(status, request)
        except TimeoutError:
            return Answer(503, TEXT, b"workers_silent\n")

    return show


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


async def _livez(_status: Status, _request: Request) -> Answer:
    return Answer(200, TEXT, b"alive\n")


async def _readyz(status: Status, request: Request) -> Answer:
    left_out = parse_qs((request.head.query or b"").decode("latin-1"), keep_blank_values=True).get("exclude", [])
    if not set(left_out) <= set(PARTS):
        # Ignored, a misspelt name would make of a probe another one than its author thinks.
        return Answer(400, TEXT, f"exclude knows {', '.join(PARTS)}\n".encode())
    missing = [line for part, line in status.not_ready().items() if part not in left_out]
    if missing:
        return Answer(503, TEXT, "".join(f"not ready: {line}\n" for line in missing).encode("utf-8", "replace"))
    return Answer(200, TEXT, b"ready\n")


async def _metrics(status: Status, request: Request) -> Answer:
    if prefers_open_metrics(request.head.get(b"accept") or b""):
        return Answer(200, OPEN_METRICS_TYPE, await status.expose_open_metrics())
    return Answer(200, CONTENT_TYPE, await status.expose())


async def _status(status: Status, _request: Request) -> Answer:
    return Answer(200, JSON, json.dumps(await status.describe(), indent=1).encode("ascii") + b"\n")


_PAGES = {"GET /livez": _livez, "GET /readyz": _readyz, "GET /metrics": _metrics, "GET /status": _status}
