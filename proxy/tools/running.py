"""Which running hookward a command means: the sockets of its workers, found by process, by path or by place."""

from __future__ import annotations

import argparse
import json
import os
import re
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

from proxy.config.load import load_sets
from proxy.errors import FlagError, HookwardError
from proxy.net.private import GoneError, PrivateEnd, PrivateError, ask, find, folders, stream
from proxy.values import frozen

_NAME = re.compile(r"hookward-([0-9]+)-([0-9]+)\.sock")


@frozen
class Running:
    """One process and the sockets of its workers, as they are now."""

    process: int
    places: tuple[str, ...]

    def ends(self) -> list[PrivateEnd]:
        """The sockets of its workers now: workers come and go with each reload."""
        return find(self.places, self.process, everywhere=True)


_FOLLOW = "which process: its PID, or the path of a private socket of it; left out, the only one there is"


def add_process_flags(parser: argparse.ArgumentParser, *, metavar: str = "PID", follow: str = _FOLLOW) -> None:
    """Add the flags that say which process is meant, for ``running_process``."""
    parser.add_argument("--follow", metavar=metavar, help=follow)
    parser.add_argument("--state-dir", metavar="PATH", help="its state_dir, where its private sockets are")
    parser.add_argument("-c", "--config", metavar="PATH", help="its TOML file, which says what its state_dir is")


def _ends(places: list[str], state_dir: str | None, process: int | None) -> list[PrivateEnd]:
    # Where a folder is named, what has its socket there is meant, and not another one beside it.
    return find([state_dir] if state_dir else [], process) or find(places, process, everywhere=True)


def running_process(asked: argparse.Namespace) -> Running:
    """The process that is meant. FlagError: none, or more than one; ConfigError: the file cannot be read."""
    follow: str | None = asked.follow
    state_dir = load_sets(asked.config, asked.state_dir, os.environ).state_dir
    places = folders(state_dir, os.environ)
    if follow is not None and not follow.isdecimal():
        named = _NAME.fullmatch(Path(follow).name)
        if named is None:
            raise FlagError.of("--follow", f"{follow[:80]!r} is no private socket", "name a PID or the socket")
        return Running(int(named[1]), (str(Path(follow).parent), *places))
    ends = _ends(places, state_dir, None if follow is None else int(follow))
    processes = sorted({end.process for end in ends if os.access(end.path, os.R_OK | os.W_OK)})
    if not processes:
        which = "no hookward of yours" if follow is None else f"no hookward with the PID {follow}"
        mend = "start it with state_dir (or as a unit, which has a folder for its sockets), or run this as its user"
        raise FlagError.of("--follow", f"{which} was found that could be asked", mend)
    if len(processes) > 1:
        found = ", ".join(map(str, processes))
        raise FlagError.of("--follow", f"several are running: {found}", f"write --follow {processes[0]}")
    return Running(processes[0], tuple(places))


# -- The console's API of a running process, asked over its private socket: no token is needed by whom the process
# serves.
#
# Any worker answers for all of them. What is wrong is a ``ConsoleError`` with a sentence for people.

T = TypeVar("T")
#: The longest that a replay may take to be answered.
REPLAYED_S = 60.0
NOT_FOUND = 404


class ConsoleError(HookwardError):
    """What the console says is wrong."""


class AskedConsole:
    """The console of one process."""

    def __init__(self, running: Running) -> None:
        self._running = running

    async def deliveries(self, query: str, limit: int) -> list[dict[str, Any]]:
        """Those that match, the newest first (``Summary`` in openapi.json)."""
        asked = urlencode({"q": query, "limit": limit})
        found = await self._ask(lambda end: ask(end, "GET", f"/api/v1/deliveries?{asked}"))
        rows: list[dict[str, Any]] = found["deliveries"]
        return rows

    async def delivery(self, name: str) -> dict[str, Any]:
        """All of one (``Delivery``)."""
        found: dict[str, Any] = await self._ask(lambda end: ask(end, "GET", f"/api/v1/deliveries/{quote(name)}"))
        return found

    async def status(self) -> dict[str, Any]:
        """The process and its console."""
        found: dict[str, Any] = await self._ask(lambda end: ask(end, "GET", "/api/v1/status"))
        return found

    async def replay(self, name: str, how: dict[str, object]) -> dict[str, Any]:
        """Send it again, as ``how`` says (docs/console.md), and tell what came of it."""
        place = f"/api/v1/deliveries/{quote(name)}/replay"
        found: dict[str, Any] = await self._ask(lambda end: ask(end, "POST", place, how, within_s=REPLAYED_S))
        return found

    async def coming(self, query: str) -> AsyncGenerator[dict[str, Any], None]:
        """What comes and matches: a ``Summary`` each, and ``{"missed": n}`` where more came than could be told."""
        place = f"/api/v1/stream?{urlencode({'q': query})}"
        rest = b""
        async with aclosing(stream(self._end(), "GET", place)) as pieces:
            try:
                async for piece in pieces:
                    *events, rest = (rest + piece).split(b"\n\n")
                    for event in events:
                        lines = dict(line.split(": ", 1) for line in event.decode("ascii").split("\n") if ": " in line)
                        if lines.get("event") in {"delivery", "gap"}:
                            yield json.loads(lines["data"])
            except PrivateError as error:
                raise self._told(error) from None

    def _end(self) -> PrivateEnd:
        ends = self._running.ends()
        if not ends:
            raise ConsoleError(f"process {self._running.process} is gone")
        return ends[0]

    async def _ask(self, question: Callable[[PrivateEnd], Coroutine[Any, Any, T]]) -> T:
        """The answer of the first worker that is there: one that a reload has ended may have left its socket."""
        self._end()
        for end in self._running.ends():
            try:
                return await question(end)
            except GoneError:
                continue
            except PrivateError as error:
                raise self._told(error) from None
        raise ConsoleError(f"process {self._running.process} is gone")

    def _told(self, error: PrivateError) -> ConsoleError:
        try:
            wrong = json.loads(str(error))["error"]
        except (ValueError, TypeError, KeyError):
            if error.status == NOT_FOUND:
                what = f"process {self._running.process} has no console: add [console] (flag: --console 127.0.0.1:4041)"
                return ConsoleError(what)
            return ConsoleError(str(error))
        return ConsoleError(": ".join(str(wrong[key]) for key in ("what", "mend") if wrong.get(key)))
