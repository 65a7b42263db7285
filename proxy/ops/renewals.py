"""What a worker renews while it serves: certificates whose files change, and published address sets.

Both come with the configuration and are exchanged by a reload. What refreshes address sets is imported where a
configuration asks for one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from ssl import PROTOCOL_TLS_SERVER, SSLContext, SSLObject, TLSVersion
from typing import TYPE_CHECKING

from proxy.config.set_shelf import SetShelf
from proxy.config.settings import Loaded
from proxy.core.metric_families import CERTIFICATE_EXPIRY
from proxy.core.metrics import Metrics
from proxy.errors import ConfigError, Problem
from proxy.net.certificate import Served, sentence
from proxy.net.clock import Clock
from proxy.net.tls import TlsContexts
from proxy.ops.journal import log, problem_lines

if TYPE_CHECKING:
    from proxy.net.feeds import SetRefresher


class Certificates:
    """What listeners hold instead of the contexts, so that a reload reaches them."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._contexts: TlsContexts | None = None
        self._watch: asyncio.Task[None] | None = None

    @property
    def context(self) -> SSLContext:
        """The context for the next connection."""
        assert self._contexts is not None, "a listener with TLS is opened only where there are certificates"
        return self._contexts.context

    def lasting_context(self) -> SSLContext:
        """One that serves the certificates in force, also those that come later."""
        assert self._contexts is not None, "as above"
        first = self._contexts.loaded[0].pair
        context = SSLContext(PROTOCOL_TLS_SERVER)
        context.minimum_version = TLSVersion.TLSv1_2
        context.load_cert_chain(first.cert, first.key)

        def choose(connection: SSLObject, name: str | None, _: SSLContext) -> None:
            if self._contexts is not None:
                connection.context = self._contexts.choose(name)

        context.sni_callback = choose
        return context

    @property
    def served(self) -> list[Served]:
        """Those in force."""
        return [] if self._contexts is None else [one.served for one in self._contexts.loaded]

    def measure(self, metrics: Metrics) -> None:
        """Set the gauge of their ends."""
        metrics.replace(CERTIFICATE_EXPIRY, {(one.file,): one.certificate.not_after for one in self.served})

    def use(self, contexts: TlsContexts | None) -> None:
        """Serve new connections with these from now on, and look for renewals of their files. None ends both."""
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        self._contexts = contexts
        if contexts is not None:
            self._watch = self._loop.create_task(contexts.watch(_report, renewed=_renewed))


def _renewed(one: Served) -> None:
    log.info("certificate %s, taken over from its file", sentence(one, Clock.wall()))


def _report(problems: list[Problem]) -> None:
    log.error("a certificate has changed and cannot be used, the old one stays:\n%s", problem_lines(problems))


class PublishedSets:
    """Keeps the sets of one worker fresh, from the first load on that has some."""

    def __init__(
        self, shelf: SetShelf, metrics: Metrics, wall: Callable[[], float], on_change: Callable[[Loaded], None]
    ) -> None:
        """``wall`` gives the seconds since the epoch; ``on_change`` is called with a load that has new copies in it."""
        self._parts = (shelf, metrics, wall, on_change)
        self._refresher: SetRefresher | None = None

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
