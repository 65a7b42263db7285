"""Kept deliveries and exchanges of one route in one line."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

from proxy.core.delivery import Deliver, TurnRule
from proxy.net.admission import Turnstile
from proxy.net.clock import Clock
from proxy.queue.lane import LaneTurns
from tests import policies
from tests.net.dialogue import FakeLoop
from tests.net.test_admission_turnstile import Standing
from tests.queue.staging import RULE, staged


def test_what_is_kept_and_what_is_new_take_turns() -> None:
    loop = FakeLoop()
    turnstile = Turnstile(loop, Clock(loop, loop.time))
    turnstile.use(TurnRule(concurrency=1), 10)
    gone: list[str] = []

    def send() -> None:
        while turns.take():
            gone.append("kept")

    turns = LaneTurns(turnstile, send)
    send()
    for name in "ab":
        assert turnstile.wait(Standing(name, gone), 9.0)
    for _ in range(3):
        turnstile.leave()
    assert gone == ["kept", "kept", "a", "b"], "it stood before the others came, and then behind them"
    assert turnstile.waiting == 1
    turns.give_up()
    turnstile.leave()
    assert turnstile.enter(), "neither place nor turn is left behind"


def test_a_turn_that_is_not_needed_is_given_back() -> None:
    loop = FakeLoop()
    turnstile = Turnstile(loop, Clock(loop, loop.time))
    turnstile.use(TurnRule(concurrency=1), 10)
    woken: list[None] = []
    turns = LaneTurns(turnstile, lambda: woken.append(None))
    assert turnstile.enter()
    assert not turns.take()
    assert not turns.take(), "it stands there once"
    turnstile.leave()
    assert len(woken) == 1
    turns.give_up()
    assert turnstile.enter()


async def test_the_courier_waits_for_exchanges(tmp_path: Path) -> None:
    rule = replace(RULE, deliver=Deliver.FALLBACK, concurrency=4)
    async with staged(tmp_path, rule, turns=TurnRule(concurrency=1)) as stage:
        turnstile = stage.site.turnstiles.of(stage.route)
        assert turnstile is not None
        assert turnstile.enter()
        await stage.keep("one", "two", "three")
        await stage.until(lambda: turnstile.waiting == 1)
        assert stage.application.requests == []
        turnstile.leave()
        await stage.until_empty()
        assert len(stage.application.requests) == 3
        assert turnstile.enter(), "each has given its turn back"


async def test_a_reload_without_turns_lets_the_courier_go(tmp_path: Path) -> None:
    rule = replace(RULE, deliver=Deliver.FALLBACK)
    async with staged(tmp_path, rule, turns=TurnRule(concurrency=1)) as stage:
        turnstile = stage.site.turnstiles.of(stage.route)
        assert turnstile is not None
        assert turnstile.enter()
        await stage.keep("one", "two")
        await stage.until(lambda: turnstile.waiting == 1)
        stage.site.use(policies.policy(replace(stage.route, turns=None)))
        await stage.until_empty()
        await asyncio.sleep(0)
        assert turnstile.waiting == 0
