"""Opens a queue: its store, in a folder or in Redis, how its couriers are told of changes, and what it is asked.

Processes that share a folder tell its courier by an empty datagram that something has changed (``Bell``). One that is
lost costs a second: then the courier looks by itself. The private socket gives the same answers as ``hookward queue``,
from the store that is open already. Heads are left out: what a delivery looked like is the console's to show, masked.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

from proxy.config.settings import QueueSettings
from proxy.core.search import SearchError, parse_query
from proxy.net.http_server import JSON, TEXT, Answer, Handler, Request
from proxy.queue.folder import QueueFolder
from proxy.queue.records import Choice, Kept, QueueError, QueueStore, count_json, json_of, searched_of
from proxy.queue.sqlite_store import QueueFile

BELL_NAME = "courier.sock"


class Bell:
    """How processes that share a store tell its couriers that something has changed; this is of the folder ``path``."""

    def __init__(self, path: Path) -> None:
        # A path through the open folder is short enough for a unix socket, and leads nowhere else.
        self._folder = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        self._path = Path(f"/proc/self/fd/{self._folder}/{BELL_NAME}")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        self._loop: asyncio.AbstractEventLoop | None = None

    def ring(self) -> None:
        """Tell the courier, where there is one."""
        with suppress(OSError):
            self._socket.sendto(b"", str(self._path))

    def answer(self, loop: asyncio.AbstractEventLoop, rung: Callable[[], None]) -> None:
        """As the courier: ``rung`` is called whenever another rings. Without the socket it goes on more slowly."""
        with suppress(OSError):
            self._path.unlink(missing_ok=True)
            self._socket.bind(str(self._path))
            self._path.chmod(0o600)
            loop.add_reader(self._socket, self._heard, rung)
            self._loop = loop

    async def close(self) -> None:
        """Give everything back."""
        if self._loop is not None:
            self._loop.remove_reader(self._socket)
            with suppress(OSError):
                self._path.unlink()
        self._socket.close()
        os.close(self._folder)

    def _heard(self, rung: Callable[[], None]) -> None:
        with suppress(OSError):
            while True:
                self._socket.recv(1)
        rung()


class OpenStore:
    """A store, and what goes with it: whether another process delivers from it, and how that one is told. Without a
    ``folder`` it is one of several hosts, each of which delivers, and which share it by claims.
    """

    def __init__(self, store: QueueStore, bell: Bell, folder: QueueFolder | None) -> None:
        self.store = store
        self.bodies: str | None = None if folder is None else str(folder.bodies)
        self.ring, self.answer = bell.ring, bell.answer
        self.is_at_rest = False
        self._bell = bell
        self._folder = folder
        self._closed = False

    def lock(self) -> bool:
        """Whether this process may deliver; of those that share a folder only one may, until this is closed."""
        if self._folder is None:
            return True
        self.is_at_rest = self._folder.lock()
        return self.is_at_rest

    async def close(self) -> None:
        """Write what waits, and give everything back. Calling it twice does no harm."""
        if self._closed:
            return
        self._closed = True
        await self._bell.close()
        await self.store.close()
        if self._folder is not None:
            self._folder.unlock()


def import_redis() -> ModuleType:
    """The module that needs the package redis. Raises QueueError where it is not installed."""
    try:
        from proxy.queue import redis_store
    except ImportError:
        raise QueueError("the client for Redis is not installed") from None
    return redis_store


def open_store(settings: QueueSettings, loop: asyncio.AbstractEventLoop) -> OpenStore:
    """The store of ``settings``. Blocks for a moment. Raises QueueError."""
    if settings.path is None:
        module = import_redis()
        store = module.QueueRedis(settings.url, max_bytes=settings.max_bytes)
        return OpenStore(store, module.RedisBell(store), None)
    folder = QueueFolder(Path(settings.path))
    return OpenStore(QueueFile(folder, loop, max_bytes=settings.max_bytes), Bell(folder.path), folder)


# -- What a running process is asked of its queue, over the private socket: by the console, for people and programs.

MOST = 1000


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
            elif query.matches(searched_of(kept)):
                found.append(kept)
                if len(found) > limit:
                    break
        now = self._now()
        lanes = [count_json(count, count, 1.0, now) for count in await self._store.counts()]
        more = found[limit - 1].parcel.id if len(found) > limit else None
        records = [json_of(kept) for kept in found[:limit]]
        for record in records:
            del record["head"]
        return _json({"configured": True, "records": records, "next": more, "routes": lanes})

    async def _paused(self, request: Request) -> Answer:
        """Of the routes asked for, each that keeps deliveries, and so can be paused: whether it is."""
        paused = {count.lane for count in await self._store.counts() if count.paused}
        asked = [str(name) for name in _content(request).get("routes", ())]
        return _json({name: name in paused for name in asked if self._keeps(name)})

    async def _change(self, request: Request, change: Callable[[Sequence[int]], Awaitable[int]]) -> Answer:
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


def _content(request: Request) -> Any:
    found = json.loads(request.content)
    return found if isinstance(found, dict) else {}


def _json(value: object) -> Answer:
    return Answer(200, JSON, json.dumps(value).encode("ascii"))
