"""One process that serves by itself: its worker, its signals, what it tells systemd, and its upgrade.

``workers = 1`` runs so, without a supervisor. SIGHUP loads the configuration again and takes it over in place: no
connection notices, and the next request on each is judged by the new one. SIGUSR2 starts the process that replaces this
one (``ops.handover``).
"""

from __future__ import annotations

import asyncio
import os
import sys
from functools import partial

from proxy.config.host import command_line
from proxy.config.settings import Loaded, Settings
from proxy.core.metric_families import RELOAD_GOOD, RELOADS
from proxy.core.policy import Policy
from proxy.errors import HookwardError
from proxy.net.apart import SWITCH_S
from proxy.ops import banner
from proxy.ops.handover import PATIENCE_S, NewProcess
from proxy.ops.journal import log
from proxy.ops.launch import Launch, Load
from proxy.ops.places import SocketStore
from proxy.ops.process import let_go
from proxy.ops.signals import Signals
from proxy.ops.worker import Worker


class Solo:
    """The process. ``run`` returns when it is to end."""

    def __init__(self, launch: Launch) -> None:
        self._launch = launch
        self._notifier = launch.notifier
        self._loop = asyncio.get_running_loop()
        held = () if launch.old is None else launch.old.held
        self.worker = Worker(launch.loaded, SocketStore(launch.environ, held), launch.shelf)
        self._new: NewProcess | None = None
        self._reload: asyncio.Task[None] | None = None
        self._reload_again = False
        self._timers: dict[str, asyncio.TimerHandle] = {}

    async def run(self) -> None:
        """Serve until a signal says otherwise. Raises ListenError or ConfigError where the start fails."""
        signals = Signals(self._loop, stop=self.stop, reload=self.reload, reopen=self.reopen, upgrade=self.upgrade)
        try:
            addresses = await self.worker.open()
            banner.announce(self.worker.site.policy, self.worker.settings, addresses, self._launch.loop)
            self._begin()
            await self.worker.serve()
        finally:
            signals.close()
            if self._reload is not None:
                self._reload.cancel()
            self._drop_new()
            self._stop_speaking()
            await self.worker.close()
            log.info("stopped")

    # -- signals

    def stop(self) -> None:
        """Drain; called again, stop at once."""
        self._drop_new()
        self._notifier.stopping("draining")
        self.worker.stop()

    def reopen(self) -> None:
        """Open the access log again, after a rotation."""
        self.worker.reopen()
        log.info("reopened the access log")

    def reload(self) -> asyncio.Task[None]:
        """Load the configuration again, and once more where that is asked for meanwhile; where it is bad, or a socket
        cannot be had, all stays as it is. The task ends when that has been decided.
        """
        if self._reload is None or self._reload.done():
            self._reload = self._loop.create_task(self._load_again())
        else:
            self._reload_again = True
        return self._reload

    async def _load_again(self) -> None:
        self._reload_again = True
        while self._reload_again and not self.worker.is_leaving:
            self._reload_again = False
            if self._new is not None:
                log.warning("no reload during an upgrade: the new process reads the configuration itself")
                self._notifier.reloading()
                self._notifier.ready(self._status())
                return
            await self._load_once()

    async def _load_once(self) -> None:
        metrics, before = self.worker.metrics, self.worker.site.policy
        self._notifier.reloading()
        try:
            load = partial(_load_apart, self._launch.load, before, self.worker.settings)
            loaded, parts = await self._loop.run_in_executor(None, load)
            if self.worker.is_leaving:
                return
            self.worker.change(loaded)
            let_go(self._loop, before, parts)
        except HookwardError as error:
            metrics.inc(RELOADS, "refused")
            metrics.set(RELOAD_GOOD, 0)
            log.error("reload refused, the old configuration stays in force:\n%s", error)
            self._notifier.ready(self._status(), refused=True)
            return
        metrics.inc(RELOADS, "done")
        metrics.set(RELOAD_GOOD, 1)
        log.info("reloaded: configuration %d, %d route(s)", loaded.policy.generation, len(loaded.policy.routes))
        self._notifier.ready(self._status())

    def upgrade(self) -> None:
        """Start the process that takes over from this one; where it cannot, this one goes on."""
        if self.worker.is_leaving or self._new is not None:
            return
        if self._reload is not None and not self._reload.done():
            log.warning("no upgrade during a reload: try again")
            return
        try:
            self._new = new = NewProcess(self.worker.held, os.environ, command_line())
        except OSError as error:
            log.error("upgrade failed, this process goes on: %s", error.strerror)
            return
        log.info("upgrading: process %d is to take over", new.pid)
        self._loop.add_reader(new.fileno(), self._heard)
        self._timers["new"] = self._loop.call_later(PATIENCE_S, self._end_new)

    # -- the old and the new process

    def _heard(self) -> None:
        new = self._new
        assert new is not None
        serves = new.serves()
        if serves is False:
            self._end_new()
        elif serves:
            self._loop.remove_reader(new.fileno())
            self._new = None
            self.worker.listeners.unlink = False
            self._notifier.main_pid(new.pid)
            self._stop_speaking()
            new.confirm()
            log.info("upgraded: process %d has taken over", new.pid)
            self.worker.retire()

    def _end_new(self) -> None:
        code = self._drop_new()
        log.error("upgrade failed, this process goes on: the new one ended with exit code %d", code)

    def _drop_new(self) -> int:
        new, self._new = self._new, None
        if new is None:
            return 0
        self._loop.remove_reader(new.fileno())
        self._timers.pop("new").cancel()
        return new.give_up()

    def _stop_speaking(self) -> None:
        """Tell systemd nothing more: another process speaks now, or none."""
        for timer in self._timers.values():
            timer.cancel()
        self._notifier.close()
        self._drop_old()

    def _drop_old(self) -> bool:
        """Whether there was a process before us that had not been heard yet."""
        old = self._launch.old
        if old is None or old.fileno() < 0:
            return False
        self._loop.remove_reader(old.fileno())
        old.close()
        return True

    def _begin(self) -> None:
        """Say that we serve; in an upgrade first to the old process, which then lets us speak for both."""
        old = self._launch.old
        if old is None:
            self._speak()
            return
        old.serve()
        self._loop.add_reader(old.fileno(), self._speak)

    def _speak(self) -> None:
        if self._drop_old():
            log.info("taken over from the process before")
        self._notifier.ready(self._status())
        if self._notifier.watchdog_s:
            self._still_alive()

    def _still_alive(self) -> None:
        self._notifier.alive()
        self._timers["watchdog"] = self._loop.call_later(self._notifier.watchdog_s, self._still_alive)

    def _status(self) -> str:
        return banner.status_line(self.worker.site.policy, [str(bound) for _, bound in self.worker.held])


def _load_apart(load: Load, before: Policy, settings: Settings) -> tuple[Loaded, list[object]]:
    """Load in a thread: exchanges go on meanwhile, each after half a millisecond. Gives the parts of what was in force
    before, too.
    """
    sys.setswitchinterval(SWITCH_S)
    return load(before.generation + 1), [*before.routes, *settings.sources.items()]
