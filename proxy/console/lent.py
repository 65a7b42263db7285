"""What looks on at a worker over its private socket: lines of JSON, as long as it reads them.

``hookward tail`` must work on any process. Where no console is configured, the first that looks on has a small capture
made, and the last one that leaves takes it away: no exchange does more while nothing looks.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing

from proxy.config.endpoints import ListenAddress
from proxy.config.settings import ConsoleSettings
from proxy.console.capture import Capture
from proxy.console.desk import Desk
from proxy.core.search import SearchError, parse_query
from proxy.net.http_server import JSON, TEXT, Answer, Request
from proxy.net.site import Site

#: Of what came before nothing is asked; deliveries are only passed on.
SETTINGS = ConsoleSettings(ListenAddress(), keep=1, keep_bytes=1 << 20)


def stream_of(desk: Desk, request: Request) -> Answer:
    """The events of one worker (``Desk.stream``), a line each. Asked with ``query`` and ``since``."""
    return _refusal(desk.capture, request, desk.now) or Answer(200, JSON, stream=_lines(desk, request))


def stream_without_console(site: Site, request: Request) -> Answer:
    """The same of a worker that has none."""

    async def lent() -> AsyncGenerator[bytes, None]:
        capture = site.capture
        if not isinstance(capture, Capture):
            capture = site.capture = Capture(SETTINGS, site)
        desk = Desk(capture, site)
        try:
            async with aclosing(_lines(desk, request)) as lines:
                async for line in lines:
                    yield line
        finally:
            desk.close()
            if not capture.viewers and site.capture is capture:
                site.capture = None

    capture = site.capture if isinstance(site.capture, Capture) else None
    return _refusal(capture, request, site.clock.wall()) or Answer(200, JSON, stream=lent())


def _refusal(capture: Capture | None, request: Request, now: float) -> Answer | None:
    """Why nothing is told; None where it is. ``now`` is in seconds since the epoch."""
    try:
        parse_query(_query(request), now)
    except SearchError as error:
        return Answer(400, TEXT, str(error).encode())
    if capture is not None and not capture.has_room:
        return Answer(503, TEXT, b"too many streams are open already\n")
    return None


async def _lines(desk: Desk, request: Request) -> AsyncGenerator[bytes, None]:
    since = json.loads(request.content).get("since")
    positions = None if since is None else int(since.get(desk.capture.tag, 0))
    async with aclosing(desk.stream(desk.read(_query(request)), positions)) as events:
        async for event in events:
            yield json.dumps(event).encode("ascii") + b"\n"


def _query(request: Request) -> str:
    return str(json.loads(request.content).get("query", ""))
