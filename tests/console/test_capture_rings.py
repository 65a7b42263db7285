"""What is kept, and what goes first when there is no more room."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proxy.console.capture import Capture, Rings, group_of
from proxy.console.desk import SETTINGS
from proxy.reasons import Reason
from tests.console.kept import keep
from tests.net.dialogue import OK, World, signed


def refused(number: int, client: str = "192.0.2.7", body: bytes = b"") -> object:
    return keep(None, body, number, verdict="refused", client=client)


def numbers(rings: Rings) -> list[int]:
    return [kept.number for kept in rings]


def test_the_newest_first_and_the_oldest_go() -> None:
    rings = Rings(3, 1 << 20)
    for number in range(1, 6):
        rings.add(keep(None, b"", number))
    assert numbers(rings) == [5, 4, 3]
    assert rings.dropped["age"] == 2
    assert [kept.number for kept in rings.since(3)] == [4, 5]
    assert rings.get(1) is None


def test_a_scanner_washes_nothing_out() -> None:
    rings = Rings(100, 1 << 30)
    for number in range(1, 51):
        rings.add(keep(None, b"", number))
    rings.add(refused(51, "198.51.100.9"))
    for number in range(52, 5000):
        rings.add(refused(number))
    kept = numbers(rings)
    assert set(range(1, 52)) <= set(kept), "what was admitted, and another address's"
    assert len(kept) == 51 + 4
    assert rings.dropped["address"] == 4948 - 4


def test_many_scanners_take_a_quarter() -> None:
    rings = Rings(100, 1 << 30)
    for number in range(1, 101):
        rings.add(keep(None, b"", number))
    for number in range(101, 1000):
        rings.add(refused(number, f"198.51.{number % 250}.{number // 250}"))
    kept = numbers(rings)
    assert len([number for number in kept if number <= 100]) >= 74
    assert len(kept) == 100


def test_what_was_not_admitted_counts_as_refused() -> None:
    rings = Rings(100, 1 << 30)
    for number in range(1, 100):
        rings.add(keep(None, b"", number, verdict=""))
    assert len(rings) == 4


def test_bytes_are_bounded() -> None:
    rings = Rings(1000, 100_000)
    for number in range(1, 100):
        rings.add(keep(None, b"x" * 10_000, number))
    assert rings.bytes <= 100_000
    assert numbers(rings)[0] == 99


def test_addresses_are_counted_as_one_customer_has_them() -> None:
    assert group_of("2001:db8::1") == group_of("2001:db8::ffff")
    assert group_of("2001:db8::1") != group_of("2001:db8:0:1::1")
    assert group_of("192.0.2.1") != group_of("192.0.2.2")
    assert group_of("unix:") == "unix:"


@given(
    st.integers(1, 8),
    st.lists(st.tuples(st.sampled_from(["admitted", "refused", ""]), st.integers(0, 3), st.integers(0, 9000))),
)
def test_counts_and_sums_always_agree(most: int, came: list[tuple[str, int, int]]) -> None:
    rings = Rings(most, 50_000)
    for number, (verdict, host, size) in enumerate(came, 1):
        rings.add(keep(None, b"x" * size, number, verdict=verdict, client=f"192.0.2.{host}"))
        kept = list(rings)
        assert len(rings) == len(kept) <= most
        assert rings.bytes == sum(one.size for one in kept) <= 50_000
        assert kept == sorted(kept, key=lambda one: one.number, reverse=True)
    assert len(rings) + sum(rings.dropped.values()) == len(came)


def test_what_was_under_way_before_anything_looked_on_is_not_missed() -> None:
    world = World()
    world.sender() >> signed(b"{}")
    world.later(0.5)
    capture = world.site.capture = Capture(SETTINGS, world.site)
    world.upstream >> OK
    assert world.reasons == [Reason.DELIVERED]
    assert (capture.seen, capture.skipped, len(capture.rings)) == (0, 0, 0)
    world.sender() >> signed(b"{}")
    world.upstream >> OK
    assert (capture.seen, capture.skipped, len(capture.rings)) == (1, 0, 1)
    world.over(Reason.DELIVERED, Reason.DELIVERED)
