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
from proxy.console.capture import MAX_VIEWERS, Capture
from proxy.console.desk import Desk
from proxy.core.search import SearchError, parse_query
from proxy.net.http_server import JSON, TEXT, Answer, Request
from proxy.net.site import Site

#: Of what came before nothing is asked; deliveries are only passed on.
SETTINGS = ConsoleSettings(ListenAddress(), keep=1, keep_bytes=1 << 20)


def stream_of(desk: Desk, request: Request) -> Answer:
    """The events of one worker (``Desk.stream``), a line each. Asked with ``query`` and ``since``."""
    asked = json.loads(request.content)
    try:
        query = desk.read(str(asked.get("query", "")))
    except SearchError as error:
        return Answer(400, TEXT, str(error).encode())
    if len(desk.capture.viewers) >= MAX_VIEWERS:
        return Answer(503, TEXT, b"too many streams are open already\n")
    since = asked.get("since")

    async def lines() -> AsyncGenerator[bytes, None]:
        positions = None if since is None else int(since.get(desk.capture.tag, 0))
        async with aclosing(desk.stream(query, positions)) as events:
            async for event in events:
                yield json.dumps(event).encode("ascii") + b"\n"

    return Answer(200, JSON, stream=lines())


def stream_without_console(site: Site, request: Request) -> Answer:
    """The same of a worker that has none."""
    try:
        parse_query(str(json.loads(request.content).get("query", "")), site.clock.wall())
    except SearchError as error:
        return Answer(400, TEXT, str(error).encode())

    async def lent() -> AsyncGenerator[bytes, None]:
        capture = site.capture
        if not isinstance(capture, Capture):
            capture = site.capture = Capture(SETTINGS, site)
        desk = Desk(capture, site)
        try:
            lines = stream_of(desk, request).stream
            if lines is not None:
                async with aclosing(lines):
                    async for line in lines:
                        yield line
        finally:
            desk.close()
            if not capture.viewers and site.capture is capture:
                site.capture = None

    return Answer(200, JSON, stream=lent())
