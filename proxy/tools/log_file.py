"""An access log as it grows: its lines of JSON as events, through rotations, as ``tail -F`` has them."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections import deque
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any, BinaryIO

from proxy.core.record import agent_of
from proxy.core.search import Query

#: How often is looked whether there is more.
LOOK_S = 0.2
#: A longer line is none of ours.
MAX_LINE = 1 << 20

Event = dict[str, Any]

#: Names of the log (OpenTelemetry's, and Elastic's where they are others), and those of events.
_NAMES: Mapping[str, tuple[str, ...]] = {
    "request_id": ("http.request.id",),
    "route": ("http.route",),
    "provider": ("webhook.provider",),
    "event": ("webhook.event", "event.action"),
    "delivery_id": ("webhook.delivery_id",),
    "verdict": ("webhook.verdict",),
    "reason": ("webhook.reason", "event.reason"),
    "detail": ("webhook.detail",),
    "diagnosis": ("webhook.cause",),
    "why": ("webhook.why",),
    "mend": ("webhook.mend",),
    "observed": ("webhook.observed_reason",),
    "status": ("http.response.status_code",),
    "method": ("http.request.method",),
    "path": ("url.path",),
    "host": ("server.address", "url.domain"),
    "client": ("client.address",),
    "peer": ("network.peer.address", "source.address"),
    "secret": ("webhook.secret_name",),
    "upstream": ("hookward.upstream.address",),
    "user_agent": ("user_agent.original",),
    "size": ("http.request.body.size", "http.request.body.bytes"),
    "duration_s": ("http.server.request.duration",),
    "upstream_duration_s": ("hookward.upstream.duration",),
}


def event_of(line: bytes) -> Event | None:
    """The event of a line of the log; None for lines that are none of an exchange."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or not ({"webhook.reason", "event.reason"} & found.keys()):
        return None
    event = {name: next((found[key] for key in keys if key in found), None) for name, keys in _NAMES.items()}
    ended = _seconds(found.get("timestamp") or found.get("@timestamp"))
    took = event["duration_s"] if isinstance(event["duration_s"], int | float) else 0.0
    return {**event, "agent": agent_of(str(event["upstream"] or "")), "time": ended - took}


def _seconds(value: object) -> float:
    with suppress(ValueError, OverflowError):
        return datetime.fromisoformat(str(value)).timestamp()
    return 0.0


def _found(event: Event | None, query: Query) -> bool:
    if event is None:
        return False
    return query.matches({**event, "id": event["delivery_id"] or event["request_id"], "ip": event["client"]})


async def follow_file(path: str, query: Query, *, last: int) -> AsyncGenerator[Event, None]:
    """The last events of a log that match, and those that come; "-" is standard input, and ends with it."""
    if path == "-":
        async for event in _of_input(query):
            yield event
        return
    with _open(path) as file:
        begins: deque[Event] = deque(maxlen=max(last, 0))
        rest = _take(file, b"", query, begins)
        # Of what was read, not of what the name has now: it grows meanwhile.
        at, position = os.fstat(file.fileno()), file.tell() - len(rest)
    for event in begins:
        yield event
    while True:
        now = _look(path)
        if now is not None and ((now.st_dev, now.st_ino) != (at.st_dev, at.st_ino) or now.st_size < position):
            at, position = now, 0  # it was rotated, or cut
        elif now is not None and now.st_size > position:
            found: deque[Event] = deque()
            with _open(path) as file:
                file.seek(position)
                rest = _take(file, b"", query, found)
                position = file.tell() - len(rest)
            for event in found:
                yield event
        await asyncio.sleep(LOOK_S)


async def _of_input(query: Query) -> AsyncGenerator[Event, None]:
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.buffer.readline, MAX_LINE):
        event = event_of(line)
        if event is not None and _found(event, query):
            yield event


def _open(path: str) -> BinaryIO:
    return open(path, "rb")  # noqa: PTH123 - its caller closes it


def _look(path: str) -> os.stat_result | None:
    with suppress(OSError):
        return os.stat(path)  # noqa: PTH116 - numbers
    return None


def _take(file: BinaryIO, rest: bytes, query: Query, into: deque[Event]) -> bytes:
    """Read to the end; gives what follows the last end of a line."""
    while piece := file.read(1 << 20):
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            event = event_of(line)
            if event is not None and _found(event, query):
                into.append(event)
        if len(rest) > MAX_LINE:
            rest = b""
    return rest
