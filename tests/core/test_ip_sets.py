"""Published lists: documents taken whole or refused, selection by query, differences, and what survives on disk."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.core import ip_sets
from proxy.core.addresses import AddressSet, Peer
from proxy.core.ip_sets import (
    MAX_PREFIXES,
    AddressListing,
    Difference,
    FeedError,
    Shape,
    check_change,
    dump_groups,
    listing_of,
    load_groups,
    parse_query,
    read_document,
)

HOOKS = Shape.parse("hooks[]")
AWS = Shape.parse("prefixes[].ip_prefix, ipv6_prefixes[].ipv6_prefix", ("service", "region"))


def hooks(*prefixes: object) -> bytes:
    return json.dumps({"hooks": prefixes}).encode()


def listing(*prefixes: str) -> AddressListing:
    return listing_of({(): prefixes})


def aws() -> AddressListing:
    rows = [
        ("192.0.2.0/24", "EC2", "us-east-1"),
        ("192.0.2.0/24", "AMAZON", "us-east-1"),
        ("198.51.100.0/24", "S3", "eu-west-1"),
    ]
    document = {
        "prefixes": [{"ip_prefix": p, "service": s, "region": r} for p, s, r in rows],
        "ipv6_prefixes": [{"ipv6_prefix": "2001:db8::/32", "service": "EC2", "region": "eu-west-1"}],
    }
    return read_document(json.dumps(document).encode(), AWS)


def test_a_document_becomes_a_listing():
    found = read_document(hooks("192.0.2.0/24", "2001:db8::/32", "198.51.100.7"), HOOKS)
    assert found.prefixes == {"192.0.2.0/24", "2001:db8::/32", "198.51.100.7"}
    assert Peer.of("192.0.2.9") in found.select("")
    assert Peer.of("198.51.100.8") not in found.select("")


def test_duplicates_and_overlaps_collapse():
    found = read_document(
        hooks("192.0.2.0/24", "192.0.2.0/24", " 192.0.2.0/24", "192.0.2.128/25", "192.0.2.1/32"), HOOKS
    )
    assert found.prefixes == {"192.0.2.0/24", "192.0.2.128/25", "192.0.2.1"}
    assert len(found.select("")) == 1


def test_an_ipv4_mapped_entry_is_ipv4():
    found = read_document(hooks("::ffff:192.0.2.0/120", "::ffff:198.51.100.1"), HOOKS)
    assert found.prefixes == {"192.0.2.0/24", "198.51.100.1"}
    assert Peer.of("::ffff:192.0.2.1") in found.select("")


def test_text_has_one_prefix_a_line():
    text = b"\xef\xbb\xbf# ranges\n192.0.2.0/24\r\n\n 2001:db8::/32  # new\n198.51.100.1"
    assert read_document(text, None).prefixes == {"192.0.2.0/24", "2001:db8::/32", "198.51.100.1"}


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "not JSON"),
        (b'{"hooks": ["192.0.2.0/24", "198.5', "only a part"),
        (b"<html>moved</html>", "not JSON"),
        (b'{"hooks": ["\xff"]}', "not UTF-8"),
        (b"[" * 100_000, "not JSON"),
        (b'{"hooks": ' + b"1" * 5000 + b"}", "not JSON|not a list"),
        (hooks(), "no entry"),
        (b'{"hooks": null}', "not a list"),
        (b"null", "no object"),
        (hooks("192.0.2.0/24", 7), "not a text"),
        (hooks("192.0.2.0/24", ""), "^'' is not an address or network$"),
        (hooks("192.0.2.0/24", " example.com"), "^'example.com' is not an address or network$"),
        (hooks("192.0.2.0/24", "all: me"), "^'all: me' is not an address or network$"),
        (hooks("192.0.2.0/24", "x" * 81), f"^'{'x' * 80}' is not an address or network$"),
        (hooks("192.0.2.0/24", "192.0.2.1/24"), "^'192.0.2.1/24' has host bits set$"),
        (hooks("192.0.2.0/255.255.255.0"), "no prefix length"),
        (hooks("0.0.0.0/0"), "^'0.0.0.0/0' is wider than any provider's network$"),
        (hooks("::/0"), "wider"),
        (hooks("192.0.2.0/24", "0.0.0.0/1", "128.0.0.0/1"), "wider"),
        (hooks("2000::/3"), "wider"),
        (hooks("::ffff:0:0/96"), "wider"),
        (hooks(" all "), "^'all' is not an address or network$"),
        (hooks("unix:"), "not an address"),
        (hooks("fe80::1%eth0"), "zone"),
        (hooks(*(f"{n}.0.0.0/8" for n in range(1, 100))), "a quarter"),
        (hooks(*(f"{n}.0.0.0/9" for n in range(1, 224)), *(f"{n}.128.0.0/9" for n in range(1, 224))), "a quarter"),
    ],
)
def test_a_document_is_refused_whole(data: bytes, why: str):
    with pytest.raises(FeedError, match=why):
        read_document(data, HOOKS)


@pytest.mark.parametrize(
    "data", [b"", b"# nothing\n", b"<!DOCTYPE html>\n", b'["192.0.2.0/24"]', b"192.0.2.0/24 198.51.100.0/24"]
)
def test_a_text_is_refused_whole(data: bytes):
    with pytest.raises(FeedError):
        read_document(data, None)


def test_there_is_a_most(monkeypatch: pytest.MonkeyPatch):
    assert MAX_PREFIXES == 200_000
    monkeypatch.setattr(ip_sets, "MAX_PREFIXES", 300)
    entries = [f"10.0.{n >> 8}.{n & 255}" for n in range(301)]
    assert len(listing(*entries[:-1])) == 300
    with pytest.raises(FeedError, match="more than 300"):
        listing(*entries)
    with pytest.raises(FeedError, match="more than 300"):
        listing_of({(("region", ("us",)),): entries[:150], (("region", ("eu",)),): entries[150:]})


def test_a_quarter_of_all_addresses_is_the_most():
    quarter = [f"{n}.0.0.0/8" for n in range(64, 128)]
    assert len(listing(*quarter, "64.0.0.0/24", "64.1.0.0/24", "2001:db8::/32")) == 67
    with pytest.raises(FeedError, match="a quarter"):
        listing(*quarter, "0.0.0.0")


IN_ORDER = ["9.0.0.0/24", "9.0.0.0/25", "10.0.0.0/24", "::1", "2001:db8::/32", "2001:db8:a::/48", "2001:db8:10::/48"]


def test_prefixes_are_shown_in_the_order_of_their_numbers():
    assert listing(*sorted(IN_ORDER)).choose("") == IN_ORDER
    assert Difference.between(listing("192.0.2.1"), listing(*IN_ORDER)).added == tuple(IN_ORDER)
    assert Difference.between(listing(*IN_ORDER), listing("192.0.2.1")).removed == tuple(IN_ORDER)


def test_what_has_not_the_attribute_does_not_fit():
    found = listing_of({(): ["192.0.2.1"], (("region", ("us",)),): ["192.0.2.2"]})
    assert found.choose("region=us") == ["192.0.2.2"]


@pytest.mark.parametrize(("count", "told"), [(12, "01, 02, 03, 04, 05, 06, 07, 08, 09, 10, 11, 12"),
                                             (13, "01, 02, 03, 04, 05, 06, 07, 08, 09, 10, 11, 12, …")])  # fmt: skip
def test_the_first_values_that_could_be_asked_for_are_told(count: int, told: str):
    found = listing_of({(("zone", (f"{n:02}",)),): [f"192.0.2.{n}"] for n in range(1, count + 1)})
    with pytest.raises(ValueError, match=f"there is {told}$"):
        found.choose("zone=x")


@pytest.mark.parametrize(
    ("query", "prefixes"),
    [
        ("", ["192.0.2.0/24", "198.51.100.0/24", "2001:db8::/32"]),
        ("service=EC2", ["192.0.2.0/24", "2001:db8::/32"]),
        ("service=ec2&region=US-EAST-1", ["192.0.2.0/24"]),
        ("service=EC2&service=S3", ["192.0.2.0/24", "198.51.100.0/24", "2001:db8::/32"]),
        ("region=eu-west-1", ["198.51.100.0/24", "2001:db8::/32"]),
        ("service=AMAZON", ["192.0.2.0/24"]),
    ],
)
def test_a_query_chooses(query: str, prefixes: list[str]):
    assert aws().choose(query) == prefixes
    assert aws().select(query) == AddressSet.parse(prefixes)


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ("service=EC3", "no service 'ec3' in it; there is amazon, ec2, s3"),
        ("servce=EC2", "cannot be asked for 'servce': there is region, service"),
        ("service=S3&region=us-east-1", "no prefix of it fits"),
        ("service", "not of the form"),
        ("service=", "not of the form"),
        ("=EC2", "not of the form"),
        ("&", "not of the form"),
    ],
)
def test_a_query_that_chooses_nothing_says_why(query: str, why: str):
    with pytest.raises(ValueError, match=why):
        aws().choose(query)


def test_a_listing_without_attributes_takes_no_query():
    with pytest.raises(ValueError, match=r"cannot be asked for 'region'$"):
        listing("192.0.2.0/24").choose("region=us")


def test_a_query_is_names_and_values():
    assert parse_query("") == {}
    assert parse_query("A=x&a=Y&b=z=1") == {"a": {"x", "y"}, "b": {"z=1"}}


def test_the_difference_is_told_with_the_first_few():
    old, new = listing("192.0.2.0/24", "2001:db8::/32"), listing(*(f"198.51.100.{n}" for n in range(5)), "192.0.2.0/24")
    difference = Difference.between(old, new)
    assert str(difference) == "5 (198.51.100.0, 198.51.100.1, 198.51.100.2, …) added, 1 (2001:db8::/32) removed"
    assert str(Difference.between(None, new)).startswith("6 (192.0.2.0/24, 198.51.100.0, 198.51.100.1, …) added, 0 rem")
    assert str(Difference.between(None, listing("::1", "::2", "::3"))) == "3 (::1, ::2, ::3) added, 0 removed"
    assert not Difference.between(old, listing("2001:db8::/32", "192.0.2.0/24"))
    assert Difference.between(None, old)
    assert Difference.between(new, listing("192.0.2.0/24"))
    assert Difference.between(None, old).added == ("192.0.2.0/24", "2001:db8::/32")


@pytest.mark.parametrize(
    ("before", "after", "good"),
    [(100, 10, True), (100, 9, False), (10, 1, True), (11, 1, False), (9, 1, True), (1, 100, True)],
)
def test_a_list_does_not_shrink_by_more_than_nine_in_ten(before: int, after: int, good: bool):
    old, new = (listing(*(f"192.0.2.{n}" for n in range(count))) for count in (before, after))
    if good:
        check_change(old, new)
        check_change(None, new)
    else:
        with pytest.raises(FeedError, match=f"from {before} prefixes to {after}"):
            check_change(old, new)


def test_what_is_dumped_is_loaded_again():
    for one in (aws(), listing("192.0.2.1", "2001:db8::/32")):
        assert load_groups(json.loads(json.dumps(dump_groups(one)))) == one


def test_what_was_dumped_without_attributes_has_none():
    assert load_groups([{"prefixes": ["192.0.2.1"]}]) == listing("192.0.2.1")


@pytest.mark.parametrize(
    "value",
    [
        None,
        {},
        [],
        [7],
        [{}],
        [{"prefixes": []}],
        [{"prefixes": "192.0.2.1"}],
        [{"prefixes": ["192.0.2.1", None]}],
        [{"prefixes": ["0.0.0.0/0"]}],
        [{"prefixes": ["192.0.2.1"], "attributes": []}],
        [{"prefixes": ["192.0.2.1"], "attributes": {"region": "us"}}],
        [{"prefixes": ["192.0.2.1"], "attributes": {"region": [1]}}],
    ],
)
def test_what_was_damaged_is_refused(value: object):
    with pytest.raises(FeedError):
        load_groups(value)


def network(number: int, length: int) -> str:
    first = number >> (32 - length) << (32 - length)
    return f"{Peer.packed(first.to_bytes(4, 'big'), 0).text}/{length}"


NETWORKS = st.builds(network, st.integers(0, (1 << 32) - 1), st.integers(12, 32))


@given(st.lists(NETWORKS, min_size=1, max_size=20))
def test_a_listing_is_the_set_of_what_was_written(networks: list[str]):
    assert listing(*networks).select("") == AddressSet.parse(networks)


@given(st.binary(max_size=200))
@example(b'{"hooks": ["\\ud800"]}')
@example(b"192.0.2.0/33")
@example("\uff11\uff19\uff12.0.2.0/24".encode())
def test_any_bytes_give_a_listing_or_a_feed_error(data: bytes):
    for shape in (None, HOOKS):
        try:
            found = read_document(data, shape)
        except FeedError:
            continue
        assert found.prefixes


ENTRY = st.text("0123456789abcf:./ %#", max_size=24) | NETWORKS | st.integers() | st.none()


@given(st.lists(ENTRY, max_size=6))
def test_any_entries_give_a_listing_or_a_feed_error(entries: list[object]):
    try:
        found = read_document(hooks(*entries), HOOKS)
    except FeedError:
        return
    assert load_groups(dump_groups(found)) == found


@given(st.text("abr=&?x12", max_size=16))
def test_any_query_chooses_or_is_a_value_error(query: str):
    with contextlib.suppress(ValueError):
        assert aws().choose(query)
