"""Several workers, and who keeps them: binds the sockets, forks, watches, replaces, and ends with them.

The supervisor serves nobody and has no loop, so that it can fork at any time and has little that can fail. It holds the
listening sockets: who knocks while a worker goes is served by the next. A reload is loaded and judged here, whole;
then workers with it replace those before, one by one (``ops.roster``). Where one of them cannot serve, the reload is
refused and the old configuration comes back. A worker that dies is replaced at once, one that dies again and again with
growing pauses; where none can be started, the process ends and says why.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
from collections.abc import Callable
from time import monotonic

from proxy.config.commandline import ExitCode
from proxy.config.host import command_line, worker_count
from proxy.core.exposition import Snapshot, plain_snapshot
from proxy.core.metric_families import GENERATION, RELOAD_GOOD, RELOADS, STARTED, WORKER_EXITS, WORKERS
from proxy.core.metrics import Metrics
from proxy.errors import HookwardError
from proxy.net.clock import NEVER, Clock
from proxy.net.tls import load_certificates
from proxy.ops import banner, supervised
from proxy.ops.channel import ChannelError, Message, line_limit, metrics_of, number_of
from proxy.ops.handover import PATIENCE_S, NewProcess, OldProcess
from proxy.ops.journal import log, open_journal
from proxy.ops.launch import Launch
from proxy.ops.places import Held, SocketStore, places_of, shown
from proxy.ops.process import LoopFactory
from proxy.ops.roster import ExitKind, Roster, State
from proxy.ops.shared_sets import SharedSets
from proxy.ops.signals import SignalQueue
from proxy.ops.supervised import Errand
from proxy.ops.tally import Tally
from proxy.ops.worker import Leave
from proxy.ops.worker_processes import Plan, WorkerProcess, WorkerProcesses

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCHLD)
#: A worker that does not serve by then never will. It may fetch address lists first, for 10 s.
START_S = 60.0
#: A worker that is told to retire says within milliseconds that it takes no more connections.
RETIRE_S = 15.0
#: After so many failures in a row, with nobody left who serves, there is nothing to wait for.
MAX_FAILURES = 5
#: Workers end their drain by themselves; one that has not by then is killed.
STOP_MARGIN_S = 5.0


class Supervisor:
    """The supervisor of all workers. ``run`` returns the exit code."""

    def __init__(self, launch: Launch, loop_factory: LoopFactory) -> None:
        self._launch = launch
        self._loop_factory = loop_factory
        self._notifier = launch.notifier
        self._sets = SharedSets(launch.load)
        self._selector = selectors.DefaultSelector()
        self._signals = SignalQueue(SIGNALS)
        self._watch(self._signals, self._signalled)
        self._workers = WorkerProcesses(self._selector, self._heard, monotonic)
        self._roster: Roster[Plan, WorkerProcess] = Roster(self._fork, self._retire)
        self._metrics = Metrics()
        self._metrics.set(STARTED, Clock.wall())
        self._tally = Tally(self._own_numbers)
        self._generation = launch.loaded.policy.generation
        self._held: list[Held] = []
        self._plan: Plan | None = None  # in force
        self._next: Plan | None = None  # being rolled out
        self._reload_again = False
        self._upgrade_again = False
        self._leave = Leave.STAY
        self._deadline = NEVER  # of the end
        self._exit_code: int = ExitCode.OK
        self._new: NewProcess | None = None
        self._new_deadline = NEVER
        self._handed_over = False
        self._alive_at = NEVER

    def run(self) -> int:
        """Serve until a signal says otherwise. Raises ListenError or ConfigError where that cannot begin."""
        try:
            self._begin()
            while self._workers or self._leave is Leave.STAY:
                self._turn()
            return self._exit_code
        finally:
            self._end()

    # -- one turn

    def _begin(self) -> None:
        launch = self._launch
        store = SocketStore(launch.environ, () if launch.old is None else launch.old.held)
        loaded = self._sets.share(launch.loaded)
        load_certificates(loaded.settings)
        self._next = Plan(loaded, store.take(places_of(loaded.settings)))
        store.close()
        self._roster.assign(self._next, worker_count(loaded.settings.workers))

    def _turn(self) -> None:
        now = monotonic()
        if self._leave is Leave.STAY:
            self._roster.advance(now)
        for key, _ in self._selector.select(self._pause(now)):
            key.data()
        for process, code in self._workers.reap():
            self._tally.gone(process.pid)
            self._ended(process, code)
        self._look(monotonic())
        if self._next is not None and self._leave is Leave.STAY and self._roster.complete:
            self._rolled_out(self._next)

    def _pause(self, now: float) -> float | None:
        """How long nothing is to be done, unless something happens."""
        dates = [self._deadline, self._new_deadline, self._alive_at]
        dates += [process.started + START_S for process in self._roster.starting]
        dates += [process.due for process in self._workers.processes.values()]
        if self._notifier.watchdog_s:
            dates += [process.heard + self._silence_s for process in self._roster.serving]
        pauses = [date - now for date in dates if date < NEVER]
        if self._leave is Leave.STAY:
            pauses += [pause for pause in [self._roster.due(now)] if pause is not None]
        pauses += [pause for pause in [self._tally.due(now)] if pause is not None]
        return max(0.0, min(pauses)) if pauses else None

    def _look(self, now: float) -> None:
        """What is due by time."""
        self._tally.look(now)
        self._end_late(now)
        if now >= self._alive_at:
            self._notifier.alive()
            self._alive_at = now + self._notifier.watchdog_s
            for process in self._roster.serving:
                if now - process.heard > self._silence_s:
                    log.error("%s has said nothing for %.0f s, and is ended", process, now - process.heard)
                    self._metrics.inc(WORKER_EXITS, "stuck")
                    process.kill()
        if now >= self._new_deadline:
            self._upgrade_failed()
        if now >= self._deadline:
            self._deadline = NEVER
            for process in self._workers.processes.values():
                log.warning("%s has not ended in time, and is ended", process)
                process.kill()

    def _end_late(self, now: float) -> None:
        for process in self._roster.starting:
            if now - process.started > START_S:
                log.error("%s does not serve after %g s, and is ended", process, START_S)
                process.kill()
        for process in self._workers.processes.values():
            if now >= process.due:
                process.due = NEVER
                log.error("%s does not do what it is told, and is ended", process)
                process.kill()

    @property
    def _silence_s(self) -> float:
        return max(2 * self._notifier.watchdog_s, 3 * supervised.BEAT_S)

    # -- workers

    def _fork(self, number: int, plan: Plan) -> WorkerProcess:
        errand = Errand(number, plan.loaded, plan.held, self._launch.shelf)

        def serve(channel: socket.socket) -> int:
            return supervised.main(errand, channel, self._loop_factory)

        policy = plan.loaded.policy
        most = line_limit(len(policy.routes) + len(policy.endpoints()))
        return self._workers.add(number, plan, lambda: self._forget(plan), serve, most)

    def _forget(self, mine: Plan) -> None:
        """In a forked worker: give up what is the supervisor's."""
        self._signals.close(signal.SIG_IGN)
        self._selector.close()
        self._workers.forget()
        self._notifier.close()
        self._sets.forget()
        if self._launch.old is not None:
            self._launch.old.close()
        keep = {bound.sock for _, bound in mine.held}
        for plan in (self._plan, self._next):
            for _, bound in plan.held if plan is not None else ():
                if bound.sock not in keep:
                    bound.close(unlink=False)

    def _retire(self, process: WorkerProcess) -> None:
        # It says at once that it takes no more; the next one's turn waits for that.
        process.due = monotonic() + RETIRE_S
        now = self._next or self._plan
        mine = process.plan.loaded.settings
        outdated = now is not None and now.loaded.settings.asks_more_than(mine)
        self._workers.tell(process, "retire", outdated=outdated)

    def _heard(self, process: WorkerProcess, message: Message) -> None:
        match message["kind"]:
            case "serves":
                self._roster.ready(process)
            case "left":
                process.due = NEVER
                self._roster.left(process)
            case "metrics":
                self._tally.heard(process.pid, metrics_of(message))
            case "counted":
                self._tally.answered(number_of(message), process.pid, metrics_of(message))
            case "ask":
                self._ask(process, number_of(message))
            case _:
                raise ChannelError("an unknown word")

    def _ended(self, process: WorkerProcess, code: int) -> None:
        kind = self._roster.exited(process, monotonic())
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        if self._leave is not Leave.STAY or (kind is ExitKind.LEFT and code == 0):
            return
        if kind is ExitKind.LEFT:
            log.warning("%s ended with %s while it retired", process, how)
            return
        if kind is ExitKind.DIED:
            log.error("%s died (%s), another one is started", process, how)
        else:
            log.error("%s could not start (%s)", process, how)
        self._metrics.inc(WORKER_EXITS, "died" if kind is ExitKind.DIED else "start")
        if kind is ExitKind.NEVER_SERVED:
            self._could_not_start(process, code)

    def _could_not_start(self, process: WorkerProcess, code: int) -> None:
        if self._plan is None:
            self._give_up(code)
        elif process.plan is self._next:
            self._refuse(f"{process} could not start with it")
        elif self._roster.failures >= MAX_FAILURES and not self._roster.serving:
            self._give_up(code)

    def _give_up(self, code: int) -> None:
        self._exit_code = code if code > 0 else ExitCode.SOFTWARE
        log.error("no worker can be started: the end, with exit code %d", self._exit_code)
        self._notifier.stopping("no worker can be started")
        self._go(Leave.NOW)

    # -- signals

    def _signalled(self) -> None:
        handlers: dict[int, Callable[[], None]] = {
            signal.SIGTERM: self._stop,
            signal.SIGINT: self._stop,
            signal.SIGHUP: self._reload,
            signal.SIGUSR1: self._reopen,
            signal.SIGUSR2: self._upgrade,
        }
        for number in self._signals.read():
            handlers.get(number, lambda: None)()

    def _stop(self) -> None:
        """Drain; a second signal stops now."""
        self._drop_new()
        self._notifier.stopping("draining")
        self._go(Leave.NOW if self._leave is Leave.STOP else max(Leave.STOP, self._leave))

    def _go(self, how: Leave) -> None:
        """Tell all workers to leave, by that degree of the end."""
        self._leave = how
        if how is not Leave.RETIRE:
            # Held here, they would go on taking connections that nobody serves, until the last worker has drained.
            self._close_sockets(unlink=False)
        plan = self._plan or self._next
        drain_s = plan.loaded.settings.drain_s if plan is not None else 0.0
        patience = {Leave.RETIRE: NEVER, Leave.STOP: drain_s + STOP_MARGIN_S, Leave.NOW: STOP_MARGIN_S}
        self._deadline = monotonic() + patience[how]
        self._workers.tell_all({Leave.RETIRE: "retire", Leave.STOP: "stop", Leave.NOW: "cut"}[how])

    def _reopen(self) -> None:
        self._workers.tell_all("reopen")
        log.info("reopened the access log")

    # -- reload

    def _reload(self) -> None:
        if self._leave is not Leave.STAY:
            return
        if self._new is not None:
            log.warning("no reload during an upgrade: the new process reads the configuration itself")
            self._notifier.reloading()
            self._notifier.ready(self._status())
            return
        if self._plan is None or self._next is not None:
            self._reload_again = True  # once more, when this is done
            return
        self._notifier.reloading()
        self._generation += 1
        try:
            loaded = self._sets.load(self._generation)
            load_certificates(loaded.settings)
            held = SocketStore(self._launch.environ, self._plan.held).take(places_of(loaded.settings))
        except HookwardError as error:
            self._say_refused(str(error))
            return
        self._next = Plan(loaded, held)
        self._roster.assign(self._next, worker_count(loaded.settings.workers))

    def _refuse(self, why: str) -> None:
        """Go back to the configuration before."""
        assert self._plan is not None
        assert self._next is not None
        _close_others(self._next.held, self._plan.held)
        self._next = None
        self._roster.assign(self._plan, worker_count(self._plan.loaded.settings.workers))
        self._say_refused(why)

    def _say_refused(self, why: str) -> None:
        self._metrics.inc(RELOADS, "refused")
        self._metrics.set(RELOAD_GOOD, 0)
        log.error("reload refused, the old configuration stays in force:\n%s", why)
        self._notifier.ready(self._status(), refused=True)
        self._once_more()

    def _rolled_out(self, plan: Plan) -> None:
        """All workers serve by a new plan."""
        before, self._plan, self._next = self._plan, plan, None
        policy, settings = plan.loaded.policy, plan.loaded.settings
        if before is None:
            banner.announce(policy, settings, shown(plan.held), self._launch.loop)
            self._speak_in_turn()
        else:
            _close_others(before.held, plan.held)
            open_journal(settings.log_level)
            self._metrics.inc(RELOADS, "done")
            self._metrics.set(RELOAD_GOOD, 1)
            for warning in settings.warnings:
                log.warning("%s", warning)
            log.info("reloaded: configuration %d, %d route(s)", policy.generation, len(policy.routes))
            self._notifier.ready(self._status())
        self._once_more()

    def _once_more(self) -> None:
        again, self._reload_again = self._reload_again, False
        if again:
            self._reload()
        upgrade, self._upgrade_again = self._upgrade_again, False
        if upgrade:
            self._upgrade()

    # -- upgrade

    def _upgrade(self) -> None:
        if self._leave is not Leave.STAY or self._new is not None:
            return
        if self._plan is None:
            self._upgrade_again = True  # once all workers serve: one that serves already may have been asked for it
            return
        if self._next is not None:
            log.warning("no upgrade during a reload: try again")
            return
        try:
            self._new = new = NewProcess(self._plan.held, os.environ, command_line())
        except OSError as error:
            log.error("upgrade failed, this process goes on: %s", error.strerror)
            return
        log.info("upgrading: process %d is to take over", new.pid)
        self._new_deadline = monotonic() + PATIENCE_S
        self._watch(new, self._new_spoke)

    def _new_spoke(self) -> None:
        new = self._new
        assert new is not None
        serves = new.serves()
        if serves is False:
            self._upgrade_failed()
        elif serves:
            self._selector.unregister(new)
            self._new, self._new_deadline, self._handed_over = None, NEVER, True
            self._notifier.main_pid(new.pid)
            self._stop_speaking()
            new.confirm()
            log.info("upgraded: process %d has taken over", new.pid)
            self._go(Leave.RETIRE)

    def _upgrade_failed(self) -> None:
        code = self._drop_new()
        log.error("upgrade failed, this process goes on: the new one ended with exit code %d", code)

    def _drop_new(self) -> int:
        new, self._new, self._new_deadline = self._new, None, NEVER
        if new is None:
            return 0
        self._selector.unregister(new)
        return new.give_up()

    def _speak_in_turn(self) -> None:
        """Speak for the service; in an upgrade not before the old process lets us."""
        old = self._launch.old
        if old is None:
            self._speak()
        else:
            old.serve()
            self._watch(old, self._speak)

    def _speak(self) -> None:
        old = self._launch.old
        if old is not None:
            self._selector.unregister(old)
            old.close()
            log.info("taken over from the process before")
        self._notifier.ready(self._status())
        if self._notifier.watchdog_s:
            self._alive_at = monotonic()

    def _stop_speaking(self) -> None:
        self._notifier.close()
        self._alive_at = NEVER

    # -- numbers

    def _ask(self, process: WorkerProcess, number: int) -> None:
        def answer(total: Snapshot) -> None:
            self._workers.tell(process, "total", number=number, metrics=plain_snapshot(total))

        question = self._tally.ask(self._workers.processes, monotonic(), answer, asker=process.pid)
        if question is not None:
            self._workers.tell_all("count", number=question)

    def _own_numbers(self) -> Snapshot:
        """What the supervisor knows better than the sum of its workers."""
        metrics, roster = self._metrics, self._roster
        states = [process.state for process in (*roster.serving, *roster.starting, *roster.leaving)]
        for state in State:
            metrics.set(WORKERS, states.count(state), state.value)
        policy = (self._plan or self._next or self._launch).loaded.policy
        metrics.set(GENERATION, policy.generation)
        own = metrics.snapshot()
        return {
            family.name: own[family.name]
            for family in (RELOADS, RELOAD_GOOD, WORKERS, WORKER_EXITS, GENERATION, STARTED)
        }

    def _status(self) -> str:
        plan = self._plan
        assert plan is not None
        line = banner.status_line(plan.loaded.policy, [address for _, address in shown(plan.held)])
        return f"{line}, {len(self._roster.serving)} workers"

    # -- parts

    def _watch(self, source: SignalQueue | NewProcess | OldProcess, ready: Callable[[], None]) -> None:
        self._selector.register(source, selectors.EVENT_READ, ready)

    def _end(self) -> None:
        for process in self._workers.processes.values():
            process.kill()
        self._drop_new()
        self._close_sockets(unlink=not self._handed_over)
        self._stop_speaking()
        if self._launch.old is not None:
            self._launch.old.close()
        self._signals.close()
        self._selector.close()
        self._sets.close()
        log.info("stopped")

    def _close_sockets(self, *, unlink: bool) -> None:
        for plan in (self._next, self._plan):
            for _, bound in plan.held if plan is not None else ():
                bound.close(unlink=unlink)


def _close_others(held: list[Held], kept: list[Held]) -> None:
    """Close what is not kept."""
    keep = {bound.sock for _, bound in kept}
    for _, bound in held:
        if bound.sock not in keep:
            bound.close()
