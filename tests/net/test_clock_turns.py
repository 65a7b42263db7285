"""Step by step: in which order, what waits for the next turn, and that a bug stays with its own exchange."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from proxy.net.client import ClientConnection
from proxy.net.clock import STAGED_BYTES, Turn
from proxy.net.exchange import Exchange
from proxy.net.upstream import UpstreamConnection
from proxy.reasons import Reason
from tests.net.dialogue import OK, FakeLoop, World, forged, signed

ANSWERED = b"HTTP/1.1 200 OK\r\n*\r\n\r\nok"


class Steps:
    """Goes on so many times, or does something else."""

    def __init__(self, stage: Stage, name: str, rounds: int = 1, does: Callable[[], None] | None = None) -> None:
        self.stage, self.name, self.rounds, self.does = stage, name, rounds, does
        self.bugs: list[Exception] = []

    def step(self) -> None:
        self.stage.done.append(self.name)
        if self.does is not None:
            self.does()
        self.rounds -= 1
        if self.rounds:
            self.stage.turn.go_on(self)

    def failed(self, bug: Exception) -> None:
        self.bugs.append(bug)


class Stage:
    def __init__(self) -> None:
        self.loop = FakeLoop()
        self.turn = Turn(self.loop)
        self.done: list[str] = []

    def run(self) -> None:
        """One iteration of the loop."""
        for _ in range(len(self.loop.ready)):
            self.loop.ready.popleft()()


def raise_a_bug() -> None:
    raise ZeroDivisionError


def test_each_round_steps_all_that_have_more_to_do() -> None:
    stage = Stage()
    for name, rounds in (("a", 3), ("b", 1), ("c", 2)):
        stage.turn.enter(Steps(stage, name, rounds))
    assert len(stage.loop.ready) == 1
    stage.run()
    assert "".join(stage.done) == "abc" + "ac" + "a"
    assert not stage.loop.ready


def test_what_enters_during_a_turn_waits_for_the_next() -> None:
    stage = Stage()
    late = Steps(stage, "late")
    stage.turn.enter(Steps(stage, "a", 2, lambda: stage.done.count("a") == 1 and stage.turn.enter(late)))
    stage.run()
    assert stage.done == ["a", "a"]
    assert len(stage.loop.ready) == 1
    stage.run()
    assert stage.done == ["a", "a", "late"]
    assert not stage.loop.ready


def test_outside_of_a_turn_it_goes_on_in_the_next_one() -> None:
    stage = Stage()
    stage.turn.go_on(Steps(stage, "a", 2))
    assert stage.done == []
    stage.run()
    assert stage.done == ["a", "a"]


def test_a_step_that_raises_is_told_to_its_own_and_the_others_go_on() -> None:
    stage = Stage()
    broken = Steps(stage, "broken", 2, raise_a_bug)
    for one in (Steps(stage, "before", 2), broken, Steps(stage, "behind", 2)):
        stage.turn.enter(one)
    stage.run()
    assert stage.done == ["before", "broken", "behind", "before", "behind"]
    assert [type(bug) for bug in broken.bugs] == [ZeroDivisionError]
    stage.turn.enter(Steps(stage, "again"))
    stage.run()
    assert stage.done[-1] == "again"


def test_one_that_cannot_even_be_told_of_its_bug_does_not_stop_the_others() -> None:
    stage = Stage()
    worst = Steps(stage, "worst", 1, raise_a_bug)
    worst.failed = lambda bug: raise_a_bug()  # type: ignore[method-assign]
    stage.turn.enter(worst)
    stage.turn.enter(Steps(stage, "behind"))
    stage.run()
    assert stage.done == ["worst", "behind"]
    assert len(stage.loop.complaints) == 1


def test_exchanges_that_come_together_are_served_as_those_that_come_alone() -> None:
    world = World()
    senders = [world.sender() for _ in range(6)]
    for number, sender in enumerate(senders):
        sender.transport.inbox.append(forged(b"x") if number == 2 else signed(b"%d" % number))
    world.settle()
    senders[2] << b"HTTP/1.1 403 Forbidden\r\n*"
    assert len(world.upstreams) == 5
    for upstream, number in zip(world.upstreams, (0, 1, 3, 4, 5), strict=True):
        upstream << b"POST /hook HTTP/1.1\r\n*\r\n\r\n%d" % number
        upstream.transport.inbox.append(OK)
    world.settle()
    for number in (0, 1, 3, 4, 5):
        senders[number] << ANSWERED
    world.over(Reason.SIGNATURE_MISMATCH, *[Reason.DELIVERED] * 5)


@pytest.mark.parametrize(
    ("kind", "name"),
    [(ClientConnection, "_decide"), (Exchange, "_connect"), (Exchange, "step"), (UpstreamConnection, "step")],
    ids=lambda part: part if isinstance(part, str) else part.__name__,
)
def test_a_bug_in_one_step_ends_its_own_exchange_alone(monkeypatch, kind, name: str) -> None:
    world = World()
    whole, calls = vars(kind)[name], []

    def broken(*given: object) -> object:
        calls.append(name)
        if len(calls) == 2:
            raise ZeroDivisionError
        return whole(*given)

    with monkeypatch.context() as patch:
        patch.setattr(kind, name, broken)
        senders = [world.sender() for _ in range(3)]
        for sender in senders:
            sender.transport.inbox.append(signed(b"{}"))
        world.settle()
        for upstream in world.upstreams:
            upstream.transport.inbox.append(OK)
        world.settle()
    answers = [sender.hear()[:12] for sender in senders]
    assert sorted(answers) == [b"HTTP/1.1 200", b"HTTP/1.1 200", b"HTTP/1.1 500"]
    assert len(world.loop.complaints) == 1
    world.loop.complaints.clear()
    assert sorted(reason.word for reason in world.reasons) == ["delivered", "delivered", "internal_error"]
    world.over(*world.reasons)


def test_what_is_large_is_taken_at_once() -> None:
    """A crowd that sends much before it is judged would otherwise fill memory, read after read."""
    for size, waits in ((STAGED_BYTES, True), (STAGED_BYTES + 1, False)):
        world = World()
        sender = world.sender()
        whole = signed(b"x" * 100_000)
        sender.transport.inbox.append(whole[:size])
        sender.transport.deliver()
        assert world.site.exchanges == (not waits)
        sender >> whole[size:]
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % 100_000 + bytes(100_000)
        world.upstream.transport.inbox.append(answer[:size])
        world.upstream.transport.deliver()
        world.upstream >> answer[size:]
        assert sender.hear().endswith(bytes(100_000))
        world.over(Reason.DELIVERED)
