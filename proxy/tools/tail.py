"""``tail``: what comes, as it comes, of a running hookward or of an access log, by the search words of the console.

A process is asked over its private sockets, all workers of it, also those that a reload brings; a log is followed
through rotations, as ``tail -F`` does. Nothing of what a sender chose reaches the terminal as anything but text.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections import deque
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

from proxy.config.host import ExitCode, Paint, failed, visible
from proxy.config.parsers import SearchParser
from proxy.core.record import agent_of
from proxy.core.search import FORMS, Query, SearchError, parse_query
from proxy.errors import FlagError
from proxy.net.clock import Clock
from proxy.net.log_formats import clock_text
from proxy.net.private import PrivateEnd, PrivateError, stream
from proxy.tools.running import Running, add_process_flags, running_process

#: How often is looked for workers that have begun since.
LOOK_S = 0.5

Event = dict[str, Any]


def main(argv: Sequence[str]) -> int:
    """Print what comes until it is interrupted, the process has ended, or ``--count`` lines were printed."""
    arguments = build_parser().parse(argv)
    words = " ".join(arguments.words)
    events = _events(arguments, words, _query(words))
    with suppress(KeyboardInterrupt):
        return asyncio.run(_print(events, arguments))
    return ExitCode.OK


def _events(arguments: argparse.Namespace, words: str, query: Query) -> AsyncGenerator[Event, None]:
    """Of what is to be followed. FlagError where there is none."""
    follow = arguments.follow
    if follow is not None and not follow.isdecimal() and not follow.endswith(".sock"):
        if follow != "-" and not Path(follow).is_file():
            mend = "name a PID, a private socket or an access log"
            raise FlagError.of("--follow", f"there is no file {follow[:80]!r}", mend)
        return follow_file(follow, query, last=arguments.lines)
    return _of_process(running_process(arguments), words)


def build_parser() -> SearchParser:
    """The parser of the command."""
    parser = SearchParser(
        prog="hookward tail",
        description="Print what comes, as it comes, of a running hookward or of its access log.",
        epilog=f"Without --follow it is the only hookward that runs. Search words: {FORMS}",
    )
    parser.add_argument("words", metavar="WORD", nargs="*", help="print only what these search words find")
    add_process_flags(parser, metavar="WHAT", follow="a PID, a private socket, or an access log (JSON)")
    parser.add_argument("-n", "--lines", metavar="N", type=int, default=10, help="of a log: begin with its last N [10]")
    parser.add_argument("--count", metavar="N", type=int, default=0, help="end after N exchanges")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--compact", action="store_true", help="one short line each")
    form.add_argument("--json", action="store_true", help="one line of JSON each")
    return parser


def _query(words: str) -> Query:
    try:
        return parse_query(words, Clock.wall())
    except SearchError as error:
        raise FlagError.of(f"column {error.column} of {words!r}", error.what, error.mend) from None


def _shown(event: Event, arguments: argparse.Namespace, paint: Paint) -> str:
    if arguments.json:
        return json.dumps(event)
    if "missed" in event:
        return paint(f"-- {event['missed']} not shown --", "yellow")
    return one_line(event, paint, compact=arguments.compact)


async def _print(events: AsyncGenerator[Event, None], arguments: argparse.Namespace) -> int:
    printed, paint = 0, Paint.on(sys.stdout)
    try:
        async with aclosing(events):
            async for event in events:
                print(_shown(event, arguments, paint), flush=True)
                printed += "missed" not in event
                if arguments.count and printed >= arguments.count:
                    break
    except PrivateError as error:
        return failed("tail", error)
    return ExitCode.OK


# -- of a process


async def _of_process(running: Running, words: str) -> AsyncGenerator[Event, None]:
    """What comes at all workers, until there is none left."""
    events: asyncio.Queue[Event | PrivateError] = asyncio.Queue(1000)
    readers: dict[str, asyncio.Task[None]] = {}
    loop = asyncio.get_running_loop()
    try:
        while True:
            for end in running.ends():
                if end.path not in readers:
                    readers[end.path] = loop.create_task(_read(end, words, events))
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    event = await events.get()
                if isinstance(event, PrivateError):
                    raise event
                yield event
            if all(reader.done() for reader in readers.values()) and events.empty() and not running.ends():
                return
    finally:
        for reader in readers.values():
            reader.cancel()
        await asyncio.gather(*readers.values(), return_exceptions=True)


async def _read(end: PrivateEnd, words: str, events: asyncio.Queue[Event | PrivateError]) -> None:
    """The events of one worker."""
    rest = b""
    try:
        async with aclosing(stream(end, "POST", "/console/stream", {"query": words, "since": None})) as pieces:
            async for piece in pieces:
                *lines, rest = (rest + piece).split(b"\n")
                for line in lines:
                    event = json.loads(line)
                    if "delivery" in event:
                        await events.put(json.loads(event["delivery"]))
                    elif "missed" in event:
                        await events.put(event)
    except PrivateError as error:
        if error.status:
            await events.put(error)


_STYLES = {"admitted": "green", "observed": "yellow", "refused": "red"}
_MARKS = {"admitted": "ok", "observed": "??", "refused": "NO"}
#: Field -> what stands before it, where there is something in it.
_DETAILS = {"detail": "", "route": "route=", "event": "event=", "delivery_id": "id=", "client": "from="}
_DETAILS |= {"secret": "secret=", "agent": "agent=", "replay_of": "replay of "}
_MAX_TEXT = 120


def one_line(event: Mapping[str, Any], paint: Paint, *, compact: bool) -> str:
    """The line of one event (the ``Summary`` of the API); a cause that is known stands in a second one."""
    verdict = str(event.get("verdict", ""))
    when = paint(clock_text(_number(event, "time")), "dim")
    mark = paint(_MARKS.get(verdict, "--"), _STYLES.get(verdict, "dim"))
    status = str(event.get("status") or "-").rjust(3)
    reason = _text(event, "reason")
    if compact:
        return " ".join(part for part in (when, mark, status, _text(event, "route") or "-", reason) if part)
    what = f"{_text(event, 'method')} {_text(event, 'path')}".strip() or "-"
    took = f"{_number(event, 'duration_s') * 1000:.0f} ms"
    told = " ".join(f"{label}{text}" for name, label in _DETAILS.items() if (text := _text(event, name)))
    size = f"{event.get('size', 0)} B"
    line = f"{when} {mark} {status} {paint(reason, 'bold')} {what} {told} {paint(f'{size} {took}', 'dim')}"
    why = " ".join(part for part in (_text(event, "why", 500), _text(event, "mend", 500)) if part)
    return f"{line}\n    {why}" if why else line


def _number(event: Mapping[str, Any], name: str) -> float:
    return float(event.get(name) or 0.0)


def _text(event: Mapping[str, Any], name: str, most: int = _MAX_TEXT) -> str:
    """What a sender may have chosen, as text that drives no terminal and begins no line."""
    value = event.get(name)
    return "" if value is None else visible(str(value)[:most]).replace("\n", "\\n")


#: How often is looked whether there is more.
FILE_LOOK_S = 0.2
#: A longer line is none of ours.
MAX_LINE = 1 << 20

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


def _found(line: bytes, query: Query) -> Event | None:
    """The event of a line, where it matches."""
    event = event_of(line)
    return event if event is not None and query.matches({**event, "ip": event["client"]}) else None


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
        if now is not None and _begins_anew(now, at, position):
            at, position = now, 0
        elif now is not None and now.st_size > position:
            found: deque[Event] = deque()
            with _open(path) as file:
                file.seek(position)
                rest = _take(file, b"", query, found)
                position = file.tell() - len(rest)
            for event in found:
                yield event
        await asyncio.sleep(FILE_LOOK_S)


def _begins_anew(now: os.stat_result, at: os.stat_result, position: int) -> bool:
    """Whether the log was rotated, or cut, since it was read to ``position``."""
    return (now.st_dev, now.st_ino) != (at.st_dev, at.st_ino) or now.st_size < position


async def _of_input(query: Query) -> AsyncGenerator[Event, None]:
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.buffer.readline, MAX_LINE):
        if (event := _found(line, query)) is not None:
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
        into += filter(None, (_found(line, query) for line in lines))
        rest = b"" if len(rest) > MAX_LINE else rest
    return rest
