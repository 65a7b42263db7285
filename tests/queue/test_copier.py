"""Copies on their way to the store: what is lost where it does not come after, and that only the copy is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from proxy.core.delivery import Deliver
from proxy.core.keeping import KeepingRelay
from proxy.core.metric_families import QUEUE_COPIES_LOST
from proxy.net.spill import SpillFile, SpillSpace
from proxy.queue import copier
from proxy.queue.copier import Copier
from proxy.queue.records import Choice, QueueError
from proxy.reasons import Reason
from tests.queue.staging import Stage, staged, with_rule
from tests.queue.test_keeper import relay

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


def play(folder: Path, act: Callable[[Stage], Awaitable[None]]) -> None:
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

    play(tmp_path, act)


def test_what_is_only_observed_is_not_copied(tmp_path: Path) -> None:
    async def act(stage: Stage) -> None:
        one = copied(stage, "r1")
        one.admit.observed = Reason.SIGNATURE_MISMATCH
        arrived: list[str] = []
        await copied_all(stage, arrived, [one])
        assert arrived == []

    play(tmp_path, act)


def test_a_store_that_fails_loses_the_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def act(stage: Stage) -> None:
        async def fail(*_: object) -> None:
            raise QueueError("disk I/O error")

        monkeypatch.setattr(stage.opened.store, "append", fail)
        arrived: list[str] = []
        await copied_all(stage, arrived, [copied(stage, "r1")])
        assert (arrived, lost(stage)) == ([], 1)

    play(tmp_path, act)


@pytest.mark.parametrize(("bound", "most"), [("MOST_BYTES", 10), ("MOST_WAITING", 2)])
def test_those_under_way_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: str, most: int) -> None:
    async def act(stage: Stage) -> None:
        monkeypatch.setattr(copier, bound, most)
        arrived: list[str] = []
        await copied_all(stage, arrived, [copied(stage, f"r{number}") for number in range(5)])
        assert (len(arrived), lost(stage)) == (2, 3)
        await copied_all(stage, arrived, [copied(stage, "later")])
        assert len(arrived) == 3, "there is room again"

    play(tmp_path, act)


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

    play(tmp_path, act)
