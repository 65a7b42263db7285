"""One loop at work: the site and its listeners, from the start over changes of the configuration to the end.

Start: everything is bound before anything is said. A change is taken over as a whole or not at all. The end has three
degrees. *Retire*: another process serves from now on; no new connections, those that are open end with their next
answer or by their own time-outs. *Stop*: none does; exchanges under way get ``drain`` seconds, connections that might
still bring a request a moment. *Now*: what is open is cut. Signals are for the process (``ops.run_command``,
``ops.supervised``); this module knows none, and decides nothing about a request.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, suppress
from enum import IntEnum

import proxy
from proxy.config.admission import callers
from proxy.config.host import PYTHON_VERSION, wants_colour
from proxy.config.set_shelf import SetShelf
from proxy.config.settings import Loaded, Settings
from proxy.core.metric_families import JOURNAL_DROPPED, LOG_WITHHELD
from proxy.core.metrics import Metrics, Snapshot, render, render_open_metrics
from proxy.errors import ConfigError
from proxy.net.access_log import AccessLog, LogSink
from proxy.net.admission import ConnectionSlots
from proxy.net.causes import Diagnoser, FaultDigest
from proxy.net.clock import NEVER
from proxy.net.endpoints import HealthChecks
from proxy.net.listener import Listener
from proxy.net.log_formats import formatter
from proxy.net.site import Site
from proxy.net.tls import load_certificates
from proxy.ops import status
from proxy.ops.admin import AdminServer, PrivateSocket, open_console
from proxy.ops.journal import dropped_lines, log
from proxy.ops.listeners import Listeners, OwnListeners, Services
from proxy.ops.optional import AgentParts, Certificates, PublishedSets, Stores
from proxy.ops.places import ADMIN, Held, SocketStore, become, own_places, owners_of
from proxy.ops.status import measure

#: How often is looked whether all have ended: often at first, when it is a matter of milliseconds.
LOOK_S = (0.001, 0.25)
#: Aborted connections end in the next turns of the loop.
CUT_S = 1.0
#: A connection that is open without a request when we stop may bring one that is on its way already.
IDLE_GRACE_S = 1.0

_LOG_KEYS = ("access_log", "log_format", "log_sample_refusals", "log_refusals_per_address")
_LASTING_KEYS = ("workers", "admin", "duplicates", "queue", "console", "user", "group")

Gather = Callable[[], Awaitable[Snapshot]]


class Leave(IntEnum):
    """How far the end has come; it only goes on."""

    STAY = 0
    RETIRE = 1
    STOP = 2
    NOW = 3


class Worker:
    """The site, its listeners, and what is shared by both.

    ``store`` is where sockets come from, ``shelf`` where every load has its published address sets from. ``gather``
    gives the metrics of all workers, where there are others. ``siblings``: others write to the same log.
    """

    def __init__(
        self,
        loaded: Loaded,
        store: SocketStore,
        shelf: SetShelf | None = None,
        *,
        gather: Gather | None = None,
        siblings: bool = False,
        number: int = 0,
    ) -> None:
        self._first = loaded
        self._store = store
        self._gather = gather
        self._siblings = siblings
        self._loop = asyncio.get_running_loop()
        self.settings = loaded.settings
        self._log = open_access_log(loaded.settings, self._loop, siblings=siblings)
        self.metrics = Metrics(proxy.__version__, PYTHON_VERSION)
        self.site = Site(
            loop=self._loop, policy=loaded.policy, log=self._log, metrics=self.metrics, instance=os.urandom(4).hex()
        )
        self._sets = PublishedSets(shelf or SetShelf(), self.metrics, self.site.clock.wall, self._admit)
        self._health = HealthChecks(self._loop, self.site.pool)
        self._faults = FaultDigest(self._loop, log.info)
        self._slots = ConnectionSlots(self._faults.note)
        self.site.note = self._faults.note
        self._diagnoser = self.site.diagnoser = Diagnoser(self.site, log.warning)
        self.listeners = Listeners(store, unlink=not siblings)
        self._certificates = Certificates(self._loop)
        self._own = OwnListeners(store, self._certificates)
        self.private = PrivateSocket(os.getppid() if siblings else os.getpid())
        self._agents = AgentParts(self.site, self._slots, self._certificates, self.private.paths, number)
        self._services = Services(self.site, self._slots, self._certificates, self._agents)
        self._leave = Leave.STAY
        self._leaving = asyncio.Event()
        #: What takes over a load of the configuration, at the start and later. None of these can fail.
        self._changes: list[Callable[[Loaded], None]] = [
            self._warn_of_lasting,
            self._change_log,
            self._admit,
            self._sets.use,
            lambda loaded: self._health.use(loaded.policy.endpoints()),
            self._agents.use,
        ]
        #: What is to be closed, the last one first.
        self._parts = AsyncExitStack()
        self._parts.callback(lambda: self._own.close(unlink=self.listeners.unlink))
        for part in (self.site.clock, self._faults, self.site.apart, self._diagnoser, self.private):
            self._parts.callback(part.close)
        self._stores = Stores(self.site, self.private.paths)
        self._parts.callback(self._certificates.use, None)
        parts = (self.site.pool, self._stores, self._sets, self._health)
        for close in (*(part.close for part in parts), self._cut, self._agents.close):
            self._parts.push_async_callback(close)

    # -- from start to end

    async def open(self) -> None:
        """Listen. Raises ListenError or ConfigError."""
        loaded = await self._sets.fetch_missing(self._first)
        settings = loaded.settings
        for place in own_places(settings):
            self._own.take(place)
        hosts = {settings.admin.host.lower()} - {""} if settings.admin is not None else ()
        await self._own.serve(ADMIN, AdminServer(self, frozenset(hosts)))
        self.change(loaded)
        self._store.close(unlink=not self._siblings)
        # From here to the end the loop does not turn: nothing is read of a client before we are the user to be, and
        # the files of the state are that user's.
        become(settings, [str(bound.address.path) for _, bound in self.held if bound.inode is not None])
        self._stores.open(loaded)
        await self.private.open(settings.state_dir, os.environ)
        self._parts.callback(await open_console(settings, self.site, self._own, self.private, self.describe))
        self._agents.start(loaded)

    async def serve(self, left: Callable[[], None] = lambda: None) -> None:
        """Serve until told to leave and the last connection has ended. ``left`` is called once no new one is taken."""
        await self._leaving.wait()
        self._agents.drain()
        if self._leave < Leave.NOW:
            self.listeners.take_queue()
        self.listeners.stop()
        if self._leave is Leave.RETIRE:
            self._own.leave()
        left()
        while (how := self._leave) < Leave.NOW:
            await self._drain(how)
            if how is Leave.STOP or not self._slots.counters.open:
                break
        if self._slots.counters.open:
            log.warning("%d connection(s) were cut", self._slots.counters.open)

    async def close(self) -> None:
        """End what is left, and give everything back."""
        await self._parts.aclose()
        self._log.close()

    # -- told by the process

    def leave(self, how: Leave, *, outdated: bool = False) -> None:
        """End so; called again, only faster. ``outdated``: connections end as soon as they are idle."""
        if outdated:
            self.site.outdate()
        if how is Leave.RETIRE:
            self.listeners.unlink = False  # another process serves the same sockets
        if how > self._leave:
            self._leave = how
            self._leaving.set()

    @property
    def is_leaving(self) -> bool:
        """Whether the end has begun."""
        return self._leave > Leave.STAY

    def reopen(self) -> None:
        """Open the access log again, after a rotation."""
        self._log.reopen()

    def change(self, loaded: Loaded) -> None:
        """Take over another load. HookwardError, and nothing has changed, without certificates or sockets."""
        contexts = load_certificates(loaded.settings)
        self._sets.prepare(loaded)
        self._stores.change(loaded)
        outdates = loaded.settings.asks_more_than(self.settings)
        self.listeners.change(self._services.specs(loaded, self.site.kind + outdates))
        # Nothing has changed until here, and nothing below can fail.
        self._certificates.use(contexts)
        for change in self._changes:
            change(loaded)
        if outdates:
            self.site.outdate()

    @property
    def loaded(self) -> Loaded:
        """The load of the configuration that is in force."""
        return Loaded(self.site.policy, self.settings)

    @property
    def held(self) -> list[Held]:
        """The sockets that we listen on."""
        return [(listener.spec.place, listener.bound) for listener in self.listeners.open] + self._own.held

    # -- the parts

    def _admit(self, loaded: Loaded) -> None:
        """Judge by this load from now on."""
        self.settings = loaded.settings
        self.site.use(loaded.policy)
        allows = {forward.name: callers(forward.allow, forward.deny) for forward in loaded.settings.tcp}
        for listener in self.listeners.open:
            if not isinstance(listener.server, Listener):
                listener.server.allow = allows[listener.spec.name]
            listener.server.shield(on=self.settings.kernel_filter)  # what the kernel may drop now

    def _warn_of_lasting(self, loaded: Loaded) -> None:
        for key in _differing(_LASTING_KEYS, self.settings, loaded.settings):
            log.warning("%s changes only with a restart or an upgrade (SIGUSR2)", key)

    def _change_log(self, loaded: Loaded) -> None:
        settings = loaded.settings
        if not _differing(_LOG_KEYS, self.settings, settings):
            return
        try:
            fresh = open_access_log(settings, self._loop, siblings=self._siblings)
        except ConfigError as error:
            log.error("the access log stays where it was:\n%s", error)
            return
        self._log.close(0)
        self._log = self.site.log = fresh

    # -- the end

    async def _drain(self, how: Leave) -> None:
        counters, drain_s = self._slots.counters, self.settings.drain_s
        if how is Leave.STOP:
            log.info("draining: %d connection(s) open, at most %g s; a second signal stops now", counters.open, drain_s)
            self.site.start_drain(min(IDLE_GRACE_S, drain_s))
        else:
            log.info("retiring: %d connection(s) open, which end in their own time", counters.open)
            self.site.start_drain(NEVER)
        await self._until_none_is_open(drain_s if how is Leave.STOP else NEVER)

    async def _cut(self) -> None:
        self.listeners.stop()
        for connection in list(self.site.connections):
            connection.abort()
        await self.listeners.abandon()
        # They end, and are logged, in the next turns of the loop.
        await self._until_none_is_open(CUT_S)

    async def _until_none_is_open(self, most_s: float) -> None:
        """Wait until no connection is left, time is over, or the end comes faster."""
        counters, how, deadline = self._slots.counters, self._leave, self._loop.time() + most_s
        pause, longest = LOOK_S
        self._leaving.clear()
        # Looking is simpler than a call from every way a connection can end, and only happens here.
        while counters.open and self._leave is how and self._loop.time() < deadline:
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._leaving.wait()
            pause = min(pause * 1.5, longest)

    # -- asked by the admin listener

    def not_ready(self) -> dict[str, str]:
        """Why no delivery can be taken now, a line for each part."""
        missing = {}
        if self.is_leaving:
            missing["draining"] = "draining"
        if unreached := self._agents.not_ready():
            missing["relay"] = unreached
        elif not self.listeners.open and self.settings.dials is None:
            missing["listener"] = "no listener"
        if not self._reaches_an_upstream():
            missing["upstream"] = "no upstream accepts connections"
        if self.site.queue is not None and self.site.queue.failure:
            missing["queue"] = f"the queue takes no delivery: {self.site.queue.failure}"
        return missing

    def _reaches_an_upstream(self) -> bool:
        # What keeps needs no upstream to take a delivery.
        upstreams = {one.upstream for one in self.site.policy.routes if one.delivery is None or not one.delivery.keeps}
        return not upstreams or any(map(self._agents.reachable, upstreams))

    def snapshot(self) -> Snapshot:
        """The metrics of this worker, as they are now."""
        measure(self.site, self._slots, self._log.dropped, self.listeners.open)
        self.metrics.set(LOG_WITHHELD, self._log.withheld)
        self.metrics.set(JOURNAL_DROPPED, dropped_lines())
        self._sets.measure()
        self._certificates.measure(self.metrics)
        self._agents.measure(self.metrics)
        return self.metrics.snapshot()

    async def expose(self) -> bytes:
        """The metrics of all workers in Prometheus' text format."""
        return render(await self._all_workers())

    async def expose_open_metrics(self) -> bytes:
        """The metrics of all workers in OpenMetrics' text format."""
        return render_open_metrics(await self._all_workers())

    async def describe(self) -> dict[str, object]:
        """The configuration in force and the state of the parts."""
        snapshot, pool = await self._all_workers(), self.site.pool
        served, now = self._certificates.served, self.site.clock.wall()
        return {
            "version": proxy.__version__,
            "python": PYTHON_VERSION,
            "not_ready": list(self.not_ready().values()),
            **self._agents.describe(),
            **status.document(self.loaded, snapshot, served, pool.endpoints.conditions(), now),
        }

    async def _all_workers(self) -> Snapshot:
        return self.snapshot() if self._gather is None else await self._gather()


def _differing(keys: Iterable[str], before: Settings, now: Settings) -> list[str]:
    return [key for key in keys if getattr(before, key) != getattr(now, key)]


def open_access_log(settings: Settings, loop: asyncio.AbstractEventLoop, *, siblings: bool = False) -> AccessLog:
    """The access log of the settings; ``siblings`` write to the same place. ConfigError where it cannot be opened."""
    to_stdout = settings.access_log == "-" and sys.stdout is not None
    lines = formatter(
        settings.log_format, terminal=to_stdout and sys.stdout.isatty(), colour=to_stdout and wants_colour(sys.stdout)
    )
    sample, most = settings.log_sample_refusals, settings.log_refusals_per_address
    return AccessLog(_open_sink(settings, siblings=siblings), lines, loop, sample=sample, per_minute=most)


def _open_sink(settings: Settings, *, siblings: bool) -> LogSink | None:
    """Where lines go; None where none are wanted, or stdout was closed when we were started."""
    try:
        if settings.access_log == "-":
            return None if sys.stdout is None else LogSink(sys.stdout.fileno(), siblings=siblings)
        return None if settings.access_log == "off" else LogSink.open(settings.access_log, owners_of(settings))
    except OSError as error:
        what = f"{settings.access_log} cannot be opened ({error.strerror})"
        missing = isinstance(error, FileNotFoundError)
        mend = "create its folder" if missing else "let the user that hookward runs as write there"
        raise ConfigError.of("access_log", what, mend) from None
