"""Puts a queue together: folder or Redis, store, courier, keeper.

Processes that share a folder tell its courier by an empty datagram that something has changed (``Bell``). One that is
lost costs a second: then the courier looks by itself.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Protocol

from proxy.config.settings import QueueSettings
from proxy.net.site import Site
from proxy.queue.courier import Courier
from proxy.queue.folder import QueueFolder
from proxy.queue.keeper import DeliveryKeeper
from proxy.queue.records import QueueError, Taken
from proxy.queue.sqlite_store import QueueFile
from proxy.queue.store import QueueStore

BELL_NAME = "courier.sock"


class Bell:
    """The bell of the folder at ``path``."""

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

    def close(self) -> None:
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


class Ringing(Protocol):
    """How processes that share a store tell its couriers that something has changed."""

    def ring(self) -> None:
        """Tell them."""

    def answer(self, loop: asyncio.AbstractEventLoop, rung: Callable[[], None]) -> None:
        """Call ``rung`` whenever another process has changed something."""

    def close(self) -> Awaitable[None] | None:
        """Give everything back."""


class OpenStore:
    """A store, and what goes with it: whether another process delivers from it, and how that one is told. Without a
    ``folder`` it is one of several hosts, each of which delivers, and which share it by claims.
    """

    def __init__(self, store: QueueStore, bell: Ringing, folder: QueueFolder | None) -> None:
        self.store = store
        self.bodies: str | None = None if folder is None else str(folder.bodies)
        self.ring: Callable[[], None] = bell.ring
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

    def answer(self, loop: asyncio.AbstractEventLoop, rung: Callable[[], None]) -> None:
        """Call ``rung`` whenever another process has changed something."""
        self._bell.answer(loop, rung)

    async def close(self) -> None:
        """Write what waits, and give everything back. Calling it twice does no harm."""
        if self._closed:
            return
        self._closed = True
        closing = self._bell.close()
        if closing is not None:
            await closing
        await self.store.close()
        if self._folder is not None:
            self._folder.unlock()


def import_redis() -> tuple[ModuleType, ModuleType]:
    """The modules that need the package redis. Raises QueueError where it is not installed."""
    try:
        from proxy.queue import redis_bell, redis_store
    except ImportError:
        raise QueueError("the client for Redis is not installed") from None
    return redis_bell, redis_store


def open_store(settings: QueueSettings, loop: asyncio.AbstractEventLoop) -> OpenStore:
    """The store of ``settings``. Blocks for a moment. Raises QueueError."""
    if settings.path is None:
        redis_bell, redis_store = import_redis()
        store = redis_store.QueueRedis(settings.url, max_bytes=settings.max_bytes)
        return OpenStore(store, redis_bell.RedisBell(store), None)
    folder = QueueFolder(Path(settings.path))
    return OpenStore(QueueFile(folder, loop, max_bytes=settings.max_bytes), Bell(folder.path), folder)


def open_keeper(site: Site, settings: QueueSettings) -> DeliveryKeeper:
    """The queue of ``settings`` for the worker of ``site``. Blocks for a moment. Raises QueueError."""
    opened = open_store(settings, site.loop)

    def lock() -> bool:
        if not opened.lock():
            return False
        opened.answer(site.loop, courier.look)
        return True

    def gone(taken: Taken) -> None:
        """A dead letter was not delivered: another try of its provider is no duplicate."""
        site.duplicates.forget(taken.parcel.keys)

    courier = Courier(site, opened.store, lock=lock, max_age_s=settings.max_age_s, gone=gone)
    keeper = DeliveryKeeper(site, opened, courier)
    courier.start()
    return keeper
