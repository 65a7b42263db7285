"""Work apart from the loop: groups take turns, listed addresses come first, and what is abandoned ends in peace."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from proxy.core.budget import Party
from proxy.net.large_bodies import MAX_RUNNING, SWITCH_S, Apart, Job
from tests.net.dialogue import FakeLoop, StagedThreads


class Stage:
    """Threads that wait for the test, and who is served in which order."""

    def __init__(self) -> None:
        self.loop = FakeLoop()
        self.apart = Apart(self.loop)
        self.threads = StagedThreads()
        self.threads.holds = True
        self.apart.executor = self.threads  # type: ignore[assignment]
        self.began: list[str] = []
        self.ended: list[object] = []

    def job(self, name: str, group: int | None = None, *, listed: bool = True) -> Job:
        party = Party(None if group is None else (4, group), listed)
        return self.apart.submit(party, self.work(name), self.ended.append, self.ended.append)

    def work(self, name: str) -> Callable[[], str]:
        return lambda: self.began.append(name) or name

    def go_on(self) -> None:
        self.threads.go_on()
        while self.loop.ready:
            self.loop.ready.popleft()()

    def finish(self) -> list[str]:
        while self.threads.held:
            self.go_on()
        assert self.apart.waiting == 0
        assert not self.apart._running
        assert not any(self.apart._lines.values())
        return self.began


def test_so_many_at_once_and_the_rest_in_order() -> None:
    stage = Stage()
    jobs = [stage.job(str(number)) for number in range(4)]
    assert [job.started for job in jobs] == [True] * MAX_RUNNING + [False, False]
    assert stage.apart.waiting == 2
    assert stage.finish() == ["0", "1", "2", "3"] == stage.ended


def test_groups_take_turns_and_have_one_thread_each() -> None:
    stage = Stage()
    for number in range(4):
        stage.job(f"a{number}", 1)
    assert len(stage.threads.held) == 1
    stage.job("b0", 2)
    stage.job("b1", 2)
    stage.job("c0", 3)
    assert stage.finish() == ["a0", "b0", "a1", "b1", "c0", "a2", "a3"]


def test_strangers_leave_a_thread_to_listed_addresses_which_come_first() -> None:
    stage = Stage()
    for number in range(4):
        stage.job(f"s{number}", number, listed=False)
    assert len(stage.threads.held) == MAX_RUNNING - 1
    stage.job("f0", 9)
    assert len(stage.threads.held) == MAX_RUNNING
    stage.job("f1", 8)
    stage.finish()
    assert stage.began.index("f1") < stage.began.index("s1")


def test_what_is_abandoned_before_it_begins_is_never_done() -> None:
    stage = Stage()
    first, second, third = (stage.job(name, 1) for name in "abc")
    ended: list[str] = []
    stage.apart.abandon(second, lambda: ended.append("b"))
    assert ended == ["b"]
    assert stage.finish() == ["a", "c"]
    assert first.started
    assert third.started
    stage.apart.abandon(stage.job("d"), lambda: ended.append("d"))
    stage.finish()


@pytest.mark.parametrize("fails", [False, True])
def test_what_is_abandoned_while_it_is_done_is_let_go_when_it_ends(fails: bool) -> None:
    stage = Stage()
    ended: list[str] = []

    def work() -> str:
        if fails:
            raise ValueError
        return "x"

    job = stage.apart.submit(Party(), work, stage.ended.append, stage.ended.append)
    stage.apart.abandon(job, lambda: ended.append("x"))
    assert ended == []
    stage.finish()
    assert (ended, stage.ended) == (["x"], [])


def test_a_failure_is_told_and_the_next_one_goes_on() -> None:
    stage = Stage()

    def work() -> str:
        raise ValueError("bug")

    stage.apart.submit(Party((4, 1)), work, stage.ended.append, stage.ended.append)
    stage.job("next", 1)
    stage.finish()
    assert [type(one) for one in stage.ended] == [ValueError, str]


def test_it_is_done_in_a_thread_that_lets_the_loop_go_on() -> None:
    before = sys.getswitchinterval()

    async def main() -> tuple[Any, ...]:
        loop = asyncio.get_running_loop()
        apart, done = Apart(loop), loop.create_future()

        apart.submit(Party(), lambda: threading.current_thread().name, done.set_result, done.set_exception)
        name = await done
        apart.close()
        return name, sys.getswitchinterval()

    try:
        assert asyncio.run(main()) == ("hookward-verdict_0", pytest.approx(SWITCH_S))
    finally:
        sys.setswitchinterval(before)
