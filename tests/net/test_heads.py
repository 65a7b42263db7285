"""The judge of a connection's heads: what it decides, and the record it opens for each."""

from __future__ import annotations

import pytest

from proxy.core.addresses import AddressSet, Peer
from proxy.core.exchange import Admit
from proxy.core.recurring import RequestStream
from proxy.core.relay import Relay
from proxy.core.states import RequestState, Then
from proxy.errors import ProtocolError
from proxy.net.heads import HeadJudge
from proxy.reasons import Reason
from tests.net.dialogue import World, signed

PEER = Peer.of("192.0.2.7")


class Judged:
    """A judge, and what its connection has sent."""

    def __init__(self, world: World, *, named: bool = False) -> None:
        self.unread = RequestStream()
        self.of = HeadJudge(world.site, PEER, self.unread, secure=True, named=named, kind=0)

    def __call__(self, *fields: bytes) -> tuple[Relay, Admit | None]:
        """What becomes of one more delivery, with these fields."""
        line, _, rest = signed(b"{}").partition(b"\r\n")
        self.unread.add(b"\r\n".join([line, *fields, rest]))
        assert self.of.read() is None
        relay, _, admit = self.of.judge()
        assert self.unread.head is None
        return relay, admit


def test_each_head_has_a_record_of_its_own() -> None:
    judge = Judged(World(max_requests_per_connection=2))
    records = []
    for _ in range(2):
        relay, admit = judge()
        assert admit is not None
        assert relay.then is None
        records.append(relay.record)
        assert judge.unread.data == b"{}", "what follows the head is not the judge's"
        judge.unread.drop()
    assert [record.keep_alive for record in records] == [True, False], "the second is the last of its connection"
    assert {(record.peer, record.client, record.scheme, record.method) for record in records} == {
        ("192.0.2.7", "192.0.2.7", "https", "POST")
    }
    assert len({record.request_id for record in records}) == 2


@pytest.mark.parametrize(
    ("trusted", "named", "kept"), [(True, False, True), (True, True, False), (False, False, False)]
)
def test_a_request_id_is_kept_of_a_trusted_proxy_alone(trusted: bool, named: bool, kept: bool) -> None:
    world = World(trusted_proxies=AddressSet.parse(["192.0.2.0/24"] if trusted else []))
    relay, _ = Judged(world, named=named)(b"X-Request-Id: from-outside")
    assert (relay.record.request_id == "from-outside") is kept


def test_a_full_worker_refuses_what_it_would_admit() -> None:
    world = World(max_exchanges=1)
    world.site.exchanges = 1
    judge = Judged(world)
    relay, admit = judge()
    assert admit is None
    assert relay.then is Then.ANSWER
    assert (relay.record.reason, relay.record.detail) == (Reason.OVERLOADED, "max_exchanges")
    assert (relay.request_read, judge.unread.data) == (True, b""), "its body came along, and is skipped"


def test_of_a_client_in_doubt_about_its_own_words_nothing_more_is_read() -> None:
    world = World(trusted_proxies=AddressSet.parse(["192.0.2.0/24"]))
    relay, admit = Judged(world)(b"Forwarded: for=198.51.100.1", b"X-Forwarded-For: 198.51.100.2")
    assert admit is None
    assert (relay.record.reason, relay.record.detail) == (Reason.BAD_REQUEST, "forwarded_conflict")
    assert not relay.request_read


@pytest.mark.parametrize("reason", [Reason.BAD_REQUEST, Reason.METHOD_NOT_ALLOWED])
def test_what_is_no_head_is_refused_at_once(reason: Reason) -> None:
    judge = Judged(World())
    judge.unread.add(b"PRI * HTTP/2.0\r\n")
    relay = judge.of.refuse(ProtocolError(reason, "why"))
    assert judge.unread.data == b""
    assert relay.request is RequestState.CLOSED
    assert (relay.record.reason, relay.record.detail) == (reason, "why")
    assert relay.reject.allow == ((b"POST",) if reason is Reason.METHOD_NOT_ALLOWED else ())


def test_bytes_that_can_be_no_head_have_a_relay_that_is_over() -> None:
    judge = Judged(World())
    judge.unread.add(b"POST /hook HTTP/1.1\n")
    relay = judge.of.read()
    assert relay is not None
    assert (relay.then, relay.record.reason, judge.unread.data) == (Then.ANSWER, Reason.BAD_REQUEST, b"")


def test_a_head_that_is_not_whole_is_waited_for() -> None:
    judge = Judged(World())
    judge.unread.add(b"POST /hook HTTP/1.1\r\n")
    assert judge.of.read() is None
    assert judge.unread.head is None
