"""``Crew``: all workers of a process as one console: what this one keeps, and what its siblings do.

Any worker may answer a request of the console. It asks itself by a call and each sibling over its private socket, with
the same questions (``QUESTIONS``), and puts the answers together. A sibling that does not answer is left out and
counted: the page shows what there is.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, suppress
from typing import Any, Protocol

from proxy.config.endpoints import ListenAddress
from proxy.config.settings import ConsoleSettings
from proxy.console.capture import Capture
from proxy.console.desk import Desk
from proxy.console.kept import Json
from proxy.core.search import SearchError, parse_query
from proxy.net.http_server import JSON, TEXT, Answer, Paths, Request
from proxy.net.private import ANSWER_S, GoneError, PrivateEnd, PrivateError, ask, find, stream
from proxy.net.site import Site

PLACE = "/console"
#: A stream looks so often for workers that have begun since.
LOOK_S = 2.0
#: Events that wait for one that reads the stream of all workers.
MAX_WAITING = 1000

NOT_FOUND = 404

Question = Callable[[Json], Awaitable[Any]]


class Private(Protocol):
    """The private socket of this worker."""

    paths: Paths
    process: int
    path: str | None  # None: there is none, and so no siblings are found

    @property
    def siblings_folder(self) -> str | None:
        """The folder of the sockets of all workers."""


class Crew:
    """This worker and its siblings. ``questions`` are those that each can be asked, by name."""

    def __init__(self, desk: Desk, private: Private, questions: Mapping[str, Question]) -> None:
        self.desk = desk
        self._private = private
        self._questions = questions
        private.paths.add(f"POST {PLACE}/ask/{{question}}", self._asked)
        private.paths.add(f"POST {PLACE}/stream", lambda request: stream_of(desk, request))

    # -- asking

    async def ask_all(self, question: str, **params: object) -> list[Any]:
        """What each worker answers, this one first; those that do not answer are left out."""
        others = (self._ask(end, question, params) for end in self._siblings())
        own, *found = await asyncio.gather(self._questions[question](params), *others)
        return [own, *(one for one in found if one is not None)]

    async def ask_first(self, question: str, within_s: float = ANSWER_S, **params: object) -> Any:
        """The first answer that is not None, each within ``within_s`` seconds. One is asked after the other, for
        several may have what is named by the provider's delivery id, and what is to be done is to be done once.
        """
        found = await self._questions[question](params)
        for end in self._siblings():
            if found is not None:
                break
            found = await self._ask(end, question, params, within_s)
        return found

    async def ask_here(self, method: str, place: str, content: object = None) -> Any:
        """What another part of this worker answers on the private socket; None where there is no such part."""
        if self._private.path is None:
            return None
        try:
            return await ask(PrivateEnd(self._private.path, self._private.process, 0), method, place, content)
        except PrivateError as error:
            if error.status == NOT_FOUND:
                return None
            raise

    def _siblings(self) -> list[PrivateEnd]:
        folder = self._private.siblings_folder
        ends = [] if folder is None else find([folder], self._private.process)
        return [end for end in ends if end.worker != os.getpid()]

    async def _ask(
        self, end: PrivateEnd, question: str, params: Mapping[str, object], within_s: float = ANSWER_S
    ) -> Any:
        with suppress(PrivateError):
            return await ask(end, "POST", f"{PLACE}/ask/{question}", params, within_s=within_s)
        return None

    async def _asked(self, request: Request) -> Answer:
        question = self._questions.get(request.params["question"])
        params = json.loads(request.content)
        if question is None:
            return Answer(404, TEXT, b"there is no such path\n")
        return Answer(200, JSON, json.dumps(await question(params)).encode("ascii"))

    # -- streams

    async def stream(self, query: str, since: Mapping[str, int] | None) -> AsyncGenerator[list[Json], None]:
        """The events of all workers (``Desk.stream``) as they come, those together that are there together. ``since``
        says of each worker's tag which number was seen last; of one that it does not name, everything is new. None
        begins now. TooManyViewersError.
        """
        events: asyncio.Queue[Json] = asyncio.Queue(MAX_WAITING)
        readers: dict[str, asyncio.Task[None]] = {}
        loop = asyncio.get_running_loop()
        own = self.desk.stream(self.desk.read(query), None if since is None else since.get(self.desk.capture.tag, 0))
        readers[""] = loop.create_task(_pass_on(own, events))
        try:
            look_at = 0.0
            while True:
                if loop.time() >= look_at:
                    look_at = loop.time() + LOOK_S
                    for end in self._siblings():
                        if end.path not in readers:
                            readers[end.path] = loop.create_task(_pass_on(_of(end, query, since), events))
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_S):
                        batch = [await events.get()]
                    while not events.empty():
                        batch.append(events.get_nowait())
                    yield batch
                if readers[""].done():
                    readers[""].result()  # raises what has ended it
                    return
        finally:
            for reader in readers.values():
                reader.cancel()
            await asyncio.gather(*readers.values(), return_exceptions=True)


async def _of(end: PrivateEnd, query: str, since: Mapping[str, int] | None) -> AsyncGenerator[Json, None]:
    """The events of a sibling, until it ends."""
    rest = b""
    with suppress(GoneError, PrivateError):
        async for piece in stream(end, "POST", f"{PLACE}/stream", {"query": query, "since": since}):
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                yield json.loads(line)


async def _pass_on(source: AsyncIterator[Json], events: asyncio.Queue[Json]) -> None:
    """Put the events of one worker among all. For a slow reader its viewer waits, and counts what it misses."""
    async for event in source:
        await events.put(event)


# -- What looks on at a worker over its private socket: lines of JSON, as long as it reads them.
#
# ``hookward tail`` must work on any process. Where no console is configured, the first that looks on has a small
# capture made, and the last one that leaves takes it away: no exchange does more while nothing looks.

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
