"""The console's API of a running process, asked over its private socket: no token is needed by whom the process serves.

Any worker answers for all of them. What is wrong is a ``ConsoleError`` with a sentence for people.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

from proxy.errors import HookwardError
from proxy.net.private import GoneError, PrivateEnd, PrivateError, ask, stream
from proxy.tools.running import Running

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
