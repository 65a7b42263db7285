"""``RelayLink``: what keeps one relay reached, for ever: a control connection to each of its workers, and as many
others as each of them wants.

Which worker takes a connection is the kernel's choice, so connections are made until each worker has its own; what one
worker has enough of is closed again, and after too many of those we wait. Lost connections are made anew at once, then
after longer and longer pauses at random. A relay that says that it leaves keeps its connections until it closes them,
and others are made meanwhile: to the process that takes over, or to the relays that are left.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from typing import Protocol

from proxy.agent.dial import Credential, DialError, Reached, dial
from proxy.agent.keys import Membership
from proxy.agent.talk import WHY, ControlTalk, Message, Purpose, Side, Welcome, Word, line
from proxy.config.settings import Dials
from proxy.values import mutable

log = logging.getLogger(__name__)

#: Dials of one relay at once.
MAX_DIALS = 8
#: Connections in a row that reached a worker which had enough of them.
MAX_SURPLUS = 24
SURPLUS_S = (0.5, 2.0)
#: A machine that slept, or changed its network, is noticed within this time.
LOOK_S = 1.0
#: Dials that are under way at the end may take so long: longer than the making of a socket, which comes first.
CLOSE_S = 5.0
#: The hello says how many are to be idle; a relay in an attacker's hand must not make us open more than this.
MAX_WANTED = 1024
#: Between two dials of one connection: at random up to a bound that grows from the first figure to the second.
BACKOFF_FIRST_S = 0.2
BACKOFF_MOST_S = 15.0
#: The bound after each of the first failures, as a share of the one before.
GROWTH = 1.5
#: Up to this the bound grows by the number of failures; beyond it by how long nothing came through, whether each dial
#: fails at once (refused) or takes seconds: a twentieth of it. So a network that returns after a minute and a half is
#: used within 5 s, and a relay that was taken down is asked every few seconds after five.
BACKOFF_SOON_S = 2.0
SHARE_OF_OUTAGE = 1 / 20
#: A key that is not taken is not taken a moment later either.
REFUSED_S = (15.0, 60.0)
#: The clocks of the machine are so far apart after a sleep, or the loop has stood still so long.
SLEPT_S = 5.0


class Backoff:
    """How long to wait before the next dial. ``uniform(a, b)`` gives a number between both, at random."""

    __slots__ = ("_failures", "_since", "_uniform")

    def __init__(self, uniform: Callable[[float, float], float]) -> None:
        self._uniform = uniform
        self._failures = 0
        self._since = 0.0

    def succeeded(self) -> None:
        """A dial came through."""
        self._failures = 0

    def failed(self, began: float) -> float:
        """A dial did not that began then; how long to wait, from its beginning on."""
        if not self._failures:
            self._since = began
        soon = min(BACKOFF_FIRST_S * GROWTH ** min(self._failures, 20), BACKOFF_SOON_S)
        self._failures += 1
        return self._uniform(0.0, min(max(soon, (began - self._since) * SHARE_OF_OUTAGE), BACKOFF_MOST_S))

    def refused(self) -> float:
        """The relay does not take us; how long to wait."""
        return self._uniform(*REFUSED_S)

    def between(self, least_s: float, most_s: float) -> float:
        """A time at random, for what is no failure."""
        return self._uniform(least_s, most_s)


class Sleep:
    """Notices that time has passed which this process did not see."""

    __slots__ = ("_boot", "_now")

    def __init__(self, now: float, boot: float) -> None:
        """``now`` is monotonic time, which may stand still while the machine sleeps; ``boot`` does not."""
        self._now, self._boot = now, boot

    def slept(self, now: float, boot: float, expected_s: float) -> bool:
        """Whether more has passed since the last call than ``expected_s``, by either clock."""
        passed_s = max(now - self._now, boot - self._boot)
        self._now, self._boot = now, boot
        return passed_s > expected_s + SLEPT_S


class Serving(Protocol):
    """What serves the connections of an agent."""

    guards: bool  # it judges deliveries itself

    def serve(self, reached: Reached, lost: Callable[[], None]) -> asyncio.Transport:
        """Serve a connection; ``lost`` is called when it has ended."""

    async def probe(self, path: str) -> str:
        """Ask the application: "ok", or a word for what came of it."""

    def renewed(self, relay: str, certificates: tuple[str, ...]) -> None:
        """The relay shows these from now on."""


@mutable
class WorkerLink:
    """What we have to one worker of the relay."""

    control: AgentControl
    data: set[asyncio.Transport]
    wanted: int
    leaving: bool = False


class RelayLink:
    """One relay. ``run`` ends only by being cancelled."""

    def __init__(self, membership: Membership, relay: str, instance: str, dials: Dials, serving: Serving) -> None:
        self.relay = relay
        self.membership = membership
        self.instance = instance
        self.serving = serving
        self.workers: dict[str, WorkerLink] = {}  # by their word
        self.expected = 1
        self.trouble = ""  # why it is not reached
        self.is_leaving = False
        self._dials = dials
        self._tasks: set[asyncio.Task[None]] = set()
        self._backoff = Backoff(random.uniform)
        self._pause_until = 0.0
        self._surplus = 0
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """Keep the relay reached."""
        sleep = Sleep(time.monotonic(), _boot_time())
        while True:
            wait_s = self._dial_what_is_missing()
            self._changed.clear()
            before = asyncio.get_running_loop().time()
            try:
                async with asyncio.timeout(wait_s):
                    await self._changed.wait()
            except TimeoutError:
                pass
            expected_s = asyncio.get_running_loop().time() - before
            if sleep.slept(time.monotonic(), _boot_time(), min(expected_s, wait_s)):
                log.warning("this process was suspended (did the host sleep?): reconnecting to %s", self.relay)
                self.cut("slept")
                self._pause_until = 0.0

    # -- what is missing

    @property
    def present(self) -> list[WorkerLink]:
        """The workers that are reached and stay."""
        return [one for one in self.workers.values() if not one.leaving]

    @property
    def is_reached(self) -> bool:
        """Whether every worker of the relay is."""
        return len(self.present) >= self.expected

    def missing(self) -> int:
        """How many connections are to be made."""
        present = self.present
        data = sum(max(0, one.wanted - len(one.data)) for one in present)
        return max(0, self.expected - len(present)) + data

    def _dial_what_is_missing(self) -> float:
        """Begin what may be begun; gives the seconds until it is to be looked at again."""
        if self.is_leaving:
            return LOOK_S
        now = time.monotonic()
        if now < self._pause_until:
            return min(LOOK_S, self._pause_until - now)
        missing = self.missing()
        # To one that is not reached one dial at a time is enough: they would all fail alike.
        most = min(missing, MAX_DIALS if self.workers else 1)
        while len(self._tasks) < most:
            task = asyncio.get_running_loop().create_task(self._dial())
            self._tasks.add(task)
            task.add_done_callback(self._dialled)
        return LOOK_S

    def _dialled(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._changed.set()
        if not task.cancelled() and (bug := task.exception()) is not None:
            asyncio.get_running_loop().call_exception_handler({"message": "a dial has failed", "exception": bug})

    async def _dial(self) -> None:
        member = self.membership
        credential = Credential(Purpose.SERVE, member.name, self.instance, member.key, member.certificates)
        began = time.monotonic()
        try:
            reached = await dial(self.relay, credential, self._dials)
        except DialError as error:
            # From the beginning of the dial: one that took seconds to fail was a pause itself.
            self._pause_until = began + (self._backoff.refused() if error.refused else self._backoff.failed(began))
            if self.trouble != str(error):
                self.trouble = str(error)
                log.warning("relay %s cannot be reached: %s", self.relay, error)
            return
        self._backoff.succeeded()
        self._place(reached)

    def _place(self, reached: Reached) -> None:
        """Make of a connection what its worker lacks."""
        welcome, transport = reached.welcome, reached.transport
        self.expected = welcome.workers
        worker = self.workers.get(welcome.process)
        if self.is_leaving:
            transport.close()
        elif worker is None:
            self._control(reached, welcome)
        elif len(worker.data) < worker.wanted and not worker.leaving:
            self._surplus = 0
            transport.write(line("DATA"))
            served = self.serving.serve(reached, lambda: self._data_lost(worker, transport))
            worker.data.add(served)
        else:
            transport.close()
            self._surplus += 1
            if self._surplus >= MAX_SURPLUS:
                self._surplus = 0
                self._pause_until = time.monotonic() + self._backoff.between(*SURPLUS_S)

    def _control(self, reached: Reached, welcome: Welcome) -> None:
        self._surplus = 0
        control = AgentControl(self, welcome.process)
        self.workers[welcome.process] = WorkerLink(control, set(), welcome.idle)
        reached.transport.write(line("CONTROL", "1" if self.serving.guards else "0"))
        reached.transport.set_protocol(control)
        control.connection_made(reached.transport)
        self.trouble = ""
        log.info(
            "relay %s is reached as %r: worker %d of %d", self.relay, self.membership.name, welcome.worker + 1,
            welcome.workers,
        )  # fmt: skip

    # -- from connections

    def _data_lost(self, worker: WorkerLink, transport: asyncio.Transport) -> None:
        worker.data.discard(transport)
        self._changed.set()

    def wants(self, process: str, count: int) -> None:
        """That worker wants so many connections."""
        worker = self.workers.get(process)
        if worker is not None:
            worker.wanted = min(count, MAX_WANTED)
            self._changed.set()

    def leaves(self, process: str) -> None:
        """That worker says that it leaves."""
        worker = self.workers.get(process)
        if worker is not None and not worker.leaving:
            worker.leaving = True
            log.info("a worker of relay %s is draining: connecting to another", self.relay)
            self._pause_until = 0.0
            self._changed.set()

    def lost(self, process: str, why: str, *, cut: bool) -> None:
        """The control connection of that worker is gone; ``cut``: all others are dead as well."""
        worker = self.workers.pop(process, None)
        if worker is None:
            return
        if cut:
            for transport in list(worker.data):
                transport.abort()
        if not worker.leaving:
            log.warning("relay %s: a worker is lost: %s", self.relay, why)
            self._pause_until = min(self._pause_until, time.monotonic() + self._backoff.between(0.0, BACKOFF_FIRST_S))
        self._changed.set()

    # -- told by the agent

    def drain(self) -> None:
        """Tell every worker that we leave, and make no further connection."""
        self.is_leaving = True
        for worker in self.workers.values():
            worker.control.say(Message(Word.DRAIN))

    def cut(self, why: str) -> None:
        """End every connection now, but those that are being made: they end by themselves, or are good."""
        for worker in list(self.workers.values()):
            worker.control.end(why, cut=True)

    async def close(self) -> None:
        """End all of it. A dial has a moment to come to its end: uvloop complains where TLS is cut as it begins."""
        self.is_leaving = True
        self.cut("stopping")
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSE_S)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def describe(self) -> dict[str, object]:
        """How it is reached."""
        return {
            "relay": self.relay,
            "agent": self.membership.name,
            "reached": self.is_reached,
            "workers": len(self.present),
            "of": self.expected,
            "connections": sum(len(one.data) for one in self.workers.values()),
            "trouble": self.trouble,
        }


class AgentControl(ControlTalk):
    """The protocol of a control connection at the agent."""

    def __init__(self, link: RelayLink, process: str) -> None:
        super().__init__(Side.RELAY, time.monotonic)
        self._link = link
        self._process = process
        self._timer: asyncio.TimerHandle | None = None
        self._probing: set[asyncio.Task[None]] = set()
        self._over = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._look()

    def hear(self, message: Message) -> None:
        """A message of the relay."""
        link = self._link
        if message.word is Word.WANT:
            link.wants(self._process, message.number)
        elif message.word is Word.DRAIN:
            link.leaves(self._process)
        elif message.word is Word.CERTIFICATES:
            link.serving.renewed(link.relay, message.texts)
        elif message.word is Word.PROBE and len(self._probing) < MAX_DIALS:
            task = asyncio.get_running_loop().create_task(self._probe(message.number, message.texts[0]))
            self._probing.add(task)
            task.add_done_callback(self._probing.discard)

    async def _probe(self, number: int, path: str) -> None:
        self.say(Message(Word.PROBED, number, (await self._link.serving.probe(path),)))

    def _look(self) -> None:
        now = time.monotonic()
        if not self.is_alive_after_ping(now):
            return
        self._timer = asyncio.get_running_loop().call_later(min(LOOK_S, self.pulse.next_s(now)), self._look)

    def end(self, why: str, *, cut: bool = False) -> None:
        """It is over."""
        if self._over:
            return
        self._over = True
        if self._timer is not None:
            self._timer.cancel()
        for task in self._probing:
            task.cancel()
        self._link.lost(self._process, WHY.get(why, why), cut=cut)
        self.hang_up(cut=cut)


def _boot_time() -> float:
    """Seconds since the machine began, the time that it slept included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()
