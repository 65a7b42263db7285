"""Stage by stage: in which order, what waits for the next turn, and that a bug stays with its own exchange."""

from __future__ import annotations

from functools import partial

from hypothesis import given
from hypothesis import strategies as st

from proxy.net.client import ClientConnection
from proxy.net.delivery import Delivery
from proxy.net.exchange import Exchange
from proxy.net.turn import ANSWER, DECISION, DELIVERY, HEAD, RELAY, STAGED_BYTES, VERDICT, Turn
from proxy.net.upstream import UpstreamConnection
from proxy.reasons import Reason
from tests.net.dialogue import OK, FakeLoop, World, forged, signed

KINDS = (ClientConnection, Exchange, Delivery, UpstreamConnection)
STAGES = (HEAD, DECISION, VERDICT, DELIVERY, ANSWER, RELAY)
ANSWERED = b"HTTP/1.1 200 OK\r\n*\r\n\r\nok"


def nobody(bug: Exception) -> None:
    raise AssertionError(bug)


class Stage:
    def __init__(self) -> None:
        self.loop = FakeLoop()
        self.turn = Turn(self.loop)  # type: ignore[arg-type]
        self.done: list[object] = []

    def enter(self, stage: int, name: object) -> None:
        self.turn.enter(stage, partial(self.done.append, name), nobody)

    def go_on(self, stage: int, name: object) -> None:
        self.turn.go_on(stage, partial(self.done.append, name), nobody)

    def run(self) -> None:
        """One iteration of the loop."""
        for _ in range(len(self.loop.ready)):
            self.loop.ready.popleft()()


@given(st.lists(st.sampled_from(STAGES), max_size=30))
def test_all_of_a_stage_come_before_the_next_in_the_order_they_came(stages: list[int]) -> None:
    stage = Stage()
    for number, at in enumerate(stages):
        stage.enter(at, (at, number))
    assert len(stage.loop.ready) == bool(stages)
    stage.run()
    assert stage.done == sorted(stage.done)  # type: ignore[type-var]
    assert len(stage.done) == len(stages)
    assert not stage.loop.ready


def test_what_goes_on_does_so_at_its_stage_of_the_same_turn() -> None:
    stage = Stage()
    for name in "ab":
        stage.turn.enter(HEAD, partial(stage.go_on, DECISION, name), nobody)
    stage.enter(DECISION, "c")
    stage.run()
    assert stage.done == ["c", "a", "b"]
    assert not stage.loop.ready


def test_outside_of_a_turn_it_goes_on_at_once() -> None:
    stage = Stage()
    stage.go_on(RELAY, "a")
    assert stage.done == ["a"]
    assert not stage.loop.ready
    stage.enter(HEAD, "b")
    stage.go_on(DECISION, "c")
    assert stage.done == ["a", "c"]


def test_a_bug_outside_of_a_turn_is_told_to_its_own_exchange() -> None:
    stage = Stage()
    bug = ZeroDivisionError()
    told: list[Exception] = []

    def fails() -> None:
        raise bug

    stage.turn.go_on(RELAY, fails, told.append)
    assert told == [bug]
    assert not stage.loop.complaints


def test_what_enters_a_stage_that_is_over_waits_for_the_next_turn() -> None:
    stage = Stage()
    stage.turn.enter(RELAY, partial(stage.enter, HEAD, "next"), nobody)
    stage.run()
    assert stage.done == []
    assert len(stage.loop.ready) == 1
    stage.run()
    assert stage.done == ["next"]
    assert not stage.loop.ready


def test_a_step_that_raises_is_told_to_its_own_and_the_others_go_on() -> None:
    stage = Stage()
    told: list[Exception] = []

    def bug() -> None:
        raise ZeroDivisionError

    stage.enter(HEAD, "before")
    stage.turn.enter(HEAD, bug, told.append)
    stage.enter(HEAD, "behind")
    stage.enter(RELAY, "last")
    stage.run()
    assert stage.done == ["before", "behind", "last"]
    assert [type(one) for one in told] == [ZeroDivisionError]
    stage.enter(HEAD, "again")
    stage.run()
    assert stage.done[-1] == "again"


def test_one_who_cannot_even_be_told_of_its_bug_does_not_stop_the_others() -> None:
    stage = Stage()

    def bug(*_: object) -> None:
        raise ZeroDivisionError

    stage.turn.enter(HEAD, bug, bug)
    stage.enter(HEAD, "behind")
    stage.run()
    assert stage.done == ["behind"]
    assert len(stage.loop.complaints) == 1
    stage.turn.enter(HEAD, partial(stage.go_on, DECISION, "next"), nobody)
    stage.run()
    assert stage.done == ["behind", "next"]


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


def test_a_bug_in_one_stage_ends_its_own_exchange_alone(monkeypatch) -> None:
    for stage in ("_decide", "_deliver", "begin_whole", "_relay_kept", "_take_answer"):
        world = World()
        with monkeypatch.context() as patch:
            break_the_second(patch, stage)
            senders = [world.sender() for _ in range(3)]
            for sender in senders:
                sender.transport.inbox.append(signed(b"{}"))
            world.settle()
            for upstream in world.upstreams:
                upstream.transport.inbox.append(OK)
            world.settle()
        answers = [sender.hear()[:12] for sender in senders]
        assert sorted(answers) == [b"HTTP/1.1 200", b"HTTP/1.1 200", b"HTTP/1.1 500"], stage
        assert len(world.loop.complaints) == 1
        world.loop.complaints.clear()
        assert sorted(reason.word for reason in world.reasons) == ["delivered", "delivered", "internal_error"]
        world.over(*world.reasons)


def break_the_second(patch, name: str) -> None:
    """The second call of a step of an exchange raises."""
    for kind in KINDS:
        step = vars(kind).get(name)
        if step is not None:
            break
    calls = []

    def broken(*given_: object) -> None:
        calls.append(name)
        if len(calls) == 2:
            raise ZeroDivisionError
        step(*given_)

    patch.setattr(kind, name, broken)


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
        assert bool(sender.transport.taken) is not waits
        world.upstream >> answer[size:]
        assert sender.hear().endswith(bytes(100_000))
        world.over(Reason.DELIVERED)
