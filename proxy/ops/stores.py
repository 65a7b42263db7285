"""What a worker keeps beyond its exchanges: the memory of deliveries, and the queue where a route asks for one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import ModuleType

from proxy.config.installation import how_to_add
from proxy.config.settings import Loaded
from proxy.errors import ConfigError, Problem
from proxy.net.http_server import Paths
from proxy.net.site import Site
from proxy.ops.duplicates import close_duplicates, open_duplicates


def import_queue(loaded: Loaded) -> ModuleType | None:
    """The module of the queue, where a route asks for one. To be called while the package can be read for certain."""
    if not _keeps(loaded):
        return None
    from proxy.queue import opening, records

    if loaded.settings.queue is not None and loaded.settings.queue.url is not None:
        with suppress(records.QueueError):  # told when it is opened
            opening.import_redis()
    return opening


def _keeps(loaded: Loaded) -> bool:
    return any(route.delivery is not None for route in loaded.policy.routes)


class Stores:
    """The stores of one worker."""

    def __init__(self, site: Site, paths: Paths) -> None:
        """``paths`` is where commands ask the process."""
        self._site = site
        self._paths = paths
        self._is_open = False
        self._close_queue: Callable[[], Awaitable[None]] | None = None

    def open(self, loaded: Loaded) -> None:
        """Open them, as the user to be: what is made is that user's. Raises ConfigError."""
        open_duplicates(self._site, loaded.settings.duplicates)
        self._is_open = True
        self.change(loaded)

    def change(self, loaded: Loaded) -> None:
        """Open the queue where a route of ``loaded`` is the first that keeps what it is sent. Raises ConfigError."""
        settings = loaded.settings.queue
        if not (self._is_open and _keeps(loaded)) or settings is None or self._close_queue is not None:
            return
        # The wing is imported where it is configured, and not at every start.
        from proxy.queue import asked, opening, records

        try:
            keeper = opening.open_keeper(self._site, settings)
        except records.QueueError as error:
            mend = "let the user that hookward runs as write there, or name another folder: `path` in [queue]"
            mend = mend if settings.url is None else how_to_add("redis")
            raise ConfigError([Problem("queue", str(error), mend)]) from None
        self._site.queue = keeper
        desk = asked.QueueDesk(keeper.store, keeper.ring, self._site.clock.wall, self._keeps)
        for place, handler in desk.places.items():
            self._paths.add(place, handler)
        self._close_queue = keeper.close

    def _keeps(self, name: str) -> bool:
        return name in self._site.policy.lanes()

    async def close(self) -> None:
        """Write what is known, and close them."""
        if self._close_queue is not None:
            await self._close_queue()
        await close_duplicates(self._site)
