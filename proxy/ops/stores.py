"""What a worker keeps beyond its exchanges: the memory of deliveries, closed with what is still unknown by then, and
the queue where a route asks for one.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from types import ModuleType

from proxy.config.delivery import FILE_NAME
from proxy.config.guarded_files import judge_place
from proxy.config.host import how_to_add
from proxy.config.settings import DuplicateSettings, Loaded
from proxy.core.duplicates import Keys
from proxy.errors import ConfigError, Problem
from proxy.net.duplicates import SharedStore, StoreError
from proxy.net.http_server import Paths
from proxy.net.site import Site

log = logging.getLogger(__name__)

#: ``queue.folder.DATABASE``, which is not imported where there is none.
QUEUE_FILE = "queue.sqlite3"


def import_queue(loaded: Loaded) -> ModuleType | None:
    """The module of the queue, where there is to be one. To be called while the package can be read for certain."""
    if not (_keeps(loaded) or _is_left(loaded)):
        return None
    from proxy.queue import keeper, opening, records

    if loaded.settings.queue is not None and loaded.settings.queue.url is not None:
        with suppress(records.QueueError):  # told when it is opened
            opening.import_redis()
    return keeper


def _keeps(loaded: Loaded) -> bool:
    return any(route.delivery is not None for route in loaded.policy.routes)


def _is_left(loaded: Loaded) -> bool:
    """Whether there may be deliveries that were kept by routes which keep no more."""
    queue = loaded.settings.queue
    if queue is None or queue.path is None:
        return queue is not None
    try:
        return Path(queue.path, QUEUE_FILE).exists()
    except OSError:
        return False


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
        """Open the queue where a route keeps what it is sent, or deliveries may be kept already. Raises ConfigError."""
        settings, keeps = loaded.settings.queue, _keeps(loaded)
        if not self._is_open or settings is None or self._close_queue is not None or not (keeps or _is_left(loaded)):
            return
        # The wing is imported where it is configured, and not at every start.
        from proxy.queue import keeper, opening, records

        try:
            queue = keeper.open_keeper(self._site, settings)
        except records.QueueError as error:
            mend = "let the user that hookward runs as write there, or name another folder: `path` in [queue]"
            mend = mend if settings.url is None else how_to_add("redis")
            problem = Problem("queue", str(error), mend)
            if keeps:
                raise ConfigError([problem]) from None
            log.warning("deliveries may be kept that no route asks for any more, and cannot be looked at: %s", problem)
            return
        self._site.queue = queue
        desk = opening.QueueDesk(queue.store, queue.ring, self._site.clock.wall, self._keeps)
        for place, handler in desk.places.items():
            self._paths.add(place, handler)
        self._close_queue = queue.close

    def _keeps(self, name: str) -> bool:
        return name in self._site.policy.lanes()

    async def close(self) -> None:
        """Write what is known, and close them."""
        if self._close_queue is not None:
            await self._close_queue()
        await close_duplicates(self._site)


_NOTHING = Keys((), ())


def import_store(settings: DuplicateSettings) -> ModuleType | None:
    """The module of the store that is configured. To be called while the package can be read for certain: the user that
    the process becomes may not be able to, and what is imported stays.
    """
    if settings.path is not None:
        from proxy.net import duplicates_sqlite

        return duplicates_sqlite
    if settings.url is not None:
        with suppress(ImportError):  # told when it is opened
            from proxy.net import duplicates_redis

            return duplicates_redis
    return None


def open_duplicates(site: Site, settings: DuplicateSettings) -> None:
    """Give ``site`` its memory. Raises ConfigError where it cannot be had; a Redis that is down is only said."""
    duplicates = site.duplicates
    duplicates.admits_blind = not settings.refuses
    duplicates.table.max_entries = settings.max_entries
    duplicates.store = store = _open_store(site, settings)
    if store is not None:
        # Nothing is released; but the log says whether the store answers, before a delivery comes.
        duplicates.run(duplicates.tell(lambda: store.released(_NOTHING, "")))


async def close_duplicates(site: Site) -> None:
    """End the waiting for answers, tell the store what is known, and close it."""
    for outcome in list(site.outcomes):
        outcome.deadline_passed(site.clock.now())
    await site.duplicates.close()


def _open_store(site: Site, settings: DuplicateSettings) -> SharedStore | None:
    # Each is imported where it is configured, and not at every start.
    store: SharedStore
    if settings.path is not None:
        from proxy.net.duplicates_sqlite import SqliteStore

        try:
            judge_place(settings.path)
            store = SqliteStore(settings.path, site.loop, site.clock.wall, max_entries=settings.max_entries)
        except (StoreError, OSError) as error:
            what = f"{settings.path} cannot be used ({error.strerror if isinstance(error, OSError) else error})"
            mend = f'let the user that hookward runs as write there, or name another file: path = ".../{FILE_NAME}"'
            raise ConfigError.of("duplicates.path", what, mend) from None
        return store
    if settings.url is not None:
        try:
            store = _redis_store(settings.url)
        except StoreError as error:
            raise ConfigError.of("duplicates.url", str(error), 'write "redis://127.0.0.1:6379/0"') from None
        return store
    return None


def _redis_store(url: str) -> SharedStore:
    """The store that needs a package which not every installation has."""
    try:
        from proxy.net.duplicates_redis import RedisStore
    except ImportError:
        problem = Problem("duplicates.store", "the client for Redis is not installed", how_to_add("redis"))
        raise ConfigError([problem]) from None
    return RedisStore(url)
