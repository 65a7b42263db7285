"""What the connections of a worker share: a reload swaps it whole, and refusals are built once."""

from __future__ import annotations

import pytest

from proxy.core.addresses import AddressSet, Peer
from proxy.core.budget import Party
from proxy.core.record import Arrival, ExchangeRecord
from proxy.core.relay import Relay
from proxy.reasons import Reason
from tests.net.dialogue import SERVER, World, policy, route


def test_request_ids_are_unique_and_harmless() -> None:
    site = World().site
    ids = [site.new_request_id() for _ in range(100)]
    assert len(set(ids)) == 100
    assert ids[0] == "test00000001"


def test_a_reload_swaps_everything_at_once() -> None:
    site = World().site
    fresh = policy(route(b"/new"), buffer_budget=1 << 30, connect_timeout_s=1.5)
    site.use(fresh)
    assert site.policy is fresh
    assert [one.path for one in site.table.candidates(b"/new")] == [b"/new"]
    assert site.table.candidates(b"/hook") == ()
    assert site.budget.limit == 1 << 30 != SERVER.buffer_budget
    assert site.pool.connect_timeout_s == 1.5


def test_a_refusal_is_built_once() -> None:
    site = World().site
    built = site.refusal(Reason.OVERLOADED, close=True, status=503)
    assert site.refusal(Reason.OVERLOADED, close=True, status=503) is built
    assert site.refusal(Reason.OVERLOADED, close=False, status=503) is not built


@pytest.mark.parametrize(
    ("reason", "status", "allow", "line"),
    [
        (Reason.OVERLOADED, 503, (), b"Retry-After: 5"),
        (Reason.RATE_LIMITED, 429, (), b"Retry-After: 5"),
        (Reason.BASIC_AUTH_FAILED, 401, (), b'WWW-Authenticate: Basic realm="hookward", charset="UTF-8"'),
        (Reason.METHOD_NOT_ALLOWED, 405, (b"GET", b"POST"), b"Allow: GET, POST"),
        (Reason.SIGNATURE_MISMATCH, 401, (), b"HTTP/1.1 401 Unauthorized"),
    ],
)
def test_what_a_refusal_says_besides(reason: Reason, status: int, allow: tuple[bytes, ...], line: bytes) -> None:
    refusal = World().site.refusal(reason, close=True, status=status, allow=allow)
    written = refusal.write(b"id-1", b"DATE")
    head, _, content = written.partition(b"\r\n\r\n")
    assert line in head.split(b"\r\n")
    assert b"Connection: close" in head.split(b"\r\n")
    assert b"Content-Length: %d" % len(content) in head.split(b"\r\n")
    assert content == f"{reason.word} id-1\n".encode()


def test_an_exchange_that_ended_is_counted_and_logged() -> None:
    world = World()
    record = ExchangeRecord("id", 0.0, "192.0.2.1", "192.0.2.1", reason=Reason.DELIVERED, route="hook", status=200)
    world.site.finished(Relay(record, Arrival("192.0.2.1", secure=False), 0.0))
    assert world.records == [record]
    assert b'reason="delivered"' in world.metrics.expose()


def test_drain_reaches_every_connection() -> None:
    world = World()
    senders = [world.sender() for _ in range(3)]
    assert len(world.site.connections) == 3
    world.site.start_drain()
    world.settle()
    assert world.site.draining
    assert [sender.saw for sender in senders] == ["fin"] * 3
    world.over()


@pytest.mark.parametrize(("wait_s", "said"), [(0.0, 5), (5.0, 5), (5.1, 10), (55, 60), (3600, 3600), (1e9, 3600)])
def test_who_is_told_to_come_back_is_told_one_of_a_few_times(wait_s: float, said: int) -> None:
    refusal = World().site.refusal(Reason.RATE_LIMITED, close=False, status=429, retry_s=wait_s)
    assert b"\r\nRetry-After: %d\r\n" % said in refusal.write(b"id-1", b"DATE")


def test_routes_for_everybody_leave_a_share_of_the_exchanges_to_listed_addresses() -> None:
    listed = AddressSet.parse(["192.0.2.1"])
    site = World(max_exchanges=10, reserved_share=20, reserved_for=listed).site
    everybody, some = route(b"/a"), route(b"/b", allow=listed)
    found = []
    for site.exchanges in (7, 8, 9, 10):
        found.append((bool(site.lacks(everybody, 0)), bool(site.lacks(some, 0))))
    assert found == [(False, False), (True, False), (True, False), (True, True)]
    site.use(policy(everybody, max_exchanges=10, reserved_share=20))
    site.exchanges = 9
    assert site.lacks(everybody, 0) == ""


def test_whose_bytes_they_are() -> None:
    lists = {"reserved_for": AddressSet.parse(["192.0.2.1"]), "trusted_proxies": AddressSet.parse(["10.0.0.0/8"])}
    site = World(**lists).site
    for peer in (Peer.of("192.0.2.1"), Peer.of("198.51.100.1"), Peer.of("2001:db8::1")):
        assert site.party_of(peer) == Party(peer.group, listed=peer.text == "192.0.2.1")
    for peer in (Peer.unix(), Peer.of("10.0.0.1")):
        assert site.party_of(peer) == Party(None, listed=False)
    site.use(policy(route()))
    assert site.party_of(Peer.of("198.51.100.1")).listed, "where no address is listed, none is a stranger"
