"""Puts a queue together: folder, store, courier, keeper."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from proxy.config.settings import QueueSettings
from proxy.net.site import Site
from proxy.queue.bell import Bell
from proxy.queue.courier import Courier
from proxy.queue.folder import QueueFolder
from proxy.queue.keeper import DeliveryKeeper
from proxy.queue.records import Taken
from proxy.queue.sqlite_store import QueueFile
from proxy.queue.store import QueueStore


class OpenStore:
    """A store, and what goes with it: whether another process delivers from it, and how that one is told."""

    def __init__(self, store: QueueStore, bell: Bell, folder: QueueFolder) -> None:
        self.store = store
        self.bodies: str | None = str(folder.bodies)
        self.ring: Callable[[], None] = bell.ring
        self.is_at_rest = False
        self._bell = bell
        self._folder = folder
        self._closed = False

    def lock(self) -> bool:
        """Whether nothing else delivers from it; then nothing else does until this is closed."""
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
        self._bell.close()
        await self.store.close()
        self._folder.unlock()


def open_store(settings: QueueSettings, loop: asyncio.AbstractEventLoop) -> OpenStore:
    """The store of ``settings``. Blocks for a moment. Raises QueueError."""
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
