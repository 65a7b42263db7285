"""Verdicts that take too long for the loop: a large body that must be parsed, or hashed in one call.

They come before the proof, so any client may ask for them. ``MAX_RUNNING`` threads work at them, for one group of
addresses one at a time; groups take turns, listed addresses come first, and others leave them a thread. What waits
is bounded by the budgets that its bodies are counted in. It knows nothing of what it calls.
"""

from __future__ import annotations

import asyncio
import sys
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from proxy.core.budget import Group, Party
from proxy.reasons import Reason

MAX_RUNNING = 2
#: A thread that computes lets the loop go on after so long; Python's own 5 ms would be felt by every exchange.
SWITCH_S = 0.0005

Verdict = str | Reason | None


@dataclass(slots=True, eq=False, repr=False)
class Job:
    """One verdict that is to come."""

    party: Party
    work: Callable[[], Verdict]
    done: Callable[[Verdict], None]
    failed: Callable[[Exception], None]
    started: bool = False


class Apart:
    """The threads of one worker, made with the first job."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._lines: dict[bool, OrderedDict[Group | None, OrderedDict[Job, None]]] = {
            True: OrderedDict(),
            False: OrderedDict(),
        }
        self._running: set[Job] = set()
        self.waiting = 0
        self.executor: ThreadPoolExecutor | None = None

    def submit(
        self,
        party: Party,
        work: Callable[[], Verdict],
        done: Callable[[Verdict], None],
        failed: Callable[[Exception], None],
    ) -> Job:
        """Have ``work`` done, and later ``done`` called with what it gives, or ``failed`` with what it raises."""
        job = Job(party, work, done, failed)
        self._lines[party.listed].setdefault(party.group, OrderedDict())[job] = None
        self.waiting += 1
        self._start()
        return job

    def abandon(self, job: Job, ended: Callable[[], None]) -> None:
        """``job`` is no longer awaited. ``ended`` is called when it reads its body no longer: at once, or later."""
        if job.started:
            job.done = lambda _verdict: ended()
            job.failed = lambda _bug: ended()
            return
        line = self._lines[job.party.listed]
        del line[job.party.group][job]
        if not line[job.party.group]:
            del line[job.party.group]
        self.waiting -= 1
        ended()

    def close(self) -> None:
        """End the threads; takes as long as their jobs at most."""
        if self.executor is not None:
            self.executor.shutdown(wait=True, cancel_futures=True)

    def _start(self) -> None:
        while len(self._running) < MAX_RUNNING:
            job = self._next(listed=True) or self._next(listed=False)
            if job is None:
                return
            self.waiting -= 1
            job.started = True
            self._running.add(job)
            if self.executor is None:
                sys.setswitchinterval(SWITCH_S)
                self.executor = ThreadPoolExecutor(max_workers=MAX_RUNNING, thread_name_prefix="hookward-verdict")
            future = self.executor.submit(job.work)
            future.add_done_callback(partial(self._tell, job))

    def _next(self, *, listed: bool) -> Job | None:
        busy = {job.party.group for job in self._running}
        if not listed and sum(not job.party.listed for job in self._running) >= MAX_RUNNING - 1:
            return None
        line = self._lines[listed]
        for group, jobs in line.items():
            if group is None or group not in busy:
                job, _ = jobs.popitem(last=False)
                line.move_to_end(group)
                if not jobs:
                    del line[group]
                return job
        return None

    def _tell(self, job: Job, future: Future[Verdict]) -> None:
        """In the thread: the loop goes on from here."""
        self._loop.call_soon_threadsafe(self._ended, job, future)

    def _ended(self, job: Job, future: Future[Verdict]) -> None:
        self._running.discard(job)
        try:
            bug = future.exception()
            if bug is None:
                job.done(future.result())
            else:
                job.failed(bug if isinstance(bug, Exception) else RuntimeError(repr(bug)))
        finally:
            self._start()
