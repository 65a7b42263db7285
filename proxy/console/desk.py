"""What one worker can say of what it keeps, and do with it (``Desk``); and all workers of a process as one (``Crew``).

Each question takes and gives what JSON can carry, so that a worker asks itself by a call and its siblings over their
private sockets alike. Long searches are made in slices, and what is dear in a thread: traffic does not wait for either.
A sibling that does not answer is left out and counted: the page shows what there is.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, suppress
from functools import partial
from time import monotonic
from typing import Any, Protocol, TypeVar

from proxy.config.notation import ListenAddress
from proxy.config.settings import ConsoleSettings
from proxy.console.capture import Capture, Viewer
from proxy.console.kept import Json, KeptExchange, detail, evidence_of, searched, summary
from proxy.core.search import Query, SearchError, parse_query
from proxy.net.http_server import JSON, TEXT, Answer, Paths, Request
from proxy.net.large_bodies import SWITCH_S
from proxy.net.private import ANSWER_S, GoneError, PrivateEnd, PrivateError, ask, find, stream
from proxy.net.site import Site

T = TypeVar("T")
#: A search gives way to traffic after so long.
SLICE_S = 0.002
#: Of a stream: what is sent at once, and how long it waits before the next. So a flood costs what people can read.
BATCH, PAUSE_S = 15, 0.05
#: A stream says so often that it is alive.
ALIVE_S = 10.0
MAX_LINKS = 16
LINK_S = 600.0


class TooManyViewersError(Exception):
    """As many look on as may."""


class Desk:
    """One worker's."""

    def __init__(self, capture: Capture, site: Site) -> None:
        self.capture = capture
        self._site = site
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="hookward-console")
        self._links: dict[str, tuple[float, str]] = {}  # token -> (until, scope)

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(wait=True, cancel_futures=True)
        if self.capture.store is not None:
            self.capture.store.close()

    @property
    def now(self) -> float:
        """Seconds since the epoch."""
        return self._site.clock.wall()

    # -- deliveries

    async def deliveries(self, query: Query, limit: int, after: str) -> Json:
        """Those that match, the newest first; ``after`` is an id that all of them are older than."""
        older = (kept for kept in self.capture.rings if not after or kept.id < after)
        found = await self._matching(query, older, limit)
        return {"deliveries": [summary(kept) for kept in found], "counts": self.counts()}

    async def _apart(self, work: Callable[..., T], *given: object) -> T:
        """Do it in the thread. While there is one, traffic does not wait for it."""
        sys.setswitchinterval(SWITCH_S)
        return await self._site.loop.run_in_executor(self._thread, partial(work, *given))

    async def stored(self, query: Query, limit: int, before: str) -> list[Json]:
        """Those in the file that match, of all workers and of before the start, the newest first."""
        file = self.capture.store
        return [] if file is None else await self._apart(file.search, query, limit, before)

    async def stored_one(self, name: str) -> Json | None:
        """All of one that is in the file."""
        file = self.capture.store
        return None if file is None else await self._apart(file.find, name)

    def matches(self, query: Query, kept: KeptExchange) -> bool:
        """Whether search words find it. Nothing that is masked is found."""
        if query.is_empty:
            return True
        masking = self.capture.maskings.of(kept.route)
        found = searched(kept, masking, text=False)
        # What is looked for in bodies comes last: to mask one costs most.
        return query.fits(found) and (not query.texts or query.matches(searched(kept, masking, text=True)))

    async def _matching(
        self, query: Query, several: Iterable[KeptExchange], most: int | None = None
    ) -> list[KeptExchange]:
        """Those that match, ``most`` of them at most. After each slice of time traffic goes first."""
        found: list[KeptExchange] = []
        # Not the loop's time, which stands still until it has gone round (uvloop).
        began = monotonic()
        for kept in several:
            if self.matches(query, kept):
                found.append(kept)
                if len(found) == most:
                    break
            if monotonic() - began > SLICE_S:
                await asyncio.sleep(0)
                began = monotonic()
        return found

    def find(self, name: str) -> KeptExchange | None:
        """The delivery of that id, or with that request id or delivery id; the newest of several."""
        _, _, rest = name.partition("-")
        tag, _, number = rest.partition("-")
        if tag == self.capture.tag:
            try:
                kept = self.capture.rings.get(int(number, 16))
            except ValueError:
                return None
            return kept if kept is not None and kept.id == name else None
        named = (kept for kept in self.capture.rings if name in (kept.record.request_id, kept.record.delivery_id))
        return next(named, None)

    async def delivery(self, name: str) -> Json | None:
        """All of one delivery, masked, with what the checks find."""
        kept = self.find(name)
        if kept is None:
            return None
        shown = detail(kept, self.capture.maskings.of(kept.route))
        found = await self._apart(evidence_of, kept, self._site.policy)
        attempts = [summary(one) for one in self.capture.rings if one.replay_of == kept.id]
        return {**shown, **found, "replays": attempts[::-1]}

    def counts(self) -> Json:
        """How much is kept, and what is not."""
        rings = self.capture.rings
        return {
            **{name: getattr(self.capture, name) for name in ("tag", "seen", "cut", "skipped")},
            "kept": len(rings),
            "bytes": rings.bytes,
            **{f"dropped_for_{why}": rings.dropped[why] for why in ("age", "address")},
            "viewers": len(self.capture.viewers),
        }

    # -- those that look on

    async def stream(self, query: Query, since: int | None) -> AsyncGenerator[Json, None]:
        """What comes and matches, as events: ``{"delivery": …}`` (a ``Summary`` in JSON), ``{"missed": n}`` and, now
        and then, ``{}``. They begin after the number ``since``; where it is None, now. TooManyViewersError.
        """
        viewer = self.watch()
        skipped = self.capture.skipped
        # All of it now: what comes while these are sent is in the viewer's queue.
        begins = self.capture.seen if since is None else since
        earlier = [] if since is None else self.capture.rings.since(since)
        missed = 0 if since is None else self.capture.seen - since - len(earlier)
        try:
            yield {"tag": self.capture.tag, "number": begins}
            if missed > 0:
                yield {"missed": missed}
            for kept in await self._matching(query, earlier):
                yield self._event(kept)
            while True:
                try:
                    async with asyncio.timeout(ALIVE_S):
                        batch = await viewer.next(BATCH)
                except TimeoutError:
                    yield {}
                    continue
                for kept in await self._matching(query, batch):
                    yield self._event(kept)
                missed = viewer.take_missed() + self.capture.skipped - skipped
                skipped = self.capture.skipped
                if missed:
                    yield {"missed": missed}
                await asyncio.sleep(PAUSE_S)
        finally:
            self.capture.viewers.discard(viewer)

    def watch(self) -> Viewer:
        """Begin to look on. TooManyViewersError."""
        if not self.capture.has_room:
            raise TooManyViewersError
        viewer = Viewer(lambda _: True)  # which of them match is looked at in slices
        self.capture.viewers.add(viewer)
        return viewer

    def _event(self, kept: KeptExchange) -> Json:
        if kept.line is None:
            kept.line = json.dumps(summary(kept))
        return {"delivery": kept.line, "tag": kept.tag, "number": kept.number}

    # -- one-time links

    def make_link(self, scope: str) -> str:
        """A word that lets in once, for a while: "read" or "act"."""
        while len(self._links) >= MAX_LINKS:
            self._links.pop(next(iter(self._links)))
        token = secrets.token_urlsafe(32)
        self._links[token] = (self.now + LINK_S, scope)
        return token

    def redeem(self, token: str) -> str | None:
        """The scope of a link of ours, which is none from now on."""
        until, scope = self._links.pop(token, (0.0, ""))
        return scope if self.now < until else None

    def read(self, query: str) -> Query:
        """Read search words. SearchError."""
        return parse_query(query, self.now)


PLACE = "/console"
#: A stream looks so often for workers that have begun since.
LOOK_S = 2.0
#: Events that wait for one that reads the stream of all workers.
MAX_WAITING = 1000

Question = Callable[[Any], Any]  # may give something to be awaited


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
        own, *found = await asyncio.gather(self._own(question, params), *others)
        return [own, *(one for one in found if one is not None)]

    async def ask_first(self, question: str, within_s: float = ANSWER_S, **params: object) -> Any:
        """The first answer that is not None, each within ``within_s`` seconds. One is asked after the other, for
        several may have what is named by the provider's delivery id, and what is to be done is to be done once.
        """
        found = await self._own(question, params)
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
            if error.status == 404:
                return None
            raise

    def _siblings(self) -> list[PrivateEnd]:
        folder = self._private.siblings_folder
        ends = [] if folder is None else find([folder], self._private.process)
        return [end for end in ends if end.worker != os.getpid()]

    async def _own(self, question: str, params: Mapping[str, object]) -> Any:
        found = self._questions[question](params)
        return await found if asyncio.iscoroutine(found) else found

    async def _ask(
        self, end: PrivateEnd, question: str, params: Mapping[str, object], within_s: float = ANSWER_S
    ) -> Any:
        with suppress(PrivateError):
            return await ask(end, "POST", f"{PLACE}/ask/{question}", params, within_s=within_s)
        return None

    async def _asked(self, request: Request) -> Answer:
        question = request.params["question"]
        if question not in self._questions:
            return Answer(404, TEXT, b"there is no such path\n")
        found = await self._own(question, json.loads(request.content))
        return Answer(200, JSON, json.dumps(found).encode("ascii"))

    # -- streams

    async def stream(self, query: str, since: Mapping[str, int] | None) -> AsyncGenerator[list[Json], None]:
        """The events of all workers (``Desk.stream``) as they come, those together that are there together. ``since``
        says of each worker's tag which number was seen last; of one that it does not name, everything is new. None
        begins now. TooManyViewersError.
        """
        events: asyncio.Queue[Json] = asyncio.Queue(MAX_WAITING)
        readers: dict[str, asyncio.Task[bool]] = {}
        loop = asyncio.get_running_loop()
        own = self.desk.stream(self.desk.read(query), None if since is None else since.get(self.desk.capture.tag, 0))
        readers[""] = loop.create_task(_pass_on(own, events))
        try:
            look_at = 0.0
            while True:
                if loop.time() >= look_at:
                    look_at = loop.time() + LOOK_S
                    for end in self._siblings():
                        reader = readers.get(end.path)
                        # One that told nothing was asked before its worker was ready.
                        if reader is None or (reader.done() and not (reader.exception() or reader.result())):
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


async def _pass_on(source: AsyncIterator[Json], events: asyncio.Queue[Json]) -> bool:
    """Put the events of one worker among all; gives whether there were any. For a slow reader its viewer waits, and
    counts what it misses.
    """
    told = False
    async for event in source:
        told = True
        await events.put(event)
    return told


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
