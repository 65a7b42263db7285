"""What is kept is delivered: over real sockets, with a store that is closed and opened, and applications that fail."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from proxy.core.delivery import DeliveryRule, RetryRule
from proxy.queue import courier, lane
from proxy.queue.attempt import Attempt, record_of
from proxy.queue.records import Choice, Condition, Parcel, QueueError, Settlement, Taken
from proxy.reasons import Reason
from tests import policies
from tests.queue.conformance import names
from tests.queue.staging import OK, PATIENCE_S, RULE, Stage, another_courier, answer, staged, with_rule


def play(folder: Path, act: Callable[[Stage], Awaitable[None]], rule: DeliveryRule = RULE) -> None:
    async def run() -> None:
        async with staged(folder / "queue", rule) as stage:
            await act(stage)

    asyncio.run(run())


def test_it_delivers_what_it_finds(tmp_path: Path) -> None:
    async def act(stage: Stage) -> None:
        await stage.keep(*(f"d{number}" for number in range(50)), body=b"NAME")
        await stage.until_empty()
        assert sorted(stage.application.bodies) == sorted(b"d%d" % number for number in range(50))
        assert stage.outcomes == ["delivered"] * 50

    play(tmp_path, act)


def test_a_large_body_is_sent_from_its_file(tmp_path: Path) -> None:
    async def act(stage: Stage) -> None:
        body = bytes(range(256)) * 8000
        await stage.keep("large", body=body)
        await stage.until_empty()
        assert stage.application.bodies == [body]

    play(tmp_path, act)


def test_a_body_that_is_gone_is_never_sent_in_part(tmp_path: Path) -> None:
    async def act(stage: Stage) -> None:
        stage.courier.lanes.clear()
        await stage.opened.store.pause("hook", paused=True)
        await stage.keep("large", body=b"x" * 1_000_000)
        (tmp_path / "queue" / "bodies" / "large").write_bytes(b"x" * 500_000)
        await stage.opened.store.pause("hook", paused=False)
        stage.courier.look()
        await stage.until(lambda: len(stage.records) >= 2)
        assert stage.application.requests == []
        assert stage.records[0].reason is Reason.QUEUE_FAILED
        (tmp_path / "queue" / "bodies" / "large").write_bytes(b"x" * 1_000_000)
        await stage.until_empty()

    play(tmp_path, act)


def test_it_tries_again_until_it_is_taken(tmp_path: Path) -> None:
    async def act(stage: Stage) -> None:
        stage.application.answers = [answer(500), b"", answer(503), answer(429), OK]
        await stage.keep("a")
        await stage.until_empty()
        assert stage.outcomes == ["waiting"] * 4 + ["delivered"]
        assert [record.attempt for record in stage.records] == [1, 2, 3, 4, 5]
        assert [record.status for record in stage.records] == [500, 0, 503, 429, 200]
        assert b"\r\nWebhook-Attempt: 5\r\n" in stage.application.requests[-1]

    play(tmp_path, act)


def test_an_application_that_is_away(tmp_path: Path) -> None:
    async def act(stage: Stage) -> None:
        await stage.application.close()
        await stage.keep("a", "b")
        await stage.until(lambda: len(stage.records) >= 2)
        assert {record.reason for record in stage.records} == {Reason.UPSTREAM_UNREACHABLE}
        await stage.application.open()
        await stage.until_empty()
        assert len(stage.application.requests) == 2

    play(tmp_path, act)


def test_what_is_refused_is_dead_and_is_told(tmp_path: Path) -> None:
    async def act(stage: Stage) -> None:
        stage.application.answers = [answer(404)]
        await stage.keep("a")
        await stage.until(lambda: stage.gone)
        await stage.until_empty()
        [kept] = [kept async for kept in stage.opened.store.find(Choice())]
        assert (kept.condition, kept.tries[0].status, stage.outcomes) == (Condition.DEAD, 404, ["dead"])

    play(tmp_path, act)


def test_what_is_too_late_is_dead(tmp_path: Path) -> None:
    async def act(stage: Stage) -> None:
        stage.application.answers = [answer(500)]
        await stage.keep("a", age_s=30.0)
        await stage.until(lambda: stage.gone)
        assert stage.outcomes == ["dead"]

    play(tmp_path, act, with_rule(retry=RetryRule(first_s=0.02, most_s=0.05, for_s=10.0)))


def test_what_is_too_old_is_removed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def act(stage: Stage) -> None:
        await stage.opened.store.pause("hook", paused=True)
        stage.courier.lane_of(stage.route).paused = True  # as its next look finds it
        await stage.keep("old", age_s=7200.0)
        await stage.courier.stop()
        again = another_courier(stage)
        await stage.until_empty()
        await stage.until(lambda: again.is_active)  # it has told what it found
        await again.stop()

    play(tmp_path, act)
    assert "older than max_age" in caplog.text


def test_no_more_are_under_way_than_may(tmp_path: Path) -> None:
    async def act(stage: Stage) -> None:
        out: list[int] = []
        stage.application.asked = lambda: out.append(stage.courier.lanes["hook"].out)
        await stage.keep(*(f"d{number}" for number in range(30)))
        await stage.until_empty()
        assert len(out) == 30
        assert max(out) == 2

    play(tmp_path, act, with_rule(concurrency=2))


def test_an_order_holds_through_failures(tmp_path: Path) -> None:
    async def act(stage: Stage) -> None:
        stage.application.answers = [answer(500), OK, answer(500), answer(500), OK]
        await stage.keep("a", "b", "c", body=b"NAME", order="*")
        await stage.until_empty()
        assert stage.application.bodies == [b"a", b"a", b"b", b"b", b"b", b"c"]

    play(tmp_path, act, with_rule(strict=True, concurrency=8))


def test_a_pause_that_is_asked_for_holds_up_the_route(tmp_path: Path) -> None:
    async def act(stage: Stage) -> None:
        stage.application.answers = [answer(429, b"Retry-After: 1\r\n"), OK]
        await stage.keep("a")
        await stage.until(lambda: stage.records)
        first = asyncio.get_running_loop().time()
        await stage.keep("b")
        await stage.until_empty()
        assert asyncio.get_running_loop().time() - first > 0.8
        assert len(stage.application.requests) == 3

    play(tmp_path, act, with_rule(retry=RetryRule(first_s=0.02, most_s=5.0, for_s=60.0)))


def test_the_first_of_a_lane_does_not_wait_for_a_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def act(stage: Stage) -> None:
        monkeypatch.setattr(courier, "LOOK_MOST_S", 3600.0)
        await stage.keep("a")
        await stage.until_empty()

    play(tmp_path, act)


def test_what_is_resumed_is_tried_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane, "PAUSE_FIRST_S", 3600.0)

    async def act(stage: Stage) -> None:
        await stage.application.close()
        await stage.keep("a")
        await stage.until(lambda: len(stage.records) >= lane.IN_A_ROW)
        await stage.opened.store.pause("hook", paused=True)
        stage.courier.look()
        await stage.until(lambda: stage.courier.lanes["hook"].paused)
        await stage.application.open()
        await stage.opened.store.pause("hook", paused=False)
        stage.courier.look()
        await stage.until_empty()

    play(tmp_path, act)


def test_what_is_replayed_is_tried_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane, "PAUSE_FIRST_S", 3600.0)

    async def act(stage: Stage) -> None:
        stage.application.answers = [answer(404)]
        await stage.keep("dead")
        await stage.until(lambda: stage.gone)
        await stage.until_empty()
        await stage.application.close()
        await stage.keep("a")
        await stage.until(lambda: len(stage.records) > lane.IN_A_ROW)
        stage.courier.look()
        await stage.until(lambda: stage.courier.counted.lanes["hook"].dead)
        stage.application.answers = [OK]
        await stage.application.open()
        await stage.opened.store.replay([stage.gone[0].number], stage.site.clock.wall())
        stage.courier.look()
        await stage.until_empty()

    play(tmp_path, act)


def test_a_lane_without_a_route_waits_for_it(tmp_path: Path) -> None:
    async def act(stage: Stage) -> None:
        policy = stage.site.policy
        stage.site.use(replace(policy, routes=()))
        await stage.keep("a")
        stage.courier.look()
        await asyncio.sleep(0.05)
        assert await names(stage.opened.store) == ["a"]
        stage.site.use(policy)
        stage.courier.look()
        await stage.until_empty()

    play(tmp_path, act)


def test_the_next_courier_puts_back_what_was_under_way(tmp_path: Path) -> None:
    async def act(stage: Stage) -> None:
        await stage.courier.stop()
        await stage.keep("a", "b")
        await stage.opened.store.take({"hook": 1}, stage.site.clock.wall() + 1)
        again = another_courier(stage)
        await stage.until_empty()
        await again.stop()
        assert sorted(record.attempt for record in stage.records) == [1, 2]

    play(tmp_path, act)


def test_a_store_that_fails_for_a_while_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.queue.courier.AGAIN_S", 0.02)
    broken = 3

    async def act(stage: Stage) -> None:
        store = stage.opened.store
        take, settle = store.take, store.settle

        def fails(work: Callable[..., Awaitable[object]]) -> Callable[..., Awaitable[object]]:
            async def call(*words: object) -> object:
                nonlocal broken
                broken -= 1
                if broken % 2 == 0:
                    raise QueueError("disk I/O error")
                return await work(*words)

            return call

        monkeypatch.setattr(store, "take", fails(take))
        monkeypatch.setattr(store, "settle", fails(settle))
        await stage.keep("a", "b", "c")
        await stage.until_empty()
        assert sorted(stage.application.bodies) == [b"body"] * 3, "each once"

    play(tmp_path, act)


def test_what_is_out_at_the_end_is_waited_for(tmp_path: Path) -> None:
    async def act(stage: Stage) -> None:
        await stage.keep("a")
        await stage.until(lambda: stage.application.requests)
        await stage.courier.stop()
        assert await names(stage.opened.store) == []

    play(tmp_path, act)


def test_what_was_fetched_and_not_sent_is_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.queue.courier.STOP_S", 0.05)

    async def act(stage: Stage) -> None:
        stage.application.answers = [b"HTTP/1.1 100 Continue\r\n\r\n"]  # and never a final one
        await stage.keep("a", "b", "c")
        await stage.until(lambda: stage.application.requests)
        await stage.courier.stop()
        kept = [kept async for kept in stage.opened.store.find(Choice())]
        assert [(one.condition, one.attempts) for one in kept] == [(Condition.WAITING, n) for n in (1, 0, 0)]

    play(tmp_path, act, with_rule(concurrency=1))


def test_the_record_of_an_attempt_has_what_came(tmp_path: Path) -> None:
    async def act(stage: Stage) -> None:
        await stage.courier.stop()
        await stage.keep("a")
        [taken] = await stage.opened.store.take({"hook": 1}, stage.site.clock.wall() + 1)
        facts = {"event": "push", "client": "192.0.2.7", "secret": "s1", "request_id": "r"}
        taken = Taken(taken.number, taken.parcel._replace(facts=facts), 4, taken.begun)
        told: list[Attempt] = []
        Attempt(stage.site, stage.route, taken, body=iter([]), told=told.append).start()
        await stage.until(lambda: told)
        [attempt] = told
        assert attempt.last is not None
        record = record_of(attempt, Settlement(taken.number, None, attempt.last))
        assert (record.event, record.client, record.secret_name, record.request_id) == ("push", "192.0.2.7", "s1", "r")
        assert (record.attempt, record.outcome, record.status) == (5, "delivered", 200)

    play(tmp_path, act)


@pytest.mark.parametrize("resign", [False, True])
def test_an_attempt_never_ends_while_it_begins(tmp_path: Path, resign: bool) -> None:
    """Else many that fail at once would end inside each other."""

    def gone() -> Iterator[bytes]:
        raise QueueError("no such body")
        yield b""

    async def act(stage: Stage) -> None:
        await stage.keep("warm")
        await stage.until(lambda: stage.site.pool.idle_connections() == 1)  # the next one begins at once
        await stage.courier.stop()
        parcel = Parcel("a", "hook", 0.0, b"POST /hook HTTP/1.1\r\nHost: h\r\n\r\n", None, 100_000)
        told: list[Attempt] = []
        Attempt(stage.site, stage.route, Taken(9, parcel, 0, 0.0), body=gone(), told=told.append).start()
        assert told == []
        await stage.until(lambda: told)
        assert told[0].last is not None
        assert (told[0].last.word, told[0].last.detail) == ("queue_failed", "body")

    play(tmp_path, act, with_rule(resign=resign))


def test_it_ends_though_nothing_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(_settlements: object) -> None:
        raise QueueError("disk full")

    async def act(stage: Stage) -> None:
        monkeypatch.setattr(stage.opened.store, "settle", fail)
        await stage.keep("a")
        await stage.until(lambda: stage.outcomes == ["delivered"])
        async with asyncio.timeout(PATIENCE_S):
            await stage.courier.stop()

    play(tmp_path, act)


def test_what_waits_for_a_route_that_keeps_no_more_is_delivered(tmp_path: Path) -> None:
    async def act(stage: Stage) -> None:
        stage.courier.lane_of(stage.route).paused = True
        await stage.keep("one", "two")
        stage.site.use(policies.policy(replace(stage.route, delivery=None)))
        stage.courier.look()
        await stage.until_empty()
        assert len(stage.application.requests) == 2

    play(tmp_path, act)


def test_what_waits_for_no_route_stays(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def act(stage: Stage) -> None:
        stage.courier.lane_of(stage.route).paused = True
        await stage.keep("one")
        stage.site.use(policies.policy(replace(stage.route, name="other")))
        stage.courier.look()
        await stage.until(lambda: "no route any more" in caplog.text)
        assert await names(stage.opened.store) == ["one"]
        stage.site.use(policies.policy(stage.route))
        stage.courier.look()
        await stage.until_empty()
        assert len(stage.application.requests) == 1

    play(tmp_path, act)
