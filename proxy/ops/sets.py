"""Published address sets as a part of a worker: what refreshes them is imported where a configuration asks for one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from proxy.config.set_shelf import SetShelf
from proxy.config.settings import Loaded
from proxy.core.metrics import Metrics
from proxy.errors import ConfigError


class _Refresher(Protocol):
    """What keeps them fresh: ``net.feeds.SetRefresher``."""

    async def fetch_missing(self, loaded: Loaded) -> Loaded: ...

    def use(self, loaded: Loaded) -> None: ...

    def measure(self) -> None: ...

    async def close(self) -> None: ...


class PublishedSets:
    """Keeps the sets of one worker fresh, from the first load on that has some."""

    def __init__(
        self, shelf: SetShelf, metrics: Metrics, wall: Callable[[], float], on_change: Callable[[Loaded], None]
    ) -> None:
        """``wall`` gives the seconds since the epoch; ``on_change`` is called with a load that has new copies in it."""
        self._parts = (shelf, metrics, wall, on_change)
        self._refresher: _Refresher | None = None

    def prepare(self, loaded: Loaded) -> None:
        """Import what ``loaded`` will need. Raises ConfigError where the user that serves cannot read it any more."""
        if self._refresher is not None or not loaded.sets.used:
            return
        try:
            from proxy.net import feeds
        except ImportError:
            what = "a published set is used for the first time, and what refreshes it cannot be read by this user"
            raise ConfigError.of("allow", what, "restart hookward") from None
        self._refresher = feeds.SetRefresher(*self._parts)

    async def fetch_missing(self, loaded: Loaded) -> Loaded:
        """``loaded`` with the lists in it of which there was no copy, as far as they can be had in a few seconds."""
        self.prepare(loaded)
        return loaded if self._refresher is None else await self._refresher.fetch_missing(loaded)

    def use(self, loaded: Loaded) -> None:
        """Keep the sets of ``loaded`` fresh from now on, and no others."""
        if self._refresher is not None:
            self._refresher.use(loaded)

    def measure(self) -> None:
        """Set the gauges of the lists in use."""
        if self._refresher is not None:
            self._refresher.measure()

    async def close(self) -> None:
        """Stop. What is under way is dropped."""
        if self._refresher is not None:
            await self._refresher.close()
