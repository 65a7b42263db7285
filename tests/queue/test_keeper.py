"""What exchanges get of the queue, and copies on their way to the store: only the copy is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from proxy.core import metric_families as of
from proxy.core.delivery import Deliver
from proxy.core.exchange import Admit
from proxy.core.keeping import KeepingRelay
from proxy.core.metric_families import QUEUE_COPIES_LOST
from proxy.core.metrics import Metrics
from proxy.core.payload import Pointer
from proxy.core.record import Arrival, ExchangeRecord
from proxy.core.request_head import read_request_head
from proxy.net.large_bodies import SpillFile, SpillSpace
from proxy.queue import keeper
from proxy.queue.keeper import Copier, DeliveryKeeper, measure_commits, measure_lanes
from proxy.queue.records import Choice, CommitStatistics, LaneCount, QueueError, QueueFullError
from proxy.reasons import Reason
from tests.core.relaying import PEER
from tests.policies import HEAD_LIMITS
from tests.queue.conformance import count, names
from tests.queue.staging import OK, Stage, answer, staged, with_rule

Act = Callable[[Stage, DeliveryKeeper], Awaitable[None]]
FALLBACK = with_rule(deliver=Deliver.FALLBACK)


def play(folder: Path, act: Act, **changed: object) -> None:
    async def run() -> None:
        async with staged(folder / "queue", with_rule(**changed)) as stage:
            keeper = DeliveryKeeper(stage.site, stage.opened, stage.courier)
            await act(stage, keeper)
            await keeper.close()

    asyncio.run(run())


def relay(stage: Stage, name: str, body: bytes = b"body", *, trusted: bool = False) -> KeepingRelay:
    text = b"POST /hook HTTP/1.1\r\nHost: h\r\nCookie: secret\r\nContent-Length: %d\r\n\r\n" % len(body)
    parsed = read_request_head(text, HEAD_LIMITS)
    assert parsed is not None
    arrival = Arrival("192.0.2.7", secure=True)
    arrival.trusted = trusted
    one = KeepingRelay(ExchangeRecord(name, 0.0, "192.0.2.7", "192.0.2.7"), arrival, 0.0)
    one.admitted(parsed[0], Admit(stage.route, PEER, b"/hook", None), None)
    one.whole(body)
    one.content_ended()
    return one


async def keep(keeper: DeliveryKeeper, what: KeepingRelay) -> tuple[Reason | None, str]:
    told: asyncio.Future[tuple[Reason | None, str]] = asyncio.get_running_loop().create_future()
    keeper.keep(what, None, lambda reason, detail: told.set_result((reason, detail)))
    return await told


def test_what_is_kept_is_sent(tmp_path: Path) -> None:
    async def act(stage: Stage, keeper: DeliveryKeeper) -> None:
        for number in range(20):
            assert await keep(keeper, relay(stage, f"r{number}", b"%d" % number)) == (None, "")
        await stage.until_empty()
        assert sorted(stage.application.bodies) == sorted(b"%d" % number for number in range(20))
        assert b"secret" not in b"".join(stage.application.requests)

    play(tmp_path, act)


def test_an_id_of_a_trusted_proxy_may_come_twice(tmp_path: Path) -> None:
    async def act(stage: Stage, keeper: DeliveryKeeper) -> None:
        await stage.opened.store.pause("hook", paused=True)
        stage.courier.lane_of(stage.route).paused = True  # as its next look finds it
        for _ in range(2):
            assert await keep(keeper, relay(stage, "the same", trusted=True)) == (None, "")
        assert len(set(await names(stage.opened.store))) == 2

    play(tmp_path, act)


def test_of_the_pushes_to_one_branch_the_last_is_kept(tmp_path: Path) -> None:
    async def act(stage: Stage, keeper: DeliveryKeeper) -> None:
        await stage.opened.store.pause("hook", paused=True)
        stage.courier.look()
        await stage.until(lambda: stage.courier.lanes and stage.courier.lanes["hook"].paused)
        for name, ref in (("a", b"main"), ("b", b"dev"), ("c", b"main")):
            assert await keep(keeper, relay(stage, name, b'{"ref": "%b"}' % ref)) == (None, "")
        assert await names(stage.opened.store) == ["b", "c"]

    play(tmp_path, act, coalesce=Pointer.parse("ref"))


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (QueueFullError("full"), (Reason.QUEUE_FULL, "")),
        (QueueError("disk I/O error"), (Reason.QUEUE_FAILED, "store")),
        (RuntimeError("a bug"), (Reason.QUEUE_FAILED, "internal_error")),
    ],
)
def test_what_is_not_kept_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, told: tuple[Reason, str]
) -> None:
    async def act(stage: Stage, keeper: DeliveryKeeper) -> None:
        async def fail(*_: object) -> None:
            raise error

        complaints: list[object] = []
        stage.site.loop.set_exception_handler(lambda _, context: complaints.append(context["exception"]))
        for name in ("append", "append_taken"):
            monkeypatch.setattr(stage.opened.store, name, fail)
        assert await keep(keeper, relay(stage, "a")) == told
        assert complaints == ([error] if isinstance(error, RuntimeError) else [])

    play(tmp_path, act)


def test_a_failure_is_not_believed_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A balancer that it keeps away would never bring the delivery that shows that it is over."""

    async def act(stage: Stage, keeper: DeliveryKeeper) -> None:
        async def fail(*_: object) -> None:
            raise QueueFullError("full")

        with monkeypatch.context() as patch:
            for name in ("append", "append_taken"):
                patch.setattr(stage.opened.store, name, fail)
            assert await keep(keeper, relay(stage, "a")) == (Reason.QUEUE_FULL, "")
            assert keeper.failure == "full"
            patch.setattr("proxy.queue.keeper.FAILED_S", -1.0)
            assert keeper.failure == ""
        assert keeper.failure == "full"
        assert await keep(keeper, relay(stage, "b")) == (None, "")
        assert keeper.failure == ""

    play(tmp_path, act)


@pytest.mark.parametrize("delivers", [True, False])
def test_a_paused_route_is_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, delivers: bool) -> None:
    monkeypatch.setattr("proxy.queue.courier.LOOK_MOST_S", 0.01)
    monkeypatch.setattr("proxy.queue.keeper.LOOK_S", 0.01)

    async def act(stage: Stage, keeper: DeliveryKeeper) -> None:
        if not delivers:
            await stage.courier.stop()
        assert not keeper.holds(stage.route)
        await stage.opened.store.pause("hook", paused=True)
        await stage.until(lambda: keeper.holds(stage.route))
        await stage.opened.store.pause("hook", paused=False)
        await stage.until(lambda: not keeper.holds(stage.route))

    play(tmp_path, act, deliver=Deliver.FALLBACK)


def test_the_store_is_not_asked_twice_what_it_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.queue.keeper.LOOK_S", 0.001)

    async def act(stage: Stage, keeper: DeliveryKeeper) -> None:
        asked: list[float] = []
        counts = stage.opened.store.counts

        async def ask() -> list[LaneCount]:
            asked.append(stage.site.clock.wall())
            return await counts()

        monkeypatch.setattr(stage.opened.store, "counts", ask)
        stage.courier.look()
        await stage.until(lambda: len(asked) == 2)  # that, and a second later; the keeper would have been often
        assert asked[1] - asked[0] > 0.5

    play(tmp_path, act)


def test_an_order_is_not_overtaken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.queue.courier.LOOK_MOST_S", 0.01)

    async def act(stage: Stage, keeper: DeliveryKeeper) -> None:
        stage.application.answers = [answer(500)]
        assert not keeper.holds(stage.route)
        assert await keep(keeper, relay(stage, "a")) == (None, "")
        assert keeper.holds(stage.route), "at once, though the counts do not say so yet"
        await stage.until(lambda: "hook" in keeper.counted.lanes and keeper.counted.lanes["hook"].live)
        assert keeper.holds(stage.route)
        assert (await count(stage.opened.store)).live == 1
        stage.application.answers = [OK]
        await stage.until(lambda: not keeper.holds(stage.route))

    play(tmp_path, act, deliver=Deliver.FALLBACK, strict=True)


def test_an_application_that_fails_is_held_and_probed(tmp_path: Path) -> None:
    async def act(stage: Stage, keeper: DeliveryKeeper) -> None:
        for _ in range(5):
            assert not keeper.holds(stage.route)
            keeper.tried(stage.route, well=False)
        assert keeper.holds(stage.route)
        await stage.until(lambda: not keeper.holds(stage.route))
        assert keeper.holds(stage.route), "one probe at a time"
        keeper.tried(stage.route, well=True)
        assert not keeper.holds(stage.route)
        assert not keeper.holds(stage.route)

    play(tmp_path, act, deliver=Deliver.FALLBACK)


LANE = "hook@staging"


def copied(stage: Stage, name: str, body: bytes = b"body") -> KeepingRelay:
    """A relay of a direct route with one copy."""
    direct = with_rule(deliver=Deliver.DIRECT)
    copy = replace(stage.route, name=LANE)
    stage.route = replace(stage.route, delivery=direct, copies=(copy,))
    return relay(stage, name, body)


def lost(stage: Stage) -> float:
    return stage.site.metrics.values(QUEUE_COPIES_LOST).get((LANE,), 0)


async def copied_all(stage: Stage, arrived: list[str], what: list[KeepingRelay]) -> None:
    one = Copier(stage.site, stage.opened.store, arrived.append)
    for each in what:
        one.copy(each, None)
    await one.close()


def play_copies(folder: Path, act: Callable[[Stage], Awaitable[None]]) -> None:
    async def run() -> None:
        async with staged(folder / "queue") as stage:
            await act(stage)

    asyncio.run(run())


def test_they_are_kept_under_names_of_their_own(tmp_path: Path) -> None:
    async def act(stage: Stage) -> None:
        arrived: list[str] = []
        await copied_all(stage, arrived, [copied(stage, "r1"), copied(stage, "r2")])
        kept = [one async for one in stage.opened.store.find(Choice())]
        assert [(one.parcel.id, one.parcel.lane) for one in kept] == [("r1-copy1", LANE), ("r2-copy1", LANE)]
        assert all(one.parcel.keys == () for one in kept), "a dead copy is forgotten by no duplicate"
        assert (arrived, lost(stage)) == ([LANE, LANE], 0)

    play_copies(tmp_path, act)


def test_what_is_only_observed_is_not_copied(tmp_path: Path) -> None:
    async def act(stage: Stage) -> None:
        one = copied(stage, "r1")
        one.admit.observed = Reason.SIGNATURE_MISMATCH
        arrived: list[str] = []
        await copied_all(stage, arrived, [one])
        assert arrived == []

    play_copies(tmp_path, act)


def test_a_store_that_fails_loses_the_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def act(stage: Stage) -> None:
        async def fail(*_: object) -> None:
            raise QueueError("disk I/O error")

        monkeypatch.setattr(stage.opened.store, "append", fail)
        arrived: list[str] = []
        await copied_all(stage, arrived, [copied(stage, "r1")])
        assert (arrived, lost(stage)) == ([], 1)

    play_copies(tmp_path, act)


@pytest.mark.parametrize(("bound", "most"), [("MOST_BYTES", 10), ("MOST_WAITING", 2)])
def test_those_under_way_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: str, most: int) -> None:
    async def act(stage: Stage) -> None:
        monkeypatch.setattr(keeper, bound, most)
        arrived: list[str] = []
        await copied_all(stage, arrived, [copied(stage, f"r{number}") for number in range(5)])
        assert (len(arrived), lost(stage)) == (2, 3)
        await copied_all(stage, arrived, [copied(stage, "later")])
        assert len(arrived) == 3, "there is room again"

    play_copies(tmp_path, act)


def test_a_large_body_outlives_its_exchange(tmp_path: Path) -> None:
    async def act(stage: Stage) -> None:
        spill = SpillFile(SpillSpace(1 << 20), str(stage.opened.bodies))
        spill.write(b"x" * 100_000)
        one = Copier(stage.site, stage.opened.store, list[str]().append)
        what = copied(stage, "r1", b"y" * 100_000)
        one.copy(what, spill)
        spill.close()
        await one.close()
        [kept] = [one async for one in stage.opened.store.find(Choice())]
        assert b"".join(stage.opened.store.pieces(kept.parcel)) == b"x" * 100_000

    play_copies(tmp_path, act)


NOW = 1_700_000_000.0


def test_what_each_lane_holds() -> None:
    metrics = Metrics()
    counts = [LaneCount("a", live=3, dead=1, bytes=100, oldest=NOW - 60), LaneCount("b", bytes=11, paused=True)]
    measure_lanes(metrics, counts, NOW)
    assert metrics.values(of.QUEUE_DELIVERIES) == {
        ("a", "waiting"): 3, ("a", "dead"): 1, ("b", "waiting"): 0, ("b", "dead"): 0,
    }  # fmt: skip
    assert metrics.values(of.QUEUE_OLDEST) == {("a",): 60, ("b",): 0}
    assert metrics.values(of.QUEUE_PAUSED) == {("a",): 0, ("b",): 1}
    assert metrics.values(of.QUEUE_BYTES) == {(): 111}


def test_commits_are_counted_once() -> None:
    metrics, statistics = Metrics(), CommitStatistics(failures=2)
    statistics.durations.extend([0.002, 0.2])
    statistics.sizes.extend([1, 30])
    for _ in range(2):
        measure_commits(metrics, statistics)
    text = metrics.expose().decode()
    assert "hookward_queue_commit_duration_seconds_count 2" in text
    assert "hookward_queue_commit_changes_sum 31" in text
    assert "hookward_queue_store_failures_total 2" in text
