"""One timer for everybody: deadlines within half a second, a ``Date`` once a second."""

from __future__ import annotations

import asyncio
import re
import time

from proxy.net.clock import NEVER, PORTION, TICK_S, Clock
from tests.net.accepting import until
from tests.net.dialogue import FakeLoop


class Watched:
    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.calls: list[float] = []

    def deadline_passed(self, now: float) -> None:
        self.calls.append(now)
        self.deadline = NEVER


class Failing(Watched):
    def deadline_passed(self, now: float) -> None:
        super().deadline_passed(now)
        raise ZeroDivisionError


def pass_ticks(loop: FakeLoop, count: int) -> None:
    for _ in range(count):
        live = [timer for timer in loop.timers if not timer.cancelled]
        if not live:
            return
        [timer] = live
        loop.timers.clear()
        loop.now = timer.when
        timer.call()


def test_who_is_late_is_called_once_and_within_a_tick() -> None:
    loop = FakeLoop()
    clock = Clock(loop, loop.time)
    soon, later, never = Watched(loop.now + 1.0), Watched(loop.now + 60), Watched(NEVER)
    for watched in (soon, later, never):
        clock.watch(watched)
    pass_ticks(loop, 10)
    assert soon.calls == [1000 + 2 * TICK_S]
    assert not later.calls
    assert not never.calls


def test_there_is_one_timer_and_none_where_nobody_is_watched() -> None:
    loop = FakeLoop()
    clock = Clock(loop, loop.time)
    assert loop.timers == []
    first, second = Watched(NEVER), Watched(NEVER)
    clock.watch(first)
    clock.watch(second)
    assert len(loop.timers) == 1
    clock.unwatch(first)
    clock.unwatch(first)
    clock.unwatch(second)
    pass_ticks(loop, 1)
    assert loop.timers == []
    clock.watch(first)
    assert len(loop.timers) == 1
    clock.close()
    clock.close()
    assert loop.timers[0].cancelled


def test_one_that_fails_does_not_keep_the_others_waiting() -> None:
    loop = FakeLoop()
    clock = Clock(loop, loop.time)
    everybody = [Failing(0.0) if number % 2 else Watched(0.0) for number in range(6)]
    for watched in everybody:
        clock.watch(watched)
    pass_ticks(loop, 1)
    assert all(len(watched.calls) == 1 for watched in everybody)
    assert len(loop.complaints) == 3
    assert len(loop.timers) == 1


def test_a_crowd_is_swept_in_portions_within_two_ticks() -> None:
    loop = FakeLoop()
    clock = Clock(loop, loop.time)
    crowd = [Watched(0.0) for _ in range(3 * PORTION + 1)]
    for watched in crowd:
        clock.watch(watched)
    swept = []
    while not all(watched.calls for watched in crowd):
        pass_ticks(loop, 1)
        swept.append(sum(len(watched.calls) for watched in crowd))
    assert swept == [PORTION, 2 * PORTION, 3 * PORTION, 3 * PORTION + 1]
    assert loop.now - 1000 <= 2 * TICK_S


def test_who_ends_while_a_sweep_is_under_way_is_called_no_more() -> None:
    loop = FakeLoop()
    clock = Clock(loop, loop.time)
    crowd = [Watched(0.0) for _ in range(PORTION + 1)]
    for watched in crowd:
        clock.watch(watched)
    pass_ticks(loop, 1)
    [left] = [watched for watched in crowd if not watched.calls]
    clock.unwatch(left)
    pass_ticks(loop, 1)
    assert not left.calls


def test_a_deadline_may_end_others() -> None:
    loop = FakeLoop()
    clock = Clock(loop, loop.time)
    other = Watched(NEVER)

    class Ending(Watched):
        def deadline_passed(self, now: float) -> None:
            super().deadline_passed(now)
            clock.unwatch(other)
            clock.unwatch(self)

    clock.watch(Ending(0.0))
    clock.watch(other)
    pass_ticks(loop, 1)
    assert len(loop.timers) == 1
    pass_ticks(loop, 1)
    assert loop.timers == []


def test_the_date_is_an_imf_fixdate_of_now() -> None:
    clock = Clock(FakeLoop())
    date = clock.date
    assert re.fullmatch(rb"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT", date)
    parsed = time.mktime(time.strptime(date.decode(), "%a, %d %b %Y %H:%M:%S GMT")) - time.timezone
    assert abs(parsed - clock.wall()) < 3
    assert clock.date == date or clock.date > b""


def test_the_date_is_made_once_a_second(monkeypatch) -> None:
    clock = Clock(FakeLoop())
    monkeypatch.setattr(Clock, "wall", staticmethod(lambda: 784111777.5))
    first = clock.date
    assert first == b"Sun, 06 Nov 1994 08:49:37 GMT"
    assert clock.date is first
    monkeypatch.setattr(Clock, "wall", staticmethod(lambda: 784111778.0))
    assert clock.date == b"Sun, 06 Nov 1994 08:49:38 GMT"


async def test_on_a_real_loop(run) -> None:
    loop = asyncio.get_running_loop()
    clock = Clock(loop)
    watched = Watched(clock.now() + 0.01)
    clock.watch(watched)
    await until(lambda: watched.calls)
    assert watched.calls[0] - loop.time() < 0.01
    clock.close()


class Counted(Watched):
    """Counts how often anybody looks at its deadline."""

    looks = 0

    def __getattribute__(self, name: str) -> object:
        if name == "deadline":
            Counted.looks += 1
        return super().__getattribute__(name)


def test_nobody_looks_before_the_first_deadline_can_be_over() -> None:
    loop = FakeLoop()
    clock = Clock(loop, loop.time)
    crowd = [Counted(loop.now + 75.0) for _ in range(100)]
    for watched in crowd:
        clock.watch(watched)
    Counted.looks = 0
    pass_ticks(loop, 149)
    assert (loop.now, Counted.looks) == (1074.5, 0)
    pass_ticks(loop, 1)
    assert all(watched.calls == [1075.0] for watched in crowd)


def test_a_deadline_that_comes_nearer_is_kept_all_the_same() -> None:
    loop = FakeLoop()
    clock = Clock(loop, loop.time)
    watched, other = Watched(loop.now + 75.0), Watched(NEVER)
    for each in (watched, other):
        clock.watch(each)
    pass_ticks(loop, 4)
    watched.deadline = clock.after(1.0)
    pass_ticks(loop, 1)
    assert not watched.calls
    pass_ticks(loop, 1)
    assert watched.calls == [1003.0]
    # Moved away before it is over: the look that was due finds nobody, and the next deadline counts.
    watched.deadline = clock.after(1.0)
    watched.deadline = loop.now + 20.0
    pass_ticks(loop, 39)
    assert watched.calls == [1003.0]
    pass_ticks(loop, 1)
    assert watched.calls == [1003.0, 1023.0]


def test_a_deadline_may_set_itself_another() -> None:
    loop = FakeLoop()
    clock = Clock(loop, loop.time)

    class Again(Watched):
        def deadline_passed(self, now: float) -> None:
            super().deadline_passed(now)
            self.deadline = now + 2.0

    again = Again(loop.now + 1.0)
    clock.watch(again)
    pass_ticks(loop, 14)
    assert again.calls == [1001.0, 1003.0, 1005.0, 1007.0]
