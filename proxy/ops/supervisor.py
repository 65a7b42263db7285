"""The supervisor of several workers: binds the sockets, forks, watches, replaces, and ends with them.

It serves nothing itself and has no loop of asyncio, so that it can fork at any time and has little that can fail. It
holds the listening sockets: a connection that comes while a worker ends waits for the next one. A reload is loaded and
judged here, whole; then workers with it replace those before, one by one (``ops.roster``). Where one of them cannot
serve, the reload is refused and the old configuration comes back. A worker that dies is replaced at once, one that dies
again and again with growing pauses; where none can be started, the process ends and says why.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import tempfile
from time import monotonic

from proxy.config.host import ExitCode, Identity, worker_count
from proxy.config.settings import Loaded, identity_of
from proxy.core.metric_families import GENERATION, RELOAD_GOOD, RELOADS, STARTED, WORKER_EXITS, WORKERS
from proxy.core.metrics import Metrics, Snapshot, plain_snapshot
from proxy.errors import HookwardError
from proxy.net.clock import NEVER, Clock
from proxy.net.tls import load_certificates
from proxy.ops import supervised
from proxy.ops.journal import log
from proxy.ops.places import Held, SocketStore, places_of
from proxy.ops.process import LoopFactory, SelectorLoop, Timer
from proxy.ops.roster import ExitKind, Roster, State, Tally
from proxy.ops.service import Launch, Load, Service
from proxy.ops.worker import Leave
from proxy.ops.worker_processes import (
    ChannelError,
    Message,
    WorkerPlan,
    WorkerProcess,
    WorkerProcesses,
    line_limit,
    metrics_of,
    number_of,
)

# -- Published address sets that all workers know as soon as one does, also without a state directory.
#
# Workers share what they fetch through files (``config.set_shelf``), and what a later reload starts from must be what
# is in force, not what came with the package. Where the configuration names no directory for that, the supervisor
# makes one that is gone when it ends.


class SharedSets:
    """Loads the configuration so that its address sets are shared."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._folder: str | None = None

    def load(self, generation: int) -> Loaded:
        """Load the configuration. Raises FlagError or ConfigError."""
        return self.share(self._load(generation))

    def share(self, loaded: Loaded) -> Loaded:
        """The same load, with a directory for its address sets where it needs one and names none."""
        if loaded.settings.state_dir is not None or not loaded.sets.used:
            return loaded
        if self._folder is None:
            try:
                self._folder = _make(identity_of(loaded.settings))
            except OSError as error:
                log.warning("each worker fetches address sets for itself: %s; set state_dir", error.strerror)
                return loaded
        return self._load(loaded.policy.generation, state_dir=self._folder)

    def close(self) -> None:
        """Remove the directory."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None


def _make(owner: Identity | None) -> str:
    """A folder for the workers' user alone."""
    folder = tempfile.mkdtemp(prefix="hookward-sets-")
    if owner is not None and os.geteuid() == 0:
        os.chown(folder, owner.uid, owner.gid)
    return folder


#: A worker that does not serve by then never will. It may fetch address lists first, for 10 s.
START_S = 60.0
#: A worker that is told to retire says within milliseconds that it takes no more connections.
RETIRE_S = 15.0
#: After so many failures in a row, with no worker left that serves, there is nothing to wait for.
MAX_FAILURES = 5
#: Workers end their drain by themselves; one that has not by then is killed.
STOP_MARGIN_S = 5.0
#: What the supervisor knows better than the sum of its workers.
OWN = (RELOADS, RELOAD_GOOD, WORKERS, WORKER_EXITS, GENERATION, STARTED)


class Supervisor:
    """The supervisor of all workers. ``run`` returns the exit code."""

    def __init__(self, launch: Launch, loop_factory: LoopFactory) -> None:
        self._launch = launch
        self._loop_factory = loop_factory
        self._sets = SharedSets(launch.load)
        self._loop = SelectorLoop()
        self._loop.add_signal_handler(signal.SIGCHLD, lambda: None)  # each turn looks for those that have ended
        self._service = Service(launch, self._loop, self)
        self._processes = WorkerProcesses(self._loop, self._heard)
        self._roster: Roster[WorkerPlan, WorkerProcess] = Roster(self._fork, self._retire)
        self.metrics = Metrics()
        self.metrics.set(STARTED, Clock.wall())
        self._tally = Tally(self._own_numbers)
        self._plan: WorkerPlan | None = None  # in force
        self._next: WorkerPlan | None = None  # being rolled out
        self._deadline: Timer | None = None  # of the end
        self._exit_code: int = ExitCode.OK

    def run(self) -> int:
        """Serve until a signal says otherwise. Raises ListenError or ConfigError where that cannot begin."""
        try:
            self._begin()
            while self._processes or not self._leaves:
                self._turn()
            return self._exit_code
        finally:
            self._end()

    # -- one turn

    def _begin(self) -> None:
        store = self._launch.sockets()
        loaded = self._sets.share(self._launch.loaded)
        load_certificates(loaded.settings)
        self._roll_out(WorkerPlan(loaded, store.take(places_of(loaded.settings))))
        store.close()

    def _turn(self) -> None:
        now = monotonic()
        pauses = [self._tally.due(now)]
        if not self._leaves:
            self._roster.advance(now)
            pauses.append(self._roster.due(now))
        self._loop.turn(min((pause for pause in pauses if pause is not None), default=NEVER))
        for process, code in self._processes.reap():
            self._tally.gone(process.pid)
            self._ended(process, code)
        self._tally.look(monotonic())
        if self._next is not None and not self._leaves and self._roster.complete:
            self._rolled_out(self._next)

    @property
    def _leaves(self) -> bool:
        return self._service.how is not Leave.STAY

    # -- workers

    def _fork(self, number: int, plan: WorkerPlan) -> WorkerProcess:
        def serve(channel: socket.socket) -> int:
            return supervised.main(number, plan, self._launch.shelf, channel, self._loop_factory)

        policy = plan.loaded.policy
        most = line_limit(len(policy.routes) + len(policy.endpoints()))
        process = self._processes.add(number, plan, lambda: self._forget(plan), serve, most)
        self._processes.expect(process, START_S, f"does not serve after {START_S:g} s")
        return process

    def _forget(self, mine: WorkerPlan) -> None:
        """In a forked worker: give up what is the supervisor's."""
        self._loop.close(signal.SIG_IGN)
        self._processes.forget()
        self._service.forget()
        for plan in (self._plan, self._next):
            if plan is not None:
                plan.close_others(mine, unlink=False)

    def _retire(self, process: WorkerProcess) -> None:
        # It says at once that it takes no more; the next one's turn waits for that.
        self._processes.expect(process, RETIRE_S, "does not do what it is told")
        now = (self._next or self._plan or self._launch).loaded
        outdated = now.settings.asks_more_than(process.plan.loaded.settings)
        self._processes.tell(process, "leave", how=Leave.RETIRE, outdated=outdated)

    def _heard(self, process: WorkerProcess, message: Message) -> None:
        match message["kind"]:
            case "serves":
                process.has_done_it()
                self._roster.ready(process)
            case "left":
                process.has_done_it()
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
        if self._leaves or (kind is ExitKind.LEFT and code == 0):
            return
        if kind is ExitKind.LEFT:
            log.warning("%s ended with %s while it retired", process, how)
        elif kind is ExitKind.DIED:
            log.error("%s died (%s), another one is started", process, how)
            self.metrics.inc(WORKER_EXITS, "died")
        else:
            log.error("%s could not start (%s)", process, how)
            self.metrics.inc(WORKER_EXITS, "start")
            self._could_not_start(process, code)

    def _could_not_start(self, process: WorkerProcess, code: int) -> None:
        if self._plan is not None and process.plan is self._next:
            self._refuse(f"{process} could not start with it")
        elif not self._roster.serving and (self._roster.failures >= MAX_FAILURES or (self._plan is None and code >= 0)):
            self._exit_code = code if code > 0 else ExitCode.SOFTWARE
            log.error("no worker can be started: the end, with exit code %d", self._exit_code)
            self._launch.notifier.stopping("no worker can be started")
            self._service.leave(Leave.NOW)

    def _end_silent(self) -> None:
        """End workers that serve and hang: they have not said for long what they count."""
        patience_s = max(2 * self._launch.notifier.watchdog_s, 3 * supervised.BEAT_S)
        for process in self._roster.serving:
            silent_s = monotonic() - process.heard
            if silent_s > patience_s:
                log.error("%s has said nothing for %.0f s, and is ended", process, silent_s)
                self.metrics.inc(WORKER_EXITS, "stuck")
                process.kill()
        self._loop.call_later(self._launch.notifier.watchdog_s, self._end_silent)

    # -- asked by the service

    @property
    def loaded(self) -> Loaded:
        """The load of the configuration that is in force."""
        return (self._plan or self._next or self._launch).loaded

    @property
    def held(self) -> list[Held]:
        """The sockets of all workers."""
        return [] if self._plan is None else self._plan.held

    @property
    def workers(self) -> int:
        """How many workers serve."""
        return len(self._roster.serving)

    def reload(self) -> None:
        """Load the configuration again, and begin to replace all workers by others with it."""
        try:
            loaded = self._sets.load(self.loaded.policy.generation + 1)
            load_certificates(loaded.settings)
            held = SocketStore(self._launch.environ, self.held).take(places_of(loaded.settings))
        except HookwardError as error:
            self._service.refused(str(error))
        else:
            self._roll_out(WorkerPlan(loaded, held))

    def leave(self, how: Leave) -> None:
        """Tell all workers to leave."""
        if how is not Leave.RETIRE:
            # Held here, they would go on taking connections that no worker serves, until the last one has drained.
            self._close_sockets(unlink=False)
        if self._deadline is not None:
            self._deadline.cancel()
        patience = {Leave.STOP: self.loaded.settings.drain_s + STOP_MARGIN_S, Leave.NOW: STOP_MARGIN_S}
        if how in patience:
            self._deadline = self._loop.call_later(patience[how], self._end_late)
        self._processes.tell_all("leave", how=how)

    def reopen(self) -> None:
        """Let all open the access log again."""
        self._processes.tell_all("reopen")

    # -- configurations

    def _roll_out(self, plan: WorkerPlan) -> None:
        self._next = plan
        self._roster.assign(plan, worker_count(plan.loaded.settings.workers))

    def _rolled_out(self, plan: WorkerPlan) -> None:
        """All workers serve by a new plan."""
        before, self._plan, self._next = self._plan, plan, None
        if before is not None:
            before.close_others(plan)
            self._service.changed()
            return
        self._service.serves()
        if self._launch.notifier.watchdog_s:
            self._end_silent()

    def _refuse(self, why: str) -> None:
        """Go back to the configuration before."""
        assert self._plan is not None
        assert self._next is not None
        self._next.close_others(self._plan)
        self._next = None
        self._roster.assign(self._plan, worker_count(self._plan.loaded.settings.workers))
        self._service.refused(why)

    # -- numbers

    def _ask(self, process: WorkerProcess, number: int) -> None:
        def answer(total: Snapshot) -> None:
            self._processes.tell(process, "total", number=number, metrics=plain_snapshot(total))

        question = self._tally.ask(self._processes.all, monotonic(), answer, asker=process.pid)
        if question is not None:
            self._processes.tell_all("count", number=question)

    def _own_numbers(self) -> Snapshot:
        metrics, roster = self.metrics, self._roster
        states = [process.state for process in (*roster.serving, *roster.starting, *roster.leaving)]
        for state in State:
            metrics.set(WORKERS, states.count(state), state.value)
        metrics.set(GENERATION, self.loaded.policy.generation)
        own = metrics.snapshot()
        return {family.name: own[family.name] for family in OWN}

    # -- the end

    def _end_late(self) -> None:
        for process in self._processes.all.values():
            log.warning("%s has not ended in time, and is ended", process)
            process.kill()

    def _end(self) -> None:
        for process in self._processes.all.values():
            process.kill()
        self._close_sockets(unlink=not self._service.is_handed_over)
        self._service.close()
        self._loop.close()
        self._sets.close()
        if self._service.has_served:  # of a start that failed, why it did is told next
            log.info("stopped")

    def _close_sockets(self, *, unlink: bool) -> None:
        for plan in (self._next, self._plan):
            for _, bound in plan.held if plan is not None else ():
                bound.close(unlink=unlink)
