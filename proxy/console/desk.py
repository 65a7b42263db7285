"""``Desk``: what one worker can say of what it keeps, and do with it.

Each question is a method that takes and gives what JSON can carry, so that a worker asks itself and its siblings alike:
those come over the private socket (``crew``). Long searches are made in slices, and what is dear in a thread: traffic
does not wait for either.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
from collections.abc import AsyncGenerator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from time import monotonic
from typing import TypeVar

from proxy.console.capture import Capture, Viewer
from proxy.console.kept import Json, KeptExchange, detail, evidence_of, searched, summary
from proxy.console.store import DeliveryFile
from proxy.core.search import Query, parse_query
from proxy.net.apart import SWITCH_S
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
        self.file: DeliveryFile | None = None  # what outlives the process
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="hookward-console")
        self._links: dict[str, tuple[float, str]] = {}  # token -> (until, scope)

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(wait=True, cancel_futures=True)
        if self.file is not None:
            self.file.close()

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
        if self.file is None:
            return []
        return await self._apart(self.file.search, query, limit, before)

    async def stored_one(self, name: str) -> Json | None:
        """All of one that is in the file."""
        if self.file is None:
            return None
        return await self._apart(self.file.find, name)

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
            "tag": self.capture.tag,
            "kept": len(rings),
            "bytes": rings.bytes,
            "seen": self.capture.seen,
            "cut": self.capture.cut,
            "skipped": self.capture.skipped,
            "dropped_for_age": rings.dropped["age"],
            "dropped_for_address": rings.dropped["address"],
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
