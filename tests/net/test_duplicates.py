"""Tickets: what comes of a claim, who waits for whom, and what is said where the store is gone."""

from __future__ import annotations

import asyncio
import logging
import re
from dataclasses import replace

import pytest

from proxy.core.delivery import NEW, Claim, Found, Keys
from proxy.net import duplicates
from proxy.net.duplicates import Duplicates, StoreError
from proxy.reasons import Reason
from tests.net.conftest import Run
from tests.net.duplicate_stores import RULE, Worker, answered
from tests.net.duplicate_workers import machine

TestInOneProcess = machine(lambda _: None, 60).TestCase
DELIVERED, IN_FLIGHT = Reason.DUPLICATE_DELIVERED, Reason.DUPLICATE_IN_FLIGHT


class FakeStore:
    """Says what it is told to, in turn; the last answer again and again."""

    def __init__(self, *answers: Claim | Exception) -> None:
        self.answers = list(answers) or [NEW]
        self.heard: list[tuple[str, ...]] = []
        self.asked: list[bool] = []
        self.deaf = 0
        self.gate: asyncio.Event | None = None
        self.closed = False

    async def claim(self, keys: Keys, owner: str, *, hold_s: float, past: bool) -> Claim:
        self.asked.append(past)
        if self.gate is not None:
            await self.gate.wait()
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def delivered(self, keys: Keys, owner: str, status: int, keep_s: float) -> None:
        self._hear("delivered", str(status), str(len(keys.every)))

    async def released(self, keys: Keys, owner: str) -> None:
        self._hear("released")

    def _hear(self, *words: str) -> None:
        if self.deaf:
            self.deaf -= 1
            raise StoreError("deaf")
        self.heard.append(words)

    async def close(self) -> None:
        self.closed = True


class TestAlone:
    """A process with its own memory."""

    async def test_answers_come_at_once_and_without_a_task(self, run: Run[None]) -> None:
        worker = Worker(None, "w")
        first = worker.come(1, 1)
        assert first.answer == "granted"
        assert worker.come(1, 1).answer == (IN_FLIGHT, 409)
        first.ticket.delivered(202)
        assert worker.come(1, 1).answer == (DELIVERED, 202)
        assert not worker.desk._tasks

    async def test_who_waits_gets_the_answer_of_the_first(self, run: Run[None]) -> None:
        worker = Worker(None, "w")
        first = worker.come(1, 1)
        others = [worker.come(1, 1, patience_s=9.0) for _ in range(3)]
        assert [other.answer for other in others] == [None] * 3
        first.ticket.delivered(201)
        assert [await answered(other) for other in others] == [(DELIVERED, 201)] * 3

    async def test_where_the_first_fails_the_next_one_tries_and_the_others_wait_for_it(self, run: Run[None]) -> None:
        worker = Worker(None, "w")
        first = worker.come(1, 1)
        second, third = worker.come(1, 1, patience_s=9.0), worker.come(1, 1, patience_s=9.0)
        first.ticket.release()
        assert await answered(second) == "granted"
        assert third.answer is None
        second.ticket.delivered(200)
        second.ticket.release()
        assert await answered(third) == (DELIVERED, 200)

    async def test_patience_ends(self, run: Run[None]) -> None:
        worker = Worker(None, "w")
        first = worker.come(1, 1)
        other = worker.come(1, 1, patience_s=0.02)
        assert await answered(other) == (IN_FLIGHT, 409)
        first.ticket.delivered(200)
        await asyncio.sleep(0)
        assert other.answer == (IN_FLIGHT, 409)
        assert not worker.desk._waiting

    async def test_who_leaves_while_waiting_is_not_asked_again(self, run: Run[None]) -> None:
        worker = Worker(None, "w")
        first = worker.come(1, 1)
        gone, stays = worker.come(1, 1, patience_s=9.0), worker.come(1, 1, patience_s=9.0)
        gone.ticket.release()
        first.ticket.release()
        gone_late = worker.come(2, 2)
        gone_late.ticket.release()
        gone_late.ticket.delivered(200)
        assert await answered(stays) == "granted"
        assert gone.answer is None
        assert worker.come(2, 2).answer == "granted", "delivered after release says nothing"
        stays.ticket.release()

    async def test_who_leaves_between_the_outcome_and_its_turn(self, run: Run[None]) -> None:
        worker = Worker(None, "w")
        first, other = worker.come(1, 1), worker.come(1, 1, patience_s=9.0)
        first.ticket.release()
        other.ticket.release()
        await asyncio.sleep(0)
        assert other.answer is None
        assert len(worker.desk.table) == 0

    def test_only_what_is_in_flight(self, run: Run[None]) -> None:
        """``in-flight``: a redelivery by hand passes, an impatient sender does not."""
        rule = replace(RULE, remembers=False)

        async def main() -> None:
            worker = Worker(None, "w")
            first = worker.come(1, 1, rule=rule)
            other = worker.come(1, 1, rule=rule, patience_s=9.0)
            first.ticket.delivered(200)
            assert await answered(other) == (DELIVERED, 200)
            assert worker.come(1, 1, rule=rule).answer == "granted"

        run(main())


class TestShared:
    async def test_new_everywhere(self, run: Run[None]) -> None:
        store = FakeStore()
        worker = Worker(store, "w")
        first = worker.come(1, 1)
        assert first.answer is None
        assert await answered(first) == "granted"
        first.ticket.delivered(205)
        first.ticket.release()
        await worker.settled()
        assert store.heard == [("delivered", "200", "2")]

    async def test_what_failed_is_released_everywhere(self, run: Run[None]) -> None:
        store = FakeStore()
        worker = Worker(store, "w")
        first = worker.come(1, 1)
        await answered(first)
        first.ticket.release()
        await worker.settled()
        assert store.heard == [("released",)]

    async def test_delivered_elsewhere(self, run: Run[None]) -> None:
        store = FakeStore(Claim(Found.DELIVERED, 204))
        worker = Worker(store, "w")
        one, other = worker.come(1, 1), worker.come(1, 1, patience_s=9.0)
        assert await answered(one) == (DELIVERED, 204)
        assert await answered(other) == (DELIVERED, 204), "who waited here asks for itself"
        assert len(worker.desk.table) == 0

    async def test_in_flight_elsewhere_is_asked_for_until_it_is_known(self, run: Run[None]) -> None:
        rule = replace(RULE, remembers=False)
        store = FakeStore(Claim(Found.IN_FLIGHT), Claim(Found.IN_FLIGHT), Claim(Found.DELIVERED, 200))
        worker = Worker(store, "w")
        assert await answered(worker.come(1, 1, rule=rule, patience_s=9.0)) == (DELIVERED, 200)
        assert store.asked == [False, True, True]

    async def test_patience_ends_there_too(self, run: Run[None]) -> None:
        worker = Worker(FakeStore(Claim(Found.IN_FLIGHT)), "w")
        assert await answered(worker.come(1, 1, patience_s=0.05)) == (IN_FLIGHT, 409)
        assert len(worker.desk.table) == 0

    async def test_who_leaves_while_the_store_is_asked_gives_back_what_it_gets(self, run: Run[None]) -> None:
        store = FakeStore()
        store.gate = asyncio.Event()
        worker = Worker(store, "w")
        one = worker.come(1, 1)
        await asyncio.sleep(0)
        one.ticket.release()
        store.gate.set()
        await worker.settled()
        assert one.answer is None
        assert store.heard == [("released",)]

    async def test_a_new_signature_of_a_known_delivery_is_told(self, run: Run[None]) -> None:
        store = FakeStore()
        worker = Worker(store, "w")
        first = worker.come(1, 1)
        await answered(first)
        first.ticket.delivered(200)
        assert worker.come(1, 2).answer == (DELIVERED, 200)
        assert worker.come(1, 2).answer == (DELIVERED, 200)
        await worker.settled()
        assert store.heard == [("delivered", "200", "2"), ("delivered", "200", "1")]


class TestTrouble:
    def test_admitted_by_what_this_process_knows(
        self, run: Run[None], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(duplicates, "RETRIES_S", (0.0,))

        async def main() -> None:
            store = FakeStore(StoreError("gone"))
            store.deaf = 99
            worker = Worker(store, "w")
            first = worker.come(1, 1)
            assert await answered(first) == "granted"
            assert worker.come(1, 1).answer == (IN_FLIGHT, 409)
            first.ticket.delivered(200)
            assert worker.come(1, 1).answer == (DELIVERED, 200)
            assert await answered(worker.come(2, 2)) == "granted"
            await worker.settled()
            assert worker.desk.failures == 3

        with caplog.at_level(logging.INFO):
            run(main())
        assert [record.levelname for record in caplog.records] == ["WARNING"], "once, not for each delivery"
        assert "this process's own memory" in caplog.messages[0]

    async def test_or_refused(self, run: Run[None]) -> None:
        worker = Worker(FakeStore(StoreError("gone")), "w")
        worker.desk.admits_blind = False
        assert await answered(worker.come(1, 1)) == (Reason.OVERLOADED, 503)
        assert len(worker.desk.table) == 0

    async def test_a_store_that_failed_is_left_alone_for_a_moment(
        self, run: Run[None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store = FakeStore(StoreError("gone"), NEW)
        worker = Worker(store, "w")
        for number in range(5):
            await answered(worker.come(number, number))
        assert len(store.asked) == 1

    def test_and_then_asked_again(self, run: Run[None], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(duplicates, "BREAK_S", 0.0)

        async def main() -> None:
            store = FakeStore(StoreError("gone"), NEW)
            worker = Worker(store, "w")
            for number in range(3):
                await answered(worker.come(number, number))
            assert len(store.asked) == 3
            assert worker.desk.failures == 1

        run(main())

    async def test_one_delivery_finds_out_whether_it_answers_again(self, run: Run[None]) -> None:
        store = FakeStore(StoreError("gone"))
        worker = Worker(store, "w")
        await answered(worker.come(1, 1))
        later = worker.clock.now() + duplicates.BREAK_S
        worker.clock.now = lambda: later
        store.gate = asyncio.Event()
        first = worker.come(2, 2)
        await asyncio.sleep(0)
        assert [await answered(worker.come(number, number)) for number in (3, 4)] == ["granted"] * 2
        assert (first.answer, len(store.asked)) == (None, 2)
        store.answers = [NEW]
        store.gate.set()
        assert await answered(first) == "granted"
        await answered(worker.come(5, 5))
        assert len(store.asked) == 3, "it answers, so all ask it"

    def test_a_slow_store_is_spoken_of_once(self, run: Run[None], caplog: pytest.LogCaptureFixture) -> None:
        """Every other call is late: each would be a failure and an end of it."""

        async def main() -> None:
            worker = Worker(FakeStore(*[StoreError("late"), NEW] * 50), "w")
            now = worker.clock.now()
            for number in range(100):
                now += duplicates.QUIET_S / 90
                worker.clock.now = lambda at=now: at
                assert await answered(worker.come(number, number)) == "granted"

        with caplog.at_level(logging.INFO):
            run(main())
        # asyncio, too, speaks of what is slow.
        first, again, then, _ = (record.getMessage() for record in caplog.records if record.name.startswith("proxy."))
        assert "fails (late)" in first
        assert "answers again" in again
        assert re.search(r"fails \([0-9]{2} times, late\)", then), "a minute later"

    async def test_an_answer_to_what_was_asked_before_does_not_make_it_well(self, run: Run[None]) -> None:
        store = FakeStore()
        worker = Worker(store, "w")
        begun = worker.clock.now()
        worker.clock.now = lambda: begun + 0.5
        worker.desk._failed(StoreError("late"))
        worker.desk._answered(begun)
        assert await answered(worker.come(1, 1)) == "granted"
        assert not store.asked

    def test_outcomes_are_told_again_until_they_are_heard(
        self, run: Run[None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(duplicates, "RETRIES_S", (0.0, 0.0, 0.0))

        async def main() -> None:
            store = FakeStore()
            worker = Worker(store, "w")
            for deaf in (2, 3):
                one = worker.come(deaf, deaf)
                await answered(one)
                store.deaf = deaf
                one.ticket.delivered(200)
                await worker.settled()
            assert store.heard == [("delivered", "200", "2")], "and not for ever"

        run(main())

    def test_a_bug_leaves_no_sender_without_an_answer(self) -> None:
        complaints: list[object] = []

        async def main() -> None:
            asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context["exception"]))
            store = FakeStore(ZeroDivisionError())
            worker = Worker(store, "w")
            assert await answered(worker.come(1, 1)) == (Reason.INTERNAL_ERROR, 500)
            assert len(worker.desk.table) == 0
            await worker.settled()

        asyncio.run(main())
        assert [type(complaint) for complaint in complaints] == [ZeroDivisionError]


class TestEnd:
    async def test_outcomes_reach_the_store_before_it_is_closed(self, run: Run[None]) -> None:
        store = FakeStore()
        worker = Worker(store, "w")
        one = worker.come(1, 1)
        await answered(one)
        one.ticket.delivered(200)
        await worker.desk.close()
        assert store.heard == [("delivered", "200", "2")]
        assert store.closed

    def test_but_a_store_that_hangs_stops_nobody(self, run: Run[None], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(duplicates, "CLOSE_S", 0.05)

        async def main() -> None:
            store = FakeStore()
            store.gate = asyncio.Event()
            worker = Worker(store, "w")
            worker.come(1, 1)
            await worker.desk.close()
            assert store.closed
            assert not worker.desk._tasks

        run(main())

    async def test_without_a_store_the_memory_of_the_process_goes_on(self, run: Run[None]) -> None:
        worker = Worker(None, "w")
        worker.come(1, 1).ticket.delivered(201)
        await worker.desk.close()
        assert not worker.desk._tasks
        assert worker.come(1, 1).answer == (DELIVERED, 201)


def test_a_desk_is_bounded() -> None:
    loop = asyncio.new_event_loop()
    try:
        assert Duplicates(loop, None, max_entries=5).table.max_entries == 5
    finally:
        loop.close()
