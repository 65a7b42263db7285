"""The life of a service, whatever does its work: its start, reloads, upgrades and its end, and what systemd hears.

    STARTING -> SERVING <-> RELOADING | UPGRADING        each -> LEAVING

The states and their table are in ``core.states``. An ``Engine`` does the work: one worker in this process
(``ops.run_command``), or the supervisor of several (``ops.supervisor``). A reload is taken over as a whole or not at
all. An upgrade starts the process that takes over the sockets (``ops.places``); when that one serves, this one leaves.
What is asked for before we serve is done then.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping
from typing import Protocol

from proxy.config.host import command_line
from proxy.config.set_shelf import SetShelf
from proxy.config.settings import Loaded
from proxy.core.metric_families import RELOAD_GOOD, RELOADS
from proxy.core.metrics import Metrics
from proxy.core.states import SERVICE_MOVES, ServiceState
from proxy.ops import banner
from proxy.ops.journal import Notifier, log, open_journal
from proxy.ops.places import HANDOVER_S, Held, NewProcess, OldProcess, SocketStore, shown
from proxy.ops.process import Call, SelectorLoop, Timer
from proxy.ops.worker import Leave
from proxy.values import frozen


class Load(Protocol):
    """Loads the configuration again."""

    def __call__(self, generation: int, *, state_dir: str | None = None) -> Loaded:
        """The configuration as a generation, with ``state_dir`` where it names none. FlagError or ConfigError."""


@frozen
class Launch:
    """One start. ``old`` is from the process that an upgrade replaces; ``loop`` names the event loop."""

    loaded: Loaded
    load: Load
    environ: Mapping[str, str]
    shelf: SetShelf
    notifier: Notifier
    old: OldProcess | None
    loop: str

    def sockets(self) -> SocketStore:
        """Where sockets come from: the old process, systemd, or nowhere yet."""
        return SocketStore(self.environ, () if self.old is None else self.old.held)


Loop = asyncio.AbstractEventLoop | SelectorLoop


class Engine(Protocol):
    """What does the work."""

    @property
    def metrics(self) -> Metrics:
        """Where reloads are counted."""

    @property
    def loaded(self) -> Loaded:
        """The load of the configuration that is in force."""

    @property
    def held(self) -> list[Held]:
        """The sockets that it serves."""

    @property
    def workers(self) -> int:
        """How many workers serve."""

    def reload(self) -> None:
        """Load again and take over, or change nothing; tells the service ``changed`` or ``refused``, at any time."""

    def leave(self, how: Leave) -> None:
        """End so; may be called again with more haste."""

    def reopen(self) -> None:
        """Open the access log again."""


class Service:
    """One service. It takes the signals of its process until it is closed."""

    def __init__(self, launch: Launch, loop: Loop, engine: Engine) -> None:
        self.state = ServiceState.STARTING
        self.how = Leave.STAY
        self.is_handed_over = False
        self.has_served = False
        self._launch = launch
        self._notifier = launch.notifier
        self._loop = loop
        self._engine = engine
        self._new: NewProcess | None = None
        self._patience: asyncio.TimerHandle | Timer | None = None
        self._watchdog: asyncio.TimerHandle | Timer | None = None
        self._asked: dict[Call, None] = {}  # too early, in order
        self._signals: dict[int, Call] = {
            signal.SIGTERM: self.stop,
            signal.SIGINT: self.stop,
            signal.SIGHUP: self.reload,
            signal.SIGUSR1: self.reopen,
            signal.SIGUSR2: self.upgrade,
        }
        for number, call in self._signals.items():
            loop.add_signal_handler(number, call)

    # -- signals

    def stop(self) -> None:
        """Drain; called again, stop at once."""
        self._drop_new()
        self._notifier.stopping("draining")
        self.leave(Leave.NOW if self.how is Leave.STOP else max(Leave.STOP, self.how))

    def reopen(self) -> None:
        """Open the access log again, after a rotation."""
        self._engine.reopen()
        log.info("reopened the access log")

    def reload(self) -> None:
        """Load the configuration again; where it is bad, or a socket cannot be had, all stays as it is."""
        if self.state is ServiceState.UPGRADING:
            log.warning("no reload during an upgrade: the new process reads the configuration itself")
            self._notifier.reloading()
            self._notifier.ready(self._status())
            return
        if not self._begins(ServiceState.RELOADING, self.reload):
            return
        self._notifier.reloading()
        self._engine.reload()

    def upgrade(self) -> None:
        """Start the process that takes over from this one; where it cannot, this one goes on."""
        if self.state is ServiceState.RELOADING:
            log.warning("no upgrade during a reload: try again")
            return
        if not self._begins(ServiceState.UPGRADING, self.upgrade):
            return
        try:
            self._new = new = NewProcess(self._engine.held, os.environ, command_line())
        except OSError as error:
            log.error("upgrade failed, this process goes on: %s", error.strerror)
            self._serve_on()
            return
        log.info("upgrading: process %d is to take over", new.pid)
        self._loop.add_reader(new.fileno(), self._hear_new)
        self._patience = self._loop.call_later(HANDOVER_S, self._upgrade_failed)

    # -- from the engine

    def serves(self) -> None:
        """Deliveries are taken: say so, in an upgrade first to the old process, which then lets us speak for both."""
        self.has_served = True
        loaded, old = self._engine.loaded, self._launch.old
        banner.announce(loaded.policy, loaded.settings, shown(self._engine.held), self._launch.loop)
        if old is None:
            self._speak()
        else:
            old.say_ready()
            self._loop.add_reader(old.fileno(), self._take_over)
        self._serve_on()

    def changed(self) -> None:
        """A reload is done."""
        loaded, metrics = self._engine.loaded, self._engine.metrics
        open_journal(loaded.settings.log_level)
        metrics.inc(RELOADS, "done")
        metrics.set(RELOAD_GOOD, 1)
        for warning in loaded.settings.warnings:
            log.warning("%s", warning)
        log.info("reloaded: configuration %d, %d route(s)", loaded.policy.generation, len(loaded.policy.routes))
        self._notifier.ready(self._status())
        self._serve_on()

    def refused(self, why: str) -> None:
        """A reload has failed, and nothing has changed."""
        self._engine.metrics.inc(RELOADS, "refused")
        self._engine.metrics.set(RELOAD_GOOD, 0)
        log.error("reload refused, the old configuration stays in force:\n%s", why)
        self._notifier.ready(self._status(), refused=True)
        self._serve_on()

    def leave(self, how: Leave) -> None:
        """The end has come, or comes faster."""
        if self.state is not ServiceState.LEAVING:
            self._move(ServiceState.LEAVING)
        self.how = how
        self._engine.leave(how)

    def forget(self) -> None:
        """In a forked worker: give up what is the service's."""
        self._notifier.close()
        for process in (self._launch.old, self._new):
            if process is not None:
                process.close()

    def close(self) -> None:
        """Give back the signals, and say nothing more."""
        for number in self._signals:
            self._loop.remove_signal_handler(number)
        self._drop_new()
        self._say_no_more()
        self._drop_old()

    # -- states

    def _move(self, state: ServiceState) -> None:
        self.state = SERVICE_MOVES[self.state][state]

    def _begins(self, state: ServiceState, asked: Call) -> bool:
        """Whether we may go from serving to ``state`` now. Where that is too early, it is asked for again later."""
        if self.state in {ServiceState.STARTING, ServiceState.RELOADING}:
            self._asked[asked] = None
        if self.state is not ServiceState.SERVING:
            return False
        self._move(state)
        return True

    def _serve_on(self) -> None:
        if self.state is ServiceState.LEAVING:
            return
        self._move(ServiceState.SERVING)
        while self._asked and self.state is ServiceState.SERVING:
            asked = next(iter(self._asked))
            del self._asked[asked]
            asked()

    # -- the old and the new process

    def _hear_new(self) -> None:
        new = self._new
        assert new is not None
        serves = new.serves()
        if serves is False:
            self._upgrade_failed()
        elif serves:
            self._release_new()
            self.is_handed_over = True
            self._notifier.main_pid(new.pid)
            self._say_no_more()
            new.confirm()
            log.info("upgraded: process %d has taken over", new.pid)
            self.leave(Leave.RETIRE)

    def _upgrade_failed(self) -> None:
        code = self._drop_new()
        log.error("upgrade failed, this process goes on: the new one ended with exit code %d", code)
        self._serve_on()

    def _drop_new(self) -> int:
        new = self._release_new()
        return 0 if new is None else new.give_up()

    def _release_new(self) -> NewProcess | None:
        new, self._new = self._new, None
        if new is not None:
            self._loop.remove_reader(new.fileno())
        if self._patience is not None:
            self._patience.cancel()
        return new

    def _take_over(self) -> None:
        self._drop_old()
        log.info("taken over from the process before")
        self._speak()

    def _drop_old(self) -> None:
        old = self._launch.old
        if old is not None and old.fileno() >= 0:
            self._loop.remove_reader(old.fileno())
            old.close()

    # -- what systemd hears

    def _speak(self) -> None:
        self._notifier.ready(self._status())
        if self._notifier.watchdog_s:
            self._still_alive()

    def _still_alive(self) -> None:
        self._notifier.alive()
        self._watchdog = self._loop.call_later(self._notifier.watchdog_s, self._still_alive)

    def _say_no_more(self) -> None:
        if self._watchdog is not None:
            self._watchdog.cancel()
        self._notifier.close()

    def _status(self) -> str:
        addresses = [address for _, address in shown(self._engine.held)]
        return banner.status_line(self._engine.loaded.policy, addresses, self._engine.workers)
