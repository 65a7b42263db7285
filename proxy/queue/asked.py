"""What a running process is asked of its queue, over the private socket: by the console, for people and programs.

The same answers as ``hookward queue`` gives, from the store that is open already. Heads are left out: what a delivery
looked like is the console's to show, masked.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from proxy.core.search import SearchError, parse_query
from proxy.net.http_server import JSON, TEXT, Answer, Handler, Request
from proxy.queue import showing
from proxy.queue.records import Choice, Kept
from proxy.queue.store import QueueStore

MOST = 1000
Change = Callable[[Sequence[int]], Awaitable[int]]


class QueueDesk:
    """One process's. ``ring`` tells the courier of changes; ``keeps``: whether a route of that name keeps."""

    def __init__(
        self, store: QueueStore, ring: Callable[[], None], now: Callable[[], float], keeps: Callable[[str], bool]
    ) -> None:
        self._store = store
        self._keeps = keeps
        self._ring = ring
        self._now = now

    @property
    def places(self) -> Mapping[str, Handler]:
        """Where it answers."""
        return {
            "POST /queue/list": self._list,
            "POST /queue/paused": self._paused,
            "POST /queue/replay": lambda request: self._change(
                request, lambda ids: self._store.replay(ids, self._now())
            ),
            "POST /queue/drop": lambda request: self._change(request, self._store.drop),
            "POST /queue/pause": lambda request: self._pause(request, paused=True),
            "POST /queue/resume": lambda request: self._pause(request, paused=False),
        }

    async def _list(self, request: Request) -> Answer:
        asked = _content(request)
        try:
            query = parse_query(str(asked.get("q", "")), self._now())
        except SearchError as error:
            return Answer(400, TEXT, str(error).encode())
        limit, after = min(int(asked.get("limit", 100)), MOST), str(asked.get("after", ""))
        found: list[Kept] = []
        async for kept in self._store.find(Choice()):
            if after:
                after = "" if kept.parcel.id == after else after
            elif query.matches(showing.searched_of(kept)):
                found.append(kept)
                if len(found) > limit:
                    break
        now = self._now()
        lanes = [showing.count_json(count, count, 1.0, now) for count in await self._store.counts(now)]
        more = found[limit - 1].parcel.id if len(found) > limit else None
        records = [_shown(kept) for kept in found[:limit]]
        return _json({"configured": True, "records": records, "next": more, "routes": lanes})

    async def _paused(self, request: Request) -> Answer:
        """Of the routes asked for, each that keeps deliveries, and so can be paused: whether it is."""
        paused = {count.lane for count in await self._store.counts(self._now()) if count.paused}
        asked = [str(name) for name in _content(request).get("routes", ())]
        return _json({name: name in paused for name in asked if self._keeps(name)})

    async def _change(self, request: Request, change: Change) -> Answer:
        ids = tuple(str(one) for one in _content(request).get("ids", ()))
        numbers = [kept.number async for kept in self._store.find(Choice(ids))] if ids else []
        if not numbers:
            return Answer(404, TEXT, b"not_found\n")
        changed = await change(numbers)
        self._ring()
        return _json({"changed": changed})

    async def _pause(self, request: Request, *, paused: bool) -> Answer:
        lane = str(_content(request).get("route", ""))
        if paused and not self._keeps(lane):
            return Answer(404, TEXT, b"keeps_nothing\n")  # what comes would go on to the application
        await self._store.pause(lane, paused=paused)
        self._ring()
        return _json({"route": lane, "paused": paused})


def _shown(kept: Kept) -> dict[str, object]:
    found = showing.json_of(kept)
    del found["head"]
    return found


def _content(request: Request) -> Any:
    found = json.loads(request.content)
    return found if isinstance(found, dict) else {}


def _json(value: object) -> Answer:
    return Answer(200, JSON, json.dumps(value).encode("ascii"))
