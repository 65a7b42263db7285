"""``tail``: what comes, as it comes, of a running hookward or of an access log, by the search words of the console.

A process is asked over its private sockets, all workers of it, also those that a reload brings. Nothing of what a
sender chose reaches the terminal as anything but text.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any

from proxy.config.commandline import ExitCode, Paint, Parser
from proxy.config.flags import FlagError
from proxy.core.search import FORMS, Query, SearchError, parse_query
from proxy.errors import Problem
from proxy.net.clock import Clock
from proxy.net.private import PrivateEnd, PrivateError, stream
from proxy.tools.log_file import follow_file
from proxy.tools.running import Running, running_process
from proxy.tools.told import one_line

#: How often is looked for workers that have begun since.
LOOK_S = 0.5

Event = dict[str, Any]


def main(argv: Sequence[str]) -> int:
    """Print what comes until it is interrupted, the process has ended, or ``--count`` lines were printed."""
    arguments = build_parser().parse_intermixed_args(argv)
    words = " ".join(arguments.words)
    query = _query(words)
    show = _Shown(arguments, Paint.on(sys.stdout))
    with suppress(KeyboardInterrupt):
        return asyncio.run(_print(_events(arguments, words, query), show, arguments.count))
    return ExitCode.OK


def _events(arguments: argparse.Namespace, words: str, query: Query) -> AsyncGenerator[Event, None]:
    """Of what is to be followed. FlagError where there is none."""
    follow = arguments.follow
    if follow is not None and not follow.isdecimal() and not follow.endswith(".sock"):
        if follow != "-" and not Path(follow).is_file():
            mend = "name a PID, a private socket or an access log"
            raise FlagError([Problem("--follow", f"there is no file {follow[:80]!r}", mend)])
        return follow_file(follow, query, last=arguments.lines)
    return _of_process(running_process(follow, arguments.state_dir), words)


def build_parser() -> Parser:
    """The parser of the command."""
    parser = Parser(
        prog="hookward tail",
        description="Print what comes, as it comes, of a running hookward or of its access log.",
        epilog=f"Without --follow it is the only hookward that runs. Search words: {FORMS}",
    )
    parser.add_argument("words", metavar="WORD", nargs="*", help="print only what these search words find")
    parser.add_argument("--follow", metavar="WHAT", help="a PID, a private socket, or an access log (JSON)")
    parser.add_argument("--state-dir", metavar="PATH", help="its state_dir, where its private sockets are")
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
        raise FlagError([Problem(f"column {error.column} of {words!r}", error.what, error.mend)]) from None


class _Shown:
    """How an event is printed."""

    def __init__(self, arguments: argparse.Namespace, paint: Paint) -> None:
        self._json: bool = arguments.json
        self._compact: bool = arguments.compact
        self._paint = paint

    def __call__(self, event: Event) -> str:
        if self._json:
            return json.dumps(event)
        if "missed" in event:
            return self._paint(f"-- {event['missed']} not shown --", "yellow")
        return one_line(event, self._paint, compact=self._compact)


async def _print(events: AsyncGenerator[Event, None], show: _Shown, most: int) -> int:
    printed = 0
    try:
        async with aclosing(events):
            async for event in events:
                print(show(event), flush=True)
                printed += "missed" not in event
                if most and printed >= most:
                    break
    except PrivateError as error:
        print(f"hookward tail: {error}", file=sys.stderr)
        return ExitCode.FAILED
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
