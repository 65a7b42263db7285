"""The judge of a connection's heads: what it decides, and the record it opens for each."""

from __future__ import annotations

import pytest

from proxy.core.addresses import AddressSet, Peer
from proxy.core.exchange import Admit, Reject
from proxy.core.request_head import read_request_head
from proxy.core.states import RequestState
from proxy.errors import ProtocolError
from proxy.http1 import RequestHead
from proxy.net.judge import HeadJudge
from proxy.reasons import Reason
from tests.net.dialogue import World, signed

PEER = Peer.of("192.0.2.7")


def judge(world: World, *, named: bool = False) -> HeadJudge:
    return HeadJudge(world.site, PEER, secure=True, named=named, kind=0)


def head(*fields: bytes) -> RequestHead:
    whole = signed(b"{}")
    line, _, rest = whole.partition(b"\r\n")
    parsed = read_request_head(b"\r\n".join([line, *fields, rest]), World().site.head_limits, 0)
    assert parsed is not None
    return parsed[0]


def test_each_head_has_a_record_of_its_own() -> None:
    of = judge(World(max_requests_per_connection=2))
    decided = [of.judge(head()) for _ in range(2)]
    assert all(isinstance(decision, Admit) for decision, _ in decided)
    records = [relay.record for _, relay in decided]
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
    _, relay = judge(world, named=named).judge(head(b"X-Request-Id: from-outside"))
    assert (relay.record.request_id == "from-outside") is kept


def test_a_full_worker_refuses_what_it_would_admit() -> None:
    world = World(max_exchanges=1)
    world.site.exchanges = 1
    decision, _ = judge(world).judge(head())
    assert isinstance(decision, Reject)
    assert (decision.reason, decision.detail) == (Reason.OVERLOADED, "max_exchanges")


@pytest.mark.parametrize("reason", [Reason.BAD_REQUEST, Reason.METHOD_NOT_ALLOWED])
def test_what_is_no_head_is_refused_at_once(reason: Reason) -> None:
    relay = judge(World()).refuse(ProtocolError(reason, "why"), b"PRI * HTTP/2.0\r\n")
    assert relay.request is RequestState.CLOSED
    assert (relay.record.reason, relay.record.detail) == (reason, "why")
    assert relay.reject.allow == ((b"POST",) if reason is Reason.METHOD_NOT_ALLOWED else ())
