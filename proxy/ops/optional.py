"""What a worker has only where it is configured: the memory of duplicates and the queue, a relay's part or that of an
agent, certificates whose files change, and published address sets.

Certificates and sets come with the configuration and are exchanged by a reload. Each other module that is needed for
any of these is imported here, when it is asked for, and not at every start.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from ssl import PROTOCOL_TLS_SERVER, SSLContext, SSLObject, TLSVersion
from types import ModuleType
from typing import TYPE_CHECKING

from proxy.config.delivery import FILE_NAME
from proxy.config.guarded_files import judge_place
from proxy.config.host import how_to_add, worker_count
from proxy.config.set_shelf import SetShelf
from proxy.config.settings import DuplicateSettings, Loaded
from proxy.core.delivery import Keys
from proxy.core.metric_families import CERTIFICATE_EXPIRY, RELAY_REACHED
from proxy.core.metrics import Metrics
from proxy.core.policy import Endpoint
from proxy.errors import ConfigError, Problem
from proxy.net.admission import ConnectionSlots
from proxy.net.beyond_ssl import Served
from proxy.net.clock import Clock
from proxy.net.duplicates import SharedStore, StoreError
from proxy.net.http_server import Paths
from proxy.net.listener import ConnectionFactory
from proxy.net.site import Site
from proxy.net.tls import TlsContexts, sentence
from proxy.ops.journal import log, problem_lines

if TYPE_CHECKING:
    from proxy.agent.relay import AgentRelay
    from proxy.agent.serve import Agent
    from proxy.net.feeds import SetRefresher


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


class AgentParts:
    """The parts of one worker. ``number`` is the worker's among those of its process, from 0."""

    def __init__(
        self, site: Site, slots: ConnectionSlots, certificates: Certificates, paths: Paths, number: int
    ) -> None:
        self._site = site
        self._slots = slots
        self._certificates = certificates
        self._paths = paths
        self._number = number
        self._relay: AgentRelay | None = None
        self._agent: Agent | None = None

    def factory(self, loaded: Loaded, client: ConnectionFactory) -> ConnectionFactory:
        """What makes the connections of a listener: ``client``, unless agents may come in as well."""
        if not loaded.settings.agents.rules:
            return client
        if self._relay is None:
            from proxy.agent import relay

            place = (self._number, worker_count(loaded.settings.workers), self._site.instance)
            served = self._certificates
            self._relay = relay.AgentRelay(
                self._site, self._slots.counters, place, lambda: [one.certificate.fingerprint for one in served.served]
            )
            self._paths.add("GET /agents", self._relay.answer)
        return self._relay.parting(client)

    def use(self, loaded: Loaded) -> None:
        """A load of the configuration is in force."""
        for part in self._open:
            part.use(loaded)

    def start(self, loaded: Loaded) -> None:
        """Dial the relays, where we are an agent. Raises ConfigError where it has joined none."""
        dials = loaded.settings.dials
        if dials is None:
            return
        from proxy.agent import serve

        self._agent = serve.Agent(self._site, self._slots, dials)
        self._agent.use(loaded)
        self._agent.start()

    def drain(self) -> None:
        """Tell the other ends that we leave."""
        for part in self._open:
            part.drain()

    async def close(self) -> None:
        """End all of it."""
        for part in self._open:
            await part.close()

    def measure(self, metrics: Metrics) -> None:
        """Set the gauges."""
        if self._relay is not None:
            self._relay.measure(metrics)
        if self._agent is not None:
            metrics.replace(RELAY_REACHED, {(link.relay,): link.is_reached for link in self._agent.links})

    def not_ready(self) -> str:
        """Why no delivery can come from a relay; "" where all is well, or we are no agent."""
        return "" if self._agent is None else "; ".join(self._agent.unreached())

    def reachable(self, endpoints: tuple[Endpoint, ...]) -> bool:
        """Whether one of ``endpoints`` is well: of an agent, whether a probe of its application came through lately."""
        alive = {} if self._relay is None else self._relay.alive()
        others = tuple(endpoint for endpoint in endpoints if not endpoint.agent)
        return any(alive.get(one.agent) for one in endpoints) or self._site.pool.endpoints.reachable(others)

    def describe(self) -> dict[str, object]:
        """For the status page."""
        found: dict[str, object] = {}
        if self._relay is not None:
            found["agents"] = self._relay.describe()
        if self._agent is not None:
            found["relays"] = self._agent.describe()
        return found

    @property
    def _open(self) -> list[AgentRelay | Agent]:
        return [part for part in (self._relay, self._agent) if part is not None]


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
