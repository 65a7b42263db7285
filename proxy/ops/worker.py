"""One process, one loop: the site and its doors, from the start over reloads to the end of the drain.

Start: everything is bound before anything is said. SIGHUP: the configuration is loaded again, and taken over as a whole
or not at all. SIGTERM: no new connections, idle ones are closed, exchanges under way get ``drain`` seconds, a second
signal stops at once. This module decides nothing about a request.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import secrets
import socket
import sys
from collections.abc import Callable, Mapping

import proxy
from proxy.config.set_shelf import SetShelf
from proxy.config.settings import Loaded, Settings
from proxy.config.settings import TcpForward as TcpSettings
from proxy.core.addresses import Peer
from proxy.core.metrics import Metrics
from proxy.errors import ConfigError, HookwardError, Problem
from proxy.net.access_log import AccessLog, JsonLines, NoLog, TextLines
from proxy.net.admission import ConnectionSlots
from proxy.net.client import ClientConnection
from proxy.net.feeds import SetRefresher
from proxy.net.listener import Listener
from proxy.net.log_sink import LogSink
from proxy.net.site import Site
from proxy.net.sockets import BoundSocket, listen_all
from proxy.net.tcp_forward import TcpForward
from proxy.net.tls import TlsContexts
from proxy.ops import banner
from proxy.ops.admin import AdminServer
from proxy.ops.certificates import Certificates, load_certificates
from proxy.ops.doors import Doors, Wanted
from proxy.ops.gauges import Gauges
from proxy.ops.journal import log, open_journal
from proxy.ops.signals import Signals
from proxy.ops.terminal import Paint, wants_colour

#: How often a drain looks whether everybody has left.
DRAIN_LOOK_S = 0.02

Load = Callable[[int], Loaded]


class Worker:
    """The process at work. ``load`` loads the configuration again, as the given generation; ``shelf`` is where every
    load has its published address sets from.
    """

    def __init__(self, loaded: Loaded, load: Load, environ: Mapping[str, str], shelf: SetShelf | None = None) -> None:
        self._first = loaded
        self._load = load
        self._environ = environ
        self._loop = asyncio.get_running_loop()
        self._settings = loaded.settings
        self._log = open_access_log(loaded.settings, self._loop)
        self.metrics = Metrics(proxy.__version__, platform.python_version())
        self.site = Site(
            loop=self._loop,
            policy=loaded.policy,
            log=self._log,
            metrics=self.metrics,
            instance=secrets.token_hex(4),
        )
        self._sets = SetRefresher(shelf or SetShelf(), self.metrics, self.site.clock.wall, self._admit)
        self._slots = ConnectionSlots()
        self._gauges = Gauges(self.metrics, self.site, self._slots)
        self._doors = Doors(environ)
        self._certificates = Certificates(self._loop)
        self._admin: AdminServer | None = None
        self._admin_sockets: list[BoundSocket] = []
        self._stopping = asyncio.Event()
        self._stop_now = asyncio.Event()

    async def run(self) -> None:
        """Serve until a signal says otherwise. Raises ListenError or ConfigError where the start fails."""
        signals = Signals(self._loop, stop=self.stop, reload=self.reload, reopen=self.reopen)
        try:
            await self._start()
            await self._stopping.wait()
            await self._drain()
        finally:
            signals.close()
            await self._close()

    # -- signals

    def stop(self) -> None:
        """Drain; called again, stop at once."""
        if self._stopping.is_set():
            self._stop_now.set()
        self._stopping.set()

    def reopen(self) -> None:
        """Open the access log again, after a rotation."""
        self._log.reopen()
        log.info("reopened the access log")

    def reload(self) -> None:
        """Load the configuration again; where it is bad, or a socket cannot be had, all stays as it is."""
        if self._stopping.is_set():
            return
        try:
            loaded = self._load(self.site.policy.generation + 1)
            contexts = load_certificates(loaded.settings)
            # Nothing has changed until here, and nothing below can fail.
            self._doors.change(self._wanted(loaded.settings))
        except HookwardError as error:
            self.metrics.reloads.inc("refused")
            log.error("reload refused, the old configuration stays in force:\n%s", error)
            return
        self._take_over(loaded, contexts)
        self.metrics.reloads.inc("done")
        log.info("reloaded: configuration %d, %d route(s)", loaded.policy.generation, len(loaded.policy.routes))

    # -- the parts

    async def _start(self) -> None:
        loaded = await self._sets.fetch_missing(self._first)
        if self.site.policy is self._first.policy:  # else a reload came in between
            self._admit(loaded)
            self._sets.use(loaded)
        settings = self._settings
        self._certificates.use(load_certificates(settings))
        self._doors.change(self._wanted(settings))
        addresses = [(door.wanted.name, str(door.bound)) for door in self._doors.open]
        if settings.admin is not None:
            addresses += [("admin", text) for text in await self._open_admin(settings)]
        self._announce(addresses)

    def _announce(self, addresses: list[tuple[str, str]]) -> None:
        paint = Paint.on(sys.stderr)
        loop = type(self._loop).__module__.partition(".")[0]
        lines = [
            banner.headline(proxy.__version__, platform.python_version(), loop, os.getpid()),
            *banner.policy_lines(self.site.policy, self._settings, paint),
            *banner.ready_lines(addresses, secure=bool(self._settings.tls)),
        ]
        print("\n".join(lines), file=sys.stderr, flush=True)

    def _wanted(self, settings: Settings) -> list[Wanted]:
        secure, proxied = bool(settings.tls), settings.proxy_protocol == "require"

        def serve_webhooks(sock: socket.socket) -> Listener:
            return Listener(
                sock,
                site=self.site,
                slots=self._slots,
                factory=self._make_connection,
                tls=self._certificates if secure else None,
                proxy_protocol=proxied,
            )

        wanted = [Wanted("", address, (secure, proxied), serve_webhooks) for address in settings.listen]
        return wanted + [self._wanted_forward(forward) for forward in settings.tcp]

    def _wanted_forward(self, forward: TcpSettings) -> Wanted:
        def serve_pipes(sock: socket.socket) -> TcpForward:
            return TcpForward(sock, site=self.site, slots=self._slots, upstream=forward.upstream, allow=forward.allow)

        return Wanted(forward.name, forward.listen, forward.upstream, serve_pipes)

    def _make_connection(self, peer: Peer, secure: bool, on_close: Callable[[], None]) -> ClientConnection:  # noqa: FBT001 - as the listener calls it
        return ClientConnection(self.site, peer, secure=secure, on_close=on_close)

    async def _open_admin(self, settings: Settings) -> list[str]:
        assert settings.admin is not None
        self._admin = AdminServer(self, frozenset({settings.admin.host.lower()} - {""}))
        self._admin_sockets = listen_all([settings.admin], self._environ)
        for bound in self._admin_sockets:
            await self._admin.listen(bound.sock)
        return [str(bound) for bound in self._admin_sockets]

    def _take_over(self, loaded: Loaded, contexts: TlsContexts | None) -> None:
        before, settings = self._settings, loaded.settings
        self._admit(loaded)
        self._sets.use(loaded)
        self._certificates.use(contexts)
        open_journal(settings.log_level)
        if (before.access_log, before.log_format) != (settings.access_log, settings.log_format):
            self._change_log(settings)
        for key in ("workers", "admin"):
            if getattr(before, key) != getattr(settings, key):
                log.warning("%s changes only with a restart", key)
        for warning in settings.warnings:
            log.warning("%s", warning)

    def _admit(self, loaded: Loaded) -> None:
        """Judge by this load from now on."""
        self._settings = loaded.settings
        self.site.use(loaded.policy)
        allows = {forward.name: forward.allow for forward in loaded.settings.tcp}
        for door in self._doors.open:
            if isinstance(door.server, TcpForward):
                door.server.allow = allows[door.wanted.name]

    def _change_log(self, settings: Settings) -> None:
        try:
            fresh = open_access_log(settings, self._loop)
        except ConfigError as error:
            log.error("the access log stays where it was:\n%s", error)
            return
        self._log.close(0)
        self._log = self.site.log = fresh

    # -- the end

    async def _drain(self) -> None:
        counters = self._slots.counters
        drain_s = self._settings.drain_s
        log.info("draining: %d connection(s) open, at most %g s; a second signal stops now", counters.open, drain_s)
        self._doors.stop()
        self.site.start_drain()
        deadline = self._loop.time() + drain_s
        # Looking is simpler than a call from every way a connection can end, and only happens here.
        while counters.open and not self._stop_now.is_set() and self._loop.time() < deadline:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(DRAIN_LOOK_S):
                    await self._stop_now.wait()
        if counters.open:
            log.warning("%d connection(s) were cut", counters.open)

    async def _close(self) -> None:
        self._doors.stop()
        for connection in list(self.site.connections):
            connection.abort()
        await self._doors.abandon()
        self._certificates.use(None)
        await self._sets.close()
        if self._admin is not None:
            self._admin.close()
        for bound in self._admin_sockets:
            bound.close()
        await self.site.pool.close()
        # Aborted connections end, and are logged, in the next turns of the loop.
        for _ in range(3):
            await asyncio.sleep(0)
        self.site.clock.close()
        self._log.close()
        log.info("stopped")

    # -- asked by the admin listener

    def not_ready(self) -> list[str]:
        """Why no delivery can be taken now, a line each."""
        missing = []
        if self._stopping.is_set():
            missing.append("draining")
        if not self._doors.open:
            missing.append("no listener")
        upstreams = {route.upstream for route in self.site.policy.routes}
        if upstreams and not any(self.site.pool.reachable(endpoints) for endpoints in upstreams):
            missing.append("no upstream accepts connections")
        return missing

    def expose(self) -> bytes:
        """The metrics in Prometheus' text format."""
        self._gauges.refresh(self._log.dropped, self._doors.open)
        self._sets.measure()
        return self.metrics.expose()


def open_access_log(settings: Settings, loop: asyncio.AbstractEventLoop) -> AccessLog | NoLog:
    """The access log that the settings ask for. Raises ConfigError where its file cannot be opened."""
    to_stdout = settings.access_log == "-"
    # None: stdout was closed when we were started.
    if settings.access_log == "off" or (to_stdout and sys.stdout is None):
        return NoLog()
    as_text = settings.log_format == "text" or (settings.log_format == "auto" and to_stdout and sys.stdout.isatty())
    formatter = TextLines(colour=to_stdout and wants_colour(sys.stdout)) if as_text else JsonLines()
    if to_stdout:
        return AccessLog(LogSink(sys.stdout.fileno()), formatter, loop)
    try:
        return AccessLog(LogSink.open(settings.access_log), formatter, loop)
    except OSError as error:
        what = f"{settings.access_log} cannot be opened ({error.strerror})"
        raise ConfigError([Problem("access_log", what, "let the user that hookward runs as write there")]) from None
