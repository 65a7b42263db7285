"""The line before an application: order, figures, places, and what a reload changes."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from proxy.core.delivery import TurnRule
from proxy.core.policy import Policy
from proxy.net.admission import Turnstile, Turnstiles
from proxy.net.clock import Clock
from tests.net.dialogue import FakeLoop, policy, route

ROOM = 100


@dataclass(eq=False)
class Standing:
    """Notes when it was its turn."""

    name: str
    through: list[str] = field(repr=False)

    def let_through(self) -> None:
        self.through.append(self.name)


@dataclass
class Stage:
    """One turnstile, its time, and who went through."""

    rule: TurnRule
    most: int = ROOM
    loop: FakeLoop = field(default_factory=FakeLoop)
    through: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.turnstile = Turnstile(self.loop, Clock(self.loop, self.loop.time))
        self.turnstile.use(self.rule, self.most)

    def come(self, names: str, patience_s: float = 60.0) -> list[Standing]:
        """Each enters, or stands in line; gives those that stand."""
        found = []
        for name in names:
            one = Standing(name, self.through)
            if self.turnstile.enter():
                self.through.append(name)
            elif self.turnstile.wait(one, patience_s):
                found.append(one)
        return found

    def later(self, seconds: float) -> None:
        until = self.loop.now + seconds
        while timers := [one for one in self.loop.timers if one.when <= until]:
            timer = min(timers, key=lambda one: one.when)
            self.loop.timers.remove(timer)
            self.loop.now = max(self.loop.now, timer.when)
            if not timer.cancelled:
                timer.call()
        self.loop.now = until


def test_so_many_at_once_and_the_others_in_order() -> None:
    stage = Stage(TurnRule(concurrency=2))
    stage.come("abcd")
    assert stage.through == ["a", "b"]
    stage.turnstile.leave()
    assert (stage.through, stage.turnstile.waiting) == (["a", "b", "c"], 1)
    stage.come("e")
    stage.turnstile.leave()
    stage.turnstile.leave()
    assert "".join(stage.through) == "abcde", "none overtakes what stands"


def test_no_faster_than_the_pace() -> None:
    stage = Stage(TurnRule(pace_per_s=10.0))
    stage.come("abcdef")
    assert stage.through == ["a"]
    stage.later(0.25)
    assert "".join(stage.through) == "abc"
    stage.later(10.0)
    assert "".join(stage.through) == "abcdef"


def test_both() -> None:
    stage = Stage(TurnRule(concurrency=1, pace_per_s=10.0))
    stage.come("abc")
    stage.later(5.0)
    assert stage.through == ["a"]
    stage.turnstile.leave()
    assert "".join(stage.through) == "ab"
    stage.turnstile.leave()
    assert "".join(stage.through) == "ab", "the pace holds still"
    stage.later(0.2)
    assert "".join(stage.through) == "abc"


def test_each_worker_has_its_part() -> None:
    stage = Stage(TurnRule(concurrency=9, pace_per_s=0.0, workers=4))
    stage.come("abcd")
    assert "".join(stage.through) == "ab"
    few = Stage(TurnRule(concurrency=2, workers=4))
    few.come("ab")
    assert few.through == ["a"], "none of them has no part at all"


def test_a_line_has_so_many_places() -> None:
    stage = Stage(TurnRule(concurrency=1), most=2)
    assert [one.name for one in stage.come("abcd")] == ["b", "c"]


def test_what_cannot_have_its_turn_in_time_has_no_place() -> None:
    stage = Stage(TurnRule(pace_per_s=2.0))
    assert [one.name for one in stage.come("abcdef", patience_s=1.0)] == ["b", "c"]
    assert stage.turnstile.comes_in_s() == pytest.approx(1.5, abs=0.1)


def test_a_place_that_is_given_up() -> None:
    stage = Stage(TurnRule(concurrency=1))
    b, c = stage.come("abc")
    assert stage.turnstile.forsake(b)
    stage.turnstile.leave()
    assert stage.through == ["a", "c"]
    assert not stage.turnstile.forsake(c), "it has had its turn, and must leave"


def test_new_figures_are_for_those_that_stand_as_well() -> None:
    stage = Stage(TurnRule(concurrency=1))
    stage.come("abcd")
    stage.turnstile.use(TurnRule(concurrency=3), ROOM)
    assert "".join(stage.through) == "abc"
    stage.turnstile.use(TurnRule(concurrency=1), ROOM)
    stage.turnstile.leave()
    stage.turnstile.leave()
    assert "".join(stage.through) == "abc", "fewer at once is for the next ones"
    stage.turnstile.leave()
    assert "".join(stage.through) == "abcd"


def test_a_pace_that_is_gone_holds_none_up() -> None:
    stage = Stage(TurnRule(pace_per_s=0.01))
    stage.come("abc", patience_s=999.0)
    stage.turnstile.use(TurnRule(), ROOM)
    assert "".join(stage.through) == "abc"


def test_a_pace_that_is_faster_is_so_at_once() -> None:
    stage = Stage(TurnRule(pace_per_s=0.01))
    stage.come("abc", patience_s=999.0)
    stage.turnstile.use(TurnRule(pace_per_s=10.0), ROOM)
    stage.later(1.0)
    assert "".join(stage.through) == "abc"


def with_turns(*names: str, concurrency: int = 1, **changed: int) -> Policy:
    rule = TurnRule(concurrency)
    return policy(*(route(f"/{name}".encode(), turns=rule) for name in names), route(b"/other"), **changed)


def test_every_route_has_a_line_of_its_own() -> None:
    loop = FakeLoop()
    turnstiles = Turnstiles(loop, Clock(loop, loop.time))
    loaded = with_turns("a", "b", max_exchanges=80)
    turnstiles.use(loaded)
    first, second, other = (turnstiles.of(one) for one in loaded.routes)
    assert first is not None
    assert second is not None
    assert other is None
    assert first.enter()
    assert not first.enter()
    assert second.enter(), "the other's application is no concern of it"
    assert (first.most, second.most) == (20, 20), "the lines share a half of what may be under way"


def test_a_reload_keeps_what_stands() -> None:
    loop = FakeLoop()
    turnstiles = Turnstiles(loop, Clock(loop, loop.time))
    loaded = with_turns("a", "b")
    turnstiles.use(loaded)
    through: list[str] = []
    for name, one in zip("ab", loaded.routes, strict=False):
        turnstile = turnstiles.of(one)
        assert turnstile is not None
        assert turnstile.enter()
        assert turnstile.wait(Standing(name, through), 9.0)
    turnstiles.use(with_turns("a"))
    assert (through, turnstiles.waiting()) == (["b"], {("a",): 1}), "a route without figures makes none wait"
    turnstiles.use(with_turns("a", concurrency=2))
    assert (through, turnstiles.waiting()) == (["b", "a"], {("a",): 0})
