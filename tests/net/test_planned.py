"""Deliveries that go by a plan: whatever happens to one, both sides and the log see what they see without plans."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.addresses import AddressSet, Peer
from proxy.core.delivery import DuplicateRule, TurnRule
from proxy.core.payload import PayloadRule, Pointer
from proxy.core.record import ExchangeRecord
from proxy.core.signing.mac import MacVerification
from proxy.net import heads
from proxy.net.heads import HeadJudge
from proxy.net.planned import PlannedExchange
from proxy.reasons import Reason
from tests.examples import examples
from tests.net.dialogue import OK, End, World, forged, policy, route, signed
from tests.policies import APP

ANSWERED = b"HTTP/1.1 200 OK\r\n*\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
BUSY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\nno"
DELIVERED = Reason.DELIVERED


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[PlannedExchange]:
    """Those that have begun."""
    found: list[PlannedExchange] = []
    made = PlannedExchange.__post_init__

    def spy(self: PlannedExchange) -> None:
        found.append(self)
        made(self)

    monkeypatch.setattr(PlannedExchange, "__post_init__", spy)
    return found


def acquainted(*routes: Any, **changed: Any) -> tuple[World, End]:
    """A world that knows how its sender's heads look, with an idle connection to the upstream; and the sender."""
    world = World(*routes, **changed)
    sender = world.sender()
    sender >> signed(b"[]")
    world.upstream >> OK
    world.upstream.hear()
    sender << ANSWERED
    return world, sender


Play = Callable[[World, End], None]


def all_at_once(world: World, sender: End) -> None:
    sender >> signed(b"{}")
    world.upstream >> OK


def in_two_reads(world: World, sender: End) -> None:
    sender >> signed(b"{}")
    world.upstream.say(OK[:-2], OK[-2:])


def in_chunks(world: World, sender: End) -> None:
    sender >> signed(b"{}")
    world.upstream >> CHUNKED


def busy(world: World, sender: End) -> None:
    sender >> signed(b"{}")
    world.upstream >> BUSY


def closing(world: World, sender: End) -> None:
    sender >> signed(b"{}")
    world.upstream >> OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    sender >> signed(b"{} ")
    world.upstream >> OK


def ended_by_the_connection(world: World, sender: End) -> None:
    sender >> signed(b"{}")
    world.upstream >> b"HTTP/1.1 200 OK\r\n\r\nok"
    world.upstream.finish()


def interim_first(world: World, sender: End) -> None:
    sender >> signed(b"{}")
    world.upstream.say(b"HTTP/1.1 103 Early Hints\r\n\r\n", OK)


def without_content(world: World, sender: End) -> None:
    sender >> signed(b"{}")
    world.upstream >> b"HTTP/1.1 204 No Content\r\n\r\n"


def forgery(world: World, sender: End) -> None:
    sender >> forged(b"{}")
    sender >> signed(b"{}")
    world.upstream >> OK


def no_idle_connection(world: World, sender: End) -> None:
    world.upstream.vanish()
    sender >> signed(b"{}")
    world.upstream >> OK


def none_at_all(world: World, sender: End) -> None:
    world.upstream.vanish()
    world.pool.connects = False
    sender >> signed(b"{}")
    world.pool.refuse()


def reset_before_the_answer(world: World, sender: End) -> None:
    sender >> signed(b"{}")
    world.upstream.vanish()


def reset_within_the_answer(world: World, sender: End) -> None:
    sender >> signed(b"{}")
    world.upstream >> OK[:-1]
    world.upstream.vanish()


def nonsense(world: World, sender: End) -> None:
    sender >> signed(b"{}")
    world.upstream >> b"what?\r\n\r\n"


def never_answered(world: World, sender: End) -> None:
    sender >> signed(b"{}")
    world.later(60.0)


def answered_late(world: World, sender: End) -> None:
    sender >> signed(b"{}")
    world.later(5.0)
    world.upstream >> OK


def sender_gone(world: World, sender: End) -> None:
    sender >> signed(b"{}")
    sender.vanish()


def sender_ends_its_side(world: World, sender: End) -> None:
    sender >> signed(b"{}")
    sender.finish()
    world.upstream >> OK


def pipelined(world: World, sender: End) -> None:
    sender >> signed(b"{}") + signed(b"[1]") + forged(b"[2]")
    world.upstream >> OK
    world.upstream >> OK


def slow_sender(world: World, sender: End) -> None:
    sender >> signed(b"{}")
    sender.take(3)
    world.upstream >> OK.replace(b": 2", b": 70000") + b"x" * 69_998
    world.later(2.0)
    sender.take(None)


def reloaded(world: World, sender: End) -> None:
    sender >> signed(b"{}")
    world.site.use(replace(world.site.policy, generation=2))
    world.upstream >> OK
    sender >> signed(b"[3]")
    world.upstream >> OK


def drained(world: World, sender: End) -> None:
    sender >> signed(b"{}")
    world.site.start_drain()
    world.upstream >> OK


def closed_at_once(world: World, sender: End) -> None:
    sender >> signed(b"{}")
    sender.protocol.abort()


def asked_to_close(world: World, sender: End) -> None:
    close = signed(b"{}", extra=b"Connection: close\r\n")
    world.sender() >> close
    world.upstream >> OK
    sender >> close
    world.upstream >> OK


def in_pieces(world: World, sender: End) -> None:
    whole = signed(b"{}")
    sender.say(whole[:20], whole[20:-1], whole[-1:])
    world.upstream >> OK


PLAYS: list[Play] = [
    *(all_at_once, in_two_reads, in_chunks, busy, closing, ended_by_the_connection, interim_first, without_content),
    *(forgery, no_idle_connection, none_at_all, reset_before_the_answer, reset_within_the_answer, nonsense),
    *(never_answered, answered_late, sender_gone, sender_ends_its_side, pipelined, slow_sender, reloaded, drained),
    *(closed_at_once, asked_to_close, in_pieces),
]


#: Where a plan leads all the way, and where it ends with the head.
KINDS: dict[str, dict[str, Any]] = {
    "direct": {},
    "held": {"hold_s": 5.0},
    "duplicates": {"duplicates": DuplicateRule(True, 3600.0, patience_s=9.0, hold_s=92.0)},
    "turns": {"turns": TurnRule(concurrency=1)},
    "observed": {"observe": True},
    "filtered": {"payload": PayloadRule((), Pointer.parse("action"), None)},
    "told": {"upstream": (replace(APP, send_proxy=True),)},
}


def seen(play: Play, kind: dict[str, Any]) -> tuple[list[bytes], list[dict[str, Any]], list[str | None]]:
    """What all ends have heard, what was logged, and how connections ended."""
    world, sender = acquainted(route(**kind))
    play(world, sender)
    world.settle()
    heard = [re.sub(rb"\r\nDate: [^\r]+", b"", transport.taken) for transport in world.transports]
    ends = [transport.end for transport in world.transports]
    world.abandon()
    records = [asdict(record) | {"started": 0} for record in world.records]
    world.over(*world.reasons)
    return heard, records, ends


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("play", PLAYS, ids=lambda play: play.__name__)
def test_all_see_what_they_see_without_plans(
    play: Play, kind: dict[str, Any], monkeypatch: pytest.MonkeyPatch, begun: list[PlannedExchange]
) -> None:
    followed = []
    follow = HeadJudge.follow
    monkeypatch.setattr(HeadJudge, "follow", lambda *given: followed.append(follow(*given)) or followed[-1])
    by_plan = seen(play, kind)
    assert any(followed) or play is in_pieces
    assert not begun or "duplicates" not in kind
    followed.clear()
    monkeypatch.setattr(heads, "plan_of", lambda *_: None)
    plain = seen(play, kind)
    assert not any(followed)
    assert by_plan == plain


def test_a_delivery_like_the_one_before_goes_by_the_plan(begun: list[PlannedExchange]) -> None:
    world, sender = acquainted()
    assert not begun
    all_at_once(world, sender)
    [planned] = begun
    assert planned.exchange is None, "nothing else happened"
    sender << ANSWERED
    world.over(DELIVERED, DELIVERED)


def test_a_new_connection_goes_by_the_plan_if_its_address_is_let_in(begun: list[PlannedExchange]) -> None:
    world, _ = acquainted(route(allow=AddressSet.parse(["192.0.2.0/25"])))
    friend, stranger = world.sender("192.0.2.9"), world.sender("192.0.2.200")
    stranger >> signed(b"{}")
    stranger << b"HTTP/1.1 403 *"
    assert not begun
    friend >> signed(b"{}")
    world.upstream >> OK
    friend << ANSWERED
    assert len(begun) == 1
    world.over(DELIVERED, Reason.ADDRESS_REFUSED, DELIVERED)


def test_what_a_reload_no_longer_lets_in_is_refused_on_a_connection_that_stands(begun: list[PlannedExchange]) -> None:
    world, sender = acquainted(route(allow=AddressSet.parse(["192.0.2.0/24"])))
    all_at_once(world, sender)
    world.site.use(policy(route(allow=AddressSet.parse(["203.0.113.1"]))))
    sender.hear()
    sender >> signed(b"{}")
    sender << b"HTTP/1.1 403 *"
    assert len(begun) == 1
    world.over(DELIVERED, DELIVERED, Reason.ADDRESS_REFUSED)


def test_what_comes_by_a_proxy_goes_by_no_plan(begun: list[PlannedExchange]) -> None:
    world, sender = acquainted(trusted_proxies=AddressSet.parse(["192.0.2.1"]))
    all_at_once(world, sender)
    assert not begun
    world.over(DELIVERED, DELIVERED)


def test_no_more_go_by_a_plan_than_there_may_be(begun: list[PlannedExchange]) -> None:
    world, sender = acquainted(max_exchanges=1)
    other = world.sender()
    sender >> signed(b"{}")
    other >> signed(b"{}")
    other << b"HTTP/1.1 503 *"
    assert len(begun) == 1
    world.over(DELIVERED, Reason.OVERLOADED, Reason.SENDER_GONE)


def test_the_last_request_of_a_connection_says_so(begun: list[PlannedExchange]) -> None:
    world, sender = acquainted(max_requests_per_connection=2)
    all_at_once(world, sender)
    sender << b"HTTP/1.1 200 OK\r\n*Connection: close\r\n\r\nok"
    assert len(begun) == 1
    assert sender.saw == "fin"
    world.over(DELIVERED, DELIVERED)


def test_a_bug_in_the_verdict_is_a_500_and_no_leak(
    monkeypatch: pytest.MonkeyPatch, begun: list[PlannedExchange]
) -> None:
    world, sender = acquainted()

    def broken(_self: MacVerification, _chunk: bytes) -> None:
        raise ArithmeticError

    monkeypatch.setattr(MacVerification, "update", broken)
    sender >> signed(b"{}")
    sender << b"HTTP/1.1 500 *"
    assert len(begun) == 1
    assert [type(one["exception"]) for one in world.loop.complaints] == [ArithmeticError]
    world.loop.complaints.clear()
    world.over(DELIVERED, Reason.INTERNAL_ERROR)


class Watching:
    """A recorder that wants every second one."""

    def __init__(self) -> None:
        self.asked = 0
        self.told: list[object] = []

    def wants(self, _now: float) -> bool:
        self.asked += 1
        return self.asked % 2 == 0

    def keep(self, over: object) -> None:
        self.told.append(over)


def test_what_is_to_be_kept_goes_by_no_plan(begun: list[PlannedExchange]) -> None:
    world, sender = acquainted()
    recorder = Watching()
    world.site.capture = recorder  # type: ignore[assignment]
    all_at_once(world, sender)
    assert (recorder.asked, recorder.told) == (1, begun)
    sender.hear()
    world.over(DELIVERED, DELIVERED)


def test_the_peer_of_a_plan_is_the_client_of_its_record() -> None:
    world, _ = acquainted()
    other = world.sender("192.0.2.77")
    all_at_once(world, other)
    record: ExchangeRecord = world.records[-1]
    assert (record.peer, record.client) == ("192.0.2.77", "192.0.2.77")
    assert b"X-Forwarded-For: 192.0.2.77\r\n" in world.upstream.hear()
    assert Peer.of(record.peer).version == 4
    world.over(DELIVERED, DELIVERED)


def test_an_upstream_that_says_it_is_busy_is_doubted() -> None:
    world, sender = acquainted()
    [state] = world.pool.endpoints
    assert not state.doubt.is_set()
    busy(world, sender)
    assert state.doubt.is_set()
    world.over(DELIVERED, DELIVERED)


# -- any script at all, with plans and without

SAYS = [b"", b"", b"", b"X-GitHub-Delivery: d1\r\n", b"Connection: close\r\n", b"X-Forwarded-For: 1.2.3.4\r\n"]
ANSWERS = [
    *(OK, OK, OK, OK[:-1], OK[:20], OK[20:], CHUNKED, BUSY, OK + b"more", b"junk", b"HTTP/1.1 200 OK\r\n\r\nxx"),
    *(b"HTTP/1.1 204 No Content\r\n\r\n", b"HTTP/1.1 103 Hints\r\n\r\n" + OK),
    b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nKeep-Alive: timeout=1\r\nContent-Length: 2\r\n\r\nok",
]
MOVES = ["say"] * 9 + ["answer"] * 6 + ["later", "vanish", "finish", "take", "reset", "reload", "drain", "abort"]


class InOrder(dict[Any, None]):
    """A set that is gone through in the order in which it was filled."""

    def add(self, one: object) -> None:
        self[one] = None

    def discard(self, one: object) -> None:
        self.pop(one, None)


def move(world: World, senders: list[End], chance: random.Random) -> None:
    """One thing that happens; nothing, where it cannot."""
    what, size = chance.choice(MOVES), chance.random()
    one = chance.choice(senders)
    # Which of several connections a request went over is chance: they are told apart by what they were asked last.
    apps = sorted(
        world.upstreams, key=lambda one: max(re.findall(rb"Request-Id: (\w+)", one.transport.taken), default=b"")
    )
    app = apps[min(chance.randrange(4), len(apps) - 1)]
    data = chance.choice([signed, signed, signed, forged])(b"{%d}" % (size * 4), extra=chance.choice(SAYS))
    answer, cut = chance.choice(ANSWERS), chance.choice([len(data), len(data), int(size * len(data))])
    stands = not (one.transport.closing or one.transport.lost)
    if what == "say" and stands:
        one.say(data[:cut], data[cut:]) if cut < len(data) else one >> data
    elif what == "answer" and not (app.transport.closing or app.transport.lost):
        app >> answer
    elif what == "later":
        world.later(chance.choice([0.5, 1.1, 5.0, 45.0]))
    elif what in {"vanish", "finish"} and stands:
        one.vanish() if what == "vanish" else one.finish()
    elif what == "take":
        chance.choice([one, app]).take(chance.choice([0, 3, None]))
    elif what == "reset":
        app.vanish()
    elif what == "reload":
        world.site.use(replace(world.site.policy, generation=world.site.policy.generation + 1))
    elif what == "drain" and size < 0.3:
        world.site.start_drain()
    elif what == "abort" and size < 0.3:
        for connection in list(world.site.connections):
            connection.abort()
    world.settle()


@examples(40)
@given(number=st.integers(0, 1 << 32), kind=st.sampled_from(sorted(KINDS)))
def test_any_script_is_seen_as_it_is_without_plans(number: int, kind: str) -> None:
    def play(world: World, sender: End) -> None:
        # Deadlines that are over in one moment, and connections that are drained, have an order in both worlds.
        site = world.site
        site.clock._watched = InOrder.fromkeys(site.clock._watched)  # type: ignore[assignment]
        site.connections = InOrder.fromkeys(site.connections)  # type: ignore[assignment]
        chance = random.Random(number)
        senders = [sender, world.sender("192.0.2.2"), world.sender("192.0.2.3", secure=True)]
        for _ in range(chance.randint(3, 14)):
            move(world, senders, chance)

    def in_any_order() -> object:
        # What happens to several in one moment has no order: steps come in rounds.
        heard, records, ends = seen(play, KINDS[kind])
        told = sorted(records, key=lambda record: str(record["request_id"]))
        return sorted(zip(heard, map(str, ends), strict=True)), told

    by_plan = in_any_order()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(heads, "plan_of", lambda *_: None)
        assert by_plan == in_any_order()


def test_a_forgery_tells_of_itself_as_any_other(begun: list[PlannedExchange]) -> None:
    world, sender = acquainted(route(refusal_status=401))
    recorder = Watching()
    world.site.capture = recorder  # type: ignore[assignment]
    sender >> forged(b"{}")
    sender << b"HTTP/1.1 401 *signature_mismatch *"
    [one] = begun
    assert recorder.told == [one]
    assert (one.exchange, one.suspect, one.body_in_memory()) == (None, Reason.SIGNATURE_MISMATCH, b"{}")
    assert one.route.name == "hook"
    assert one.arrival.peer == b"192.0.2.1"
    world.over(DELIVERED, Reason.SIGNATURE_MISMATCH)
