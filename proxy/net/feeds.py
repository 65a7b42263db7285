"""Keeps published address sets fresh: one coroutine per worker fetches each list when it is due.

A new copy is judged whole before anything changes: its form, its size against the old one, and whether every question
that the configuration asks still has an answer. Only then it takes the old one's place, here, in the state directory
and in the policy. Whatever fails leaves the last good copy in force and is tried again, with growing pauses. What is
long (15,000 entries take a quarter of a second) is done in a thread, so that deliveries go on meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import ssl
from collections.abc import Callable
from dataclasses import replace

from proxy.config.set_shelf import (
    Copy,
    SetShelf,
    confirm_stored,
    missing_warning,
    read_stored,
    stored_confirmed,
    with_current_sets,
    write_stored,
)
from proxy.config.settings import Feed, Loaded
from proxy.core.addresses import AddressSet
from proxy.core.ip_sets import Difference, FeedError, check_change, read_document
from proxy.core.metric_families import SET_AGE, SET_PREFIXES, SET_REFRESHES
from proxy.core.metrics import Metrics
from proxy.net.feed_fetch import FetchedList, Known, fetch
from proxy.values import frozen

log = logging.getLogger(__name__)

#: After a failure; doubled with each further one, up to the list's own interval.
RETRY_S = 15.0
#: Workers and hosts that were started together must not ask together.
JITTER = 0.1
#: A start waits so long for lists of which there is no copy at all.
START_S = 10.0


@frozen
class Fresh:
    """A copy that was judged good: what is different in it, and what it holds for each question that is asked."""

    copy: Copy
    difference: Difference
    selected: dict[str, AddressSet]


def judge(feed: Feed, document: FetchedList, old: Copy | None, queries: list[str], now: float) -> Fresh:
    """The copy in a document, where all of it is good. Long work for a thread. FeedError says why not."""
    listing = read_document(document.data, feed.shape)
    check_change(None if old is None else old.listing, listing)
    return _fresh(feed, Copy(listing, now, "feed", document.etag, document.last_modified), old, queries)


def _fresh(feed: Feed, copy: Copy, old: Copy | None, queries: list[str]) -> Fresh:
    """The copy with an answer to each question. Long work for a thread. FeedError where one has none."""
    selected = {}
    for query in queries:
        try:
            selected[query] = copy.listing.select(query)
        except ValueError as error:
            raise FeedError(f"set:{feed.name}?{query} would admit no address: {error}") from None
    before = None if old is None else old.listing
    if before is not None and before.groups == copy.listing.groups:
        copy = replace(copy, listing=before)
    return Fresh(copy, Difference.between(before, copy.listing), selected)


async def fetch_feed(feed: Feed, known: Known, context: ssl.SSLContext) -> FetchedList | None:
    """The document of a feed, or None where it is still the known one. Raises FeedError."""
    return await fetch(feed.url, known, context, whole=feed.shape is None)


class SetRefresher:
    """Refreshes the sets of one worker. ``on_change`` is called with the load that has the new copies in it."""

    def __init__(
        self, shelf: SetShelf, metrics: Metrics, wall: Callable[[], float], on_change: Callable[[Loaded], None]
    ) -> None:
        """``wall`` gives the seconds since the epoch."""
        self._shelf = shelf
        self._metrics = metrics
        self._wall = wall
        self._on_change = on_change
        self._loop = asyncio.get_running_loop()
        self._context: ssl.SSLContext | None = None
        self._loaded: Loaded | None = None
        self._due: dict[Feed, float] = {}
        self._failures: dict[str, int] = {}
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def fetch_missing(self, loaded: Loaded) -> Loaded:
        """``loaded`` with the lists in it of which there was no copy, as far as they can be had in a few seconds."""
        if not loaded.sets.missing:
            return loaded
        self._loaded = loaded
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(START_S):
                await asyncio.gather(*(self._refresh(feed) for feed in loaded.sets.missing))
        missing = tuple(feed for feed in loaded.sets.missing if self._shelf.get(feed) is None)
        said = {missing_warning(feed) for feed in loaded.sets.missing} - {missing_warning(feed) for feed in missing}
        warnings = tuple(warning for warning in loaded.settings.warnings if warning not in said)
        fresh = with_current_sets(loaded, loaded.policy.generation)
        return replace(
            fresh, settings=replace(fresh.settings, warnings=warnings), sets=replace(fresh.sets, missing=missing)
        )

    def use(self, loaded: Loaded) -> None:
        """Keep the sets of ``loaded`` fresh from now on, and no others. For the start and for reloads."""
        self._loaded = loaded
        feeds = set(loaded.sets.used.values())
        self._due = {feed: self._due.get(feed, self._first_due(feed)) for feed in feeds}
        self._wake.set()
        if self._due and self._task is None:
            self._task = self._loop.create_task(self._run())

    async def close(self) -> None:
        """Stop. What is under way is dropped."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    def measure(self) -> None:
        """Set the gauges of the lists in use."""
        for feed in self._due:
            copy = self._shelf.get(feed)
            self._metrics.set(SET_PREFIXES, 0 if copy is None else len(copy.listing), feed.name)
            if copy is not None:
                self._metrics.set(SET_AGE, max(0.0, self._wall() - copy.confirmed), feed.name)

    def _first_due(self, feed: Feed) -> float:
        copy = self._shelf.get(feed)
        if copy is None:
            return self._loop.time()
        if not feed.is_refreshed:
            return float("inf")
        return self._loop.time() + max(0.0, copy.confirmed + feed.refresh_s - self._wall())

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            feed = min(self._due, key=self._due.__getitem__, default=None)
            pause = None if feed is None else self._due[feed] - self._loop.time()
            if feed is None or (pause is not None and pause > 0):
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(None if pause == float("inf") else pause):
                        await self._wake.wait()
                continue
            if await self._refresh(feed):
                await self._swap()

    async def _swap(self) -> None:
        loaded = self._loaded
        assert loaded is not None, "only what a load uses is refreshed"
        fresh = await asyncio.to_thread(with_current_sets, loaded, loaded.policy.generation + 1)
        # A reload in the meantime has seen the new copies itself.
        if self._loaded is loaded:
            self._loaded = fresh
            self._on_change(fresh)

    async def _refresh(self, feed: Feed) -> bool:
        """Ask for one list; True where it has changed."""
        old = self._shelf.get(feed)
        try:
            fresh = await self._ask(feed, old)
        except FeedError as error:
            self._failed(feed, old, error)
            return False
        except Exception:
            log.exception("set:%s could not be refreshed: a fault of ours", feed.name)
            self._failed(feed, old, None)
            return False
        self._failures.pop(feed.name, None)
        self._plan(feed, feed.refresh_s if feed.is_refreshed else float("inf"))
        if fresh is None:
            self._metrics.inc(SET_REFRESHES, feed.name, "unchanged")
            return False
        self._shelf.put(feed, fresh.copy, fresh.selected)
        changed = old is None or fresh.copy.listing is not old.listing
        self._metrics.inc(SET_REFRESHES, feed.name, "changed" if changed else "unchanged")
        if changed:
            log.info("set:%s: %s; it has %d prefixes now", feed.name, fresh.difference, len(fresh.copy.listing))
        return changed

    async def _ask(self, feed: Feed, old: Copy | None) -> Fresh | None:
        now, state_dir = self._wall(), self._state_dir
        queries = self._queries(feed)
        if state_dir is not None:
            neighbour = await asyncio.to_thread(_from_neighbour, state_dir, feed, old, now)
            if neighbour is not None:
                return await asyncio.to_thread(_fresh, feed, neighbour, old, queries)
        if self._context is None:
            self._context = await asyncio.to_thread(ssl.create_default_context)
        known = Known() if old is None else Known(old.etag, old.last_modified)
        document = await fetch_feed(feed, known, self._context)
        if document is None:
            assert old is not None, "nothing was known that could be confirmed"
            confirmed = replace(old, confirmed=now)
            self._shelf.put(feed, confirmed)
            await self._store(feed, confirmed, confirm_stored)
            return None
        fresh = await asyncio.to_thread(judge, feed, document, old, queries, now)
        await self._store(feed, fresh.copy, write_stored)
        return fresh

    async def _store(self, feed: Feed, copy: Copy, store: Callable[[str, Feed, Copy], None]) -> None:
        state_dir = self._state_dir
        if state_dir is None:
            return
        try:
            await asyncio.to_thread(store, state_dir, feed, copy)
        except OSError as error:
            log.warning("set:%s cannot be kept in %s: %s", feed.name, state_dir, error.strerror)

    def _failed(self, feed: Feed, old: Copy | None, error: FeedError | None) -> None:
        failures = self._failures[feed.name] = self._failures.get(feed.name, 0) + 1
        usual = feed.refresh_s if feed.is_refreshed else 3600.0
        self._plan(feed, min(usual, RETRY_S * 2.0 ** min(failures - 1, 16)))
        self._metrics.inc(SET_REFRESHES, feed.name, "failed")
        if old is None:
            log.error("set:%s could not be fetched and admits no address: %s", feed.name, error)
        elif error is not None:
            days = (self._wall() - old.confirmed) / 86400
            log.warning(
                "set:%s could not be refreshed, the copy confirmed %.1f days ago stays: %s", feed.name, days, error
            )

    def _plan(self, feed: Feed, pause_s: float) -> None:
        if feed in self._due:
            self._due[feed] = self._loop.time() + pause_s * (1 + JITTER * os.urandom(1)[0] / 256)

    def _queries(self, feed: Feed) -> list[str]:
        assert self._loaded is not None
        return [query for (_, query), used in self._loaded.sets.used.items() if used == feed]

    @property
    def _state_dir(self) -> str | None:
        return None if self._loaded is None else self._loaded.settings.state_dir


def _from_neighbour(state_dir: str, feed: Feed, old: Copy | None, now: float) -> Copy | None:
    """The stored copy, where another process (a worker, or ``ip-sets refresh``) has fetched it not long ago."""
    confirmed = stored_confirmed(state_dir, feed)
    if confirmed <= (old.confirmed if old else 0.0) or now - confirmed >= max(feed.refresh_s / 2, 1.0):
        return None
    with contextlib.suppress(FeedError):
        return read_stored(state_dir, feed)
    return None
