"""``Forwarded``: the examples of RFC 7239, and that nobody can be named by what is not of its form."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.addresses import AddressSet, Peer, client_address, forwarded_hops

NOBODY = b"unknown"


@pytest.mark.parametrize(
    ("value", "hops"),
    [
        (b'for="_gazonk"', [b"_gazonk"]),
        (b'For="[2001:db8:cafe::17]:4711"', [b"[2001:db8:cafe::17]:4711"]),
        (b"for=192.0.2.60;proto=http;by=203.0.113.43", [b"192.0.2.60"]),
        (b"for=192.0.2.43, for=198.51.100.17", [b"192.0.2.43", b"198.51.100.17"]),
        (b"by=203.0.113.43;proto=https, for=192.0.2.1", [NOBODY, b"192.0.2.1"]),
        (b'proto=http;host="a,for=9.9.9.9";for=192.0.2.1', [NOBODY]),
        (b'host="a\\",b";for=192.0.2.1', [b"192.0.2.1"]),
        (b"for=192.0.2.1;for=192.0.2.2", [NOBODY]),
        (b'for="192.0.2.1, for=192.0.2.2', [NOBODY]),
        (b"for=192.0.2.1,", [NOBODY]),
        (b",for=192.0.2.1", [NOBODY]),
        (b"192.0.2.1", [NOBODY]),
        (b"for=192.0.2.1, ", [NOBODY]),
        (b'for="192.0.2.1 x"', [NOBODY]),
        (b'for="192.0.2.1,192.0.2.2"', [NOBODY]),
        (b"for=", [NOBODY]),
        (b"", [NOBODY]),
    ],
)
def test_who_is_named(value: bytes, hops: list[bytes]) -> None:
    assert forwarded_hops([value]) == hops


def test_several_lines_are_one_list() -> None:
    assert forwarded_hops([b"for=192.0.2.1", b"for=10.0.0.1"]) == [b"192.0.2.1", b"10.0.0.1"]


@given(st.lists(st.binary(max_size=60) | st.from_regex(rb'[for=";,.\\ 1\[\]:]{0,40}', fullmatch=True), max_size=3))
def test_any_bytes_are_items_without_a_comma(values: list[bytes]) -> None:
    hops = forwarded_hops(values)
    assert all(b"," not in hop and hop for hop in hops)
    peer = Peer.of("10.0.0.9")
    client_address(peer, [b",".join(hops)], AddressSet.parse(["10.0.0.0/8"]))
