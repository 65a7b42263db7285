"""Who a peer is, whom a list admits, and whom a forwarded request comes from."""

from __future__ import annotations

import pickle
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.addresses import AddressSet, Packed, Peer, client_address

V4 = 1 << 32
V6 = 1 << 128


def networks(bits: int):
    """(number, prefix length) without host bits, in a corner of the space so that they meet one another."""
    return st.tuples(st.integers(0, 0xFFF), st.integers(bits - 12, bits)).map(
        lambda pair: (pair[0] >> (bits - pair[1]) << (bits - pair[1]), pair[1])
    )


def peer4(number: int) -> Peer:
    return Peer.packed(number.to_bytes(4, "big"), 0)


def peer6(number: int) -> Peer:
    return Peer.packed(number.to_bytes(16, "big"), 0)


# --- Peer


@pytest.mark.parametrize(
    ("text", "canonical", "version"),
    [
        ("192.0.2.7", "192.0.2.7", 4),
        ("2001:DB8:0::1", "2001:db8::1", 6),
        ("::ffff:192.0.2.7", "192.0.2.7", 4),
        ("::FFFF:c000:207", "192.0.2.7", 4),
        ("fe80::1%eth0", "fe80::1", 6),
        ("::ffff:192.0.2.7%1", "192.0.2.7", 4),
        ("::", "::", 6),
        ("::fffe:c000:207", "::fffe:c000:207", 6),
    ],
)
def test_a_peer_has_one_canonical_text(text, canonical, version):
    peer = Peer.of(text, 443)
    assert (peer.text, peer.port, peer.version) == (canonical, 443, version)
    assert peer == Peer.of(canonical, 443)
    assert hash(peer) == hash(Peer.of(canonical, 443))


@pytest.mark.parametrize(
    "text",
    [
        *["", " ", "x", "localhost", "1.2.3", "1.2.3.4.5", "01.2.3.4", "1.2.3.256", "1.2.3.4:80", "1.2.3.4%eth0"],
        *["[::1]", "::1::", "::1%", "::g", "1.2.3.4\n", "1.2.3.4/32", "\u0661.2.3.4", "0x7f.1", "2130706433"],
        *["unix:", "\x00"],
    ],
)
def test_what_is_no_address_is_a_value_error(text):
    with pytest.raises(ValueError, match=r".*"):
        Peer.of(text)


@given(st.text(max_size=60) | st.from_regex(r"[0-9a-f:.%\[\]]{0,50}", fullmatch=True))
def test_any_text_makes_a_peer_or_a_value_error(text):
    try:
        peer = Peer.of(text)
    except ValueError:
        return
    assert Peer.of(peer.text) == peer


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_port_has_16_bits(port):
    with pytest.raises(ValueError, match="not a port"):
        Peer.of("192.0.2.7", port)


@given(st.integers(0, V4 - 1))
def test_packed_and_text_agree_for_ipv4(number):
    assert Peer.packed(IPv4Address(number).packed, 5) == Peer.of(str(IPv4Address(number)), 5)


@given(st.integers(0, V6 - 1) | st.integers(0xFFFF << 32, (0xFFFF << 32) + V4 - 1))
def test_packed_and_text_agree_for_ipv6(number):
    assert Peer.packed(IPv6Address(number).packed, 5) == Peer.of(str(IPv6Address(number)), 5)


@pytest.mark.parametrize(
    ("peer", "is_loopback"),
    [
        (Peer.of("127.0.0.1"), True),
        (Peer.of("127.255.255.255"), True),
        (Peer.of("128.0.0.0"), False),
        (Peer.of("0.0.0.1"), False),
        (Peer.of("0.0.0.0"), False),
        (Peer.of("::1"), True),
        (Peer.of("::"), False),
        (Peer.of("::2"), False),
        (Peer.of("::ffff:127.0.0.1"), True),
        (Peer.of("::127.0.0.1"), False),
        (Peer.unix(), True),
    ],
)
def test_loopback(peer, is_loopback):
    assert peer.is_loopback is is_loopback


def test_connections_are_counted_by_ipv4_address_and_ipv6_slash_64():
    assert Peer.of("2001:db8:1:2::1", 1).group == Peer.of("2001:db8:1:2:ffff::9", 2).group
    assert Peer.of("2001:db8:1:2::1").group != Peer.of("2001:db8:1:3::1").group
    assert Peer.of("192.0.2.1", 1).group == Peer.of("192.0.2.1", 2).group
    assert Peer.of("192.0.2.1").group != Peer.of("192.0.2.2").group
    groups = [Peer.unix().group, Peer.of("0.0.0.0").group, Peer.of("::").group]
    assert len(set(groups)) == 3


# --- AddressSet


@given(st.lists(networks(32), max_size=40), st.integers(0, 0x1FFF))
def test_ipv4_agrees_with_ipaddress(entries, number):
    texts = [f"{IPv4Address(base)}/{length}" for base, length in entries]
    expected = any(IPv4Address(number) in ip_network(text) for text in texts)
    assert (peer4(number) in AddressSet.parse(texts)) is expected


@given(st.lists(networks(128), max_size=40), st.integers(0, 0x1FFF))
def test_ipv6_agrees_with_ipaddress(entries, number):
    texts = [f"{IPv6Address(base)}/{length}" for base, length in entries]
    expected = any(IPv6Address(number) in ip_network(text) for text in texts)
    assert (peer6(number) in AddressSet.parse(texts)) is expected


@settings(max_examples=3)
@given(st.integers())
def test_ten_thousand_prefixes_agree_with_ipaddress_at_their_borders(seed):
    rng = Random(seed)
    texts = []
    for _ in range(5000):
        length = rng.randint(8, 32)
        texts.append(f"{IPv4Address(rng.getrandbits(32) >> (32 - length) << (32 - length))}/{length}")
        length = rng.randint(16, 128)
        texts.append(f"{IPv6Address(rng.getrandbits(128) >> (128 - length) << (128 - length))}/{length}")
    rng.shuffle(texts)
    addresses = AddressSet.parse(texts)
    parsed = {(net.version, int(net.network_address), net.prefixlen) for net in map(ip_network, texts)}
    borders = rng.sample(sorted(parsed), 300)
    for version, base, length in borders:
        bits, make = (32, peer4) if version == 4 else (128, peer6)
        for number in (base - 1, base, base + (1 << (bits - length)) - 1, base + (1 << (bits - length))):
            if not 0 <= number < 1 << bits:
                continue
            expected = any(
                (version, number >> (bits - n) << (bits - n), n) in parsed
                for n in range(8 if bits == 32 else 16, bits + 1)
            )
            assert (make(number) in addresses) is expected


@given(st.lists(networks(32), max_size=20))
def test_ranges_are_merged_sorted_and_apart(entries):
    addresses = AddressSet.parse(f"{IPv4Address(base)}/{length}" for base, length in entries)
    ranges = addresses.ranges4
    assert all(first <= last for first, last in ranges)
    assert all(before[1] + 1 < after[0] for before, after in pairwise(ranges))
    assert len(addresses) == len(ranges)
    covered = {n for base, length in entries for n in range(base, base + (1 << (32 - length)))}
    assert {n for first, last in ranges for n in range(first, last + 1)} == covered


def test_neighbours_become_one_range():
    addresses = AddressSet.parse(["10.0.0.0/25", "10.0.0.128/25", "10.0.0.7", "2001:db8::/33", "2001:db8:8000::/33"])
    assert addresses.ranges4 == [(0x0A000000, 0x0A0000FF)]
    assert addresses.ranges6 == [(0x20010DB8 << 96, (0x20010DB9 << 96) - 1)]
    assert len(addresses) == 2


def test_a_bare_ipv6_address_is_one_address_and_not_its_slash_32():
    addresses = AddressSet.parse(["2001:db8::1"])
    assert Peer.of("2001:db8::1") in addresses
    assert Peer.of("2001:db8::2") not in addresses
    assert Peer.of("2001:db8::") not in addresses
    assert addresses.ranges6 == [(int(ip_address("2001:db8::1")),) * 2]


def test_mapped_entries_and_mapped_peers_are_ipv4():
    addresses = AddressSet.parse(["::ffff:10.0.0.0/104", "::ffff:192.0.2.1"])
    assert addresses == AddressSet.parse(["10.0.0.0/8", "192.0.2.1"])
    assert Peer.of("::ffff:10.1.2.3") in addresses
    assert Peer.of("10.1.2.3") in AddressSet.parse(["::ffff:0:0/96"])


def test_an_ipv6_network_wider_than_the_mapped_one_holds_no_ipv4_address():
    assert not AddressSet.parse(["::fffe:0:0/95"]).ranges4


def test_every_ipv6_address_is_no_ipv4_address():
    addresses = AddressSet.parse(["::/0"])
    assert Peer.of("2001:db8::1") in addresses
    assert Peer.of("::ffff:10.1.2.3") not in addresses
    assert Peer.of("::1") not in AddressSet.parse(["0.0.0.0/0"])


@pytest.mark.parametrize("text", ["0.0.0.0", "255.255.255.255", "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"])
def test_all_admits_the_ends_of_the_space_and_unix(text):
    assert Peer.of(text) in AddressSet.parse(["all"])
    assert Peer.unix() in AddressSet.parse(["all"])
    assert Peer.of(text) not in AddressSet.empty()


def test_unix_peers_are_admitted_by_their_own_entry_only():
    assert Peer.unix() in AddressSet.parse(["unix:"])
    assert Peer.unix() not in AddressSet.parse(["0.0.0.0/0", "::/0"])
    assert Peer.of("0.0.0.0") not in AddressSet.parse(["unix:"])
    assert AddressSet.parse(["unix:"])


def test_the_empty_set_is_false_and_admits_nobody():
    assert not AddressSet.empty()
    assert AddressSet.parse([]) == AddressSet.empty()
    assert len(AddressSet.empty()) == 0
    assert Peer.unix() not in AddressSet.empty()


@given(st.lists(networks(32), max_size=12), st.lists(networks(32), max_size=12), st.integers(0, 0x1FFF))
def test_without_holds_what_the_first_has_and_the_second_has_not(kept, taken, number):
    one, other = (AddressSet.parse(f"{IPv4Address(base)}/{size}" for base, size in each) for each in (kept, taken))
    rest = one.without(other)
    assert (peer4(number) in rest) == (peer4(number) in one and peer4(number) not in other)
    assert rest | one.without(rest) == one


@given(st.lists(networks(128), max_size=12), st.lists(networks(128), max_size=12), st.integers(0, 0x1FFF))
def test_without_for_ipv6_and_unix(kept, taken, number):
    one, other = (AddressSet.parse(f"{IPv6Address(base)}/{size}" for base, size in each) for each in (kept, taken))
    rest = one.without(other)
    assert (peer6(number) in rest) == (peer6(number) in one and peer6(number) not in other)
    unix = AddressSet.parse(["unix:"])
    assert (one | unix).without(other).has_unix
    assert not unix.without(other | AddressSet.parse(["all"]))


def test_without_at_the_borders_of_ranges_and_of_long_lists():
    one = AddressSet.parse(["10.0.0.0/30", "10.0.0.8/30", "2001:db8::/126"])
    assert one.without(AddressSet.parse(["10.0.0.2/31", "10.0.0.8/29"])) == AddressSet.parse(
        ["10.0.0.0/31", "2001:db8::/126"]
    )
    assert one.without(AddressSet.parse(["10.0.0.3", "10.0.0.4/30", "10.0.0.8"])) == AddressSet.parse(
        ["10.0.0.0/31", "10.0.0.2", "10.0.0.9", "10.0.0.10/31", "2001:db8::/126"]
    )
    many = AddressSet.parse([f"10.{number >> 8}.{number & 255}.0/25" for number in range(5000)])
    every = AddressSet.parse(["all"])
    assert every.without(every.without(many)) == many
    assert many.without(many) == AddressSet.empty()


def test_union():
    office = AddressSet.parse(["192.0.2.0/25", "unix:"])
    partner = AddressSet.parse(["192.0.2.128/25", "2001:db8::/32"])
    assert office | partner == AddressSet.parse(["192.0.2.0/24", "2001:db8::/32", "unix:"])
    assert AddressSet.union([office, partner, AddressSet.empty()]) == office | partner
    assert AddressSet.union([]) == AddressSet.empty()


@pytest.mark.parametrize("word", ["all", "unix:"])
def test_what_comes_behind_a_word_counts(word):
    addresses = AddressSet.parse([word, "192.0.2.1", "2001:db8::1"])
    assert Peer.of("192.0.2.1") in addresses
    assert Peer.of("2001:db8::1") in addresses


@pytest.mark.parametrize("entry", ["192.0.2.1", "2001:db8::1", "unix:"])
def test_a_set_of_one_is_true(entry):
    assert AddressSet.parse([entry])


def test_spaces_around_an_entry_do_not_count():
    assert AddressSet.parse([" 10.0.0.0/8\t"]) == AddressSet.parse(["10.0.0.0/8"])


@pytest.mark.parametrize(
    ("entry", "network", "address"),
    [
        ("192.0.2.7/24", "192.0.2.0/24", "192.0.2.7"),
        ("10.0.0.1/0", "0.0.0.0/0", "10.0.0.1"),
        ("2001:db8::1/32", "2001:db8::/32", "2001:db8::1"),
    ],
)
def test_host_bits_are_an_error_that_says_both_mends(entry, network, address):
    with pytest.raises(ValueError, match="host bits") as caught:
        AddressSet.parse(["10.0.0.0/8", entry])
    assert repr(entry) in str(caught.value)
    assert f"write {network} for" in str(caught.value)
    assert f"or {address} for" in str(caught.value)


@pytest.mark.parametrize(
    "entry",
    [
        *["", " ", "/", "/8", "10.0.0.0/", "10.0.0.0/33", "::/129", "10.0.0.0/-1", "10.0.0.0/+8", "10.0.0.0/08"],
        *["10.0.0.0/8/8", "10.0.0.0/255.0.0.0", "10.0.0.0/0.255.255.255", "10.0.0.0/ 8", "10.0.0.0/\u0668"],
        *["10.0.0.1-10.0.0.9", "10.0.0", "10/8", "ALL", "any", "*", "localhost", "unix", "unix:/run/x"],
        *["fe80::1%eth0", "fe80::%1/64", "[::1]", "10.0.0.1:80", "010.0.0.1", "set:github", "10.0.0.0/9" + "9" * 400],
    ],
)
def test_junk_is_a_value_error_that_names_the_entry(entry):
    with pytest.raises(ValueError, match=r".*") as caught:
        AddressSet.parse([entry])
    assert repr(entry.strip()[:80]) in str(caught.value)
    assert len(str(caught.value)) < 400


@given(st.lists(st.text(max_size=40) | st.from_regex(r"[0-9a-f:./%]{0,40}", fullmatch=True), max_size=3))
def test_any_entries_make_a_set_or_a_value_error(entries):
    try:
        addresses = AddressSet.parse(entries)
    except ValueError:
        return
    assert bool(addresses) is bool(entries)


def test_repr_stays_short():
    addresses = AddressSet.parse([f"10.{n >> 8}.{n & 255}.0/30" for n in range(10_000)] + ["unix:"])
    assert repr(addresses) == "<AddressSet ipv4=10000 ipv6=0 unix>"
    assert repr(AddressSet.parse(["10.0.0.1", "::1", "::3", "::5"])) == "<AddressSet ipv4=1 ipv6=3>"


# --- client_address

TRUSTED = AddressSet.parse(["10.0.0.0/8", "2001:db8:ffff::/48", "unix:"])
PROXY = Peer.of("10.0.0.1", 5)


@pytest.mark.parametrize(
    ("values", "client"),
    [
        ([], "10.0.0.1"),
        ([b"192.0.2.7"], "192.0.2.7"),
        ([b"198.51.100.1, 192.0.2.7"], "192.0.2.7"),
        ([b"198.51.100.1", b"192.0.2.7"], "192.0.2.7"),
        ([b"192.0.2.7, 10.0.0.2, 10.0.0.3"], "192.0.2.7"),
        ([b"192.0.2.7", b"10.0.0.2", b"10.0.0.3"], "192.0.2.7"),
        ([b"192.0.2.7,10.0.0.2 ,\t10.0.0.3"], "192.0.2.7"),
        ([b"10.0.0.9, 10.0.0.2"], "10.0.0.9"),
        ([b"2001:db8::7"], "2001:db8::7"),
        ([b"[2001:db8::7]"], "2001:db8::7"),
        ([b"::ffff:192.0.2.7, 10.0.0.2"], "192.0.2.7"),
        ([b"192.0.2.7, [2001:db8:ffff::1]:99"], "192.0.2.7"),
        ([b"fe80::1%eth0"], "fe80::1"),
        # junk ends the walk at the last good address: what is left of it may be the sender's invention
        ([b"unknown"], "10.0.0.1"),
        ([b"192.0.2.7, unknown"], "10.0.0.1"),
        ([b"192.0.2.7, unknown, 10.0.0.2"], "10.0.0.2"),
        ([b"192.0.2.7,,10.0.0.2"], "10.0.0.2"),
        ([b"192.0.2.7", b"", b"10.0.0.2"], "10.0.0.2"),
        ([b"192.0.2.7, "], "10.0.0.1"),
        ([b"192.0.2.7, unix:, 10.0.0.2"], "10.0.0.2"),
        ([b"192.0.2.7, \xff\xfe"], "10.0.0.1"),
        ([b"192.0.2.7, 10.0.0.2:"], "10.0.0.1"),
        ([b"192.0.2.7, 10.0.0.2:x"], "10.0.0.1"),
        ([b"192.0.2.7, 10.0.0.2:65536"], "10.0.0.1"),
        ([b"192.0.2.7, 10.0.0.2:999999"], "10.0.0.1"),
        ([b"192.0.2.7, 10.0.0.2:-1"], "10.0.0.1"),
        ([b"192.0.2.7, [10.0.0.2]"], "10.0.0.1"),
        ([b"192.0.2.7, [2001:db8:ffff::1"], "10.0.0.1"),
        ([b"192.0.2.7, [2001:db8:ffff::1]80"], "10.0.0.1"),
        ([b"192.0.2.7, [2001:db8:ffff::1]:"], "10.0.0.1"),
        ([b"192.0.2.7, [2001:db8:ffff::1]]"], "10.0.0.1"),
        ([b'192.0.2.7, "10.0.0.2"'], "10.0.0.1"),
        ([b"192.0.2.7, for=10.0.0.2"], "10.0.0.1"),
        # not addresses, so the proxy that wrote them is the last that is known
        ([b"192.0.2.7:+80"], "10.0.0.1"),
        ([b"192.0.2.7:8_0"], "10.0.0.1"),
        ([b"192.0.2.7:123456"], "10.0.0.1"),
        ([b"X192.0.2.7"], "10.0.0.1"),
        ([b"\x0b192.0.2.7"], "10.0.0.1"),
        ([b"192.0.2.7:65535"], "192.0.2.7"),
    ],
)
def test_the_walk_goes_right_to_left_through_trusted_proxies(values, client):
    assert client_address(PROXY, values, TRUSTED).text == client


@pytest.mark.parametrize(
    ("value", "port"),
    [(b"192.0.2.7:4711", 4711), (b"[2001:db8::7]:4711", 4711), (b"192.0.2.7", 0), (b"[2001:db8::7]", 0)],
)
def test_a_port_is_kept(value, port):
    assert client_address(PROXY, [value], TRUSTED).port == port


def test_an_untrusted_peer_speaks_for_itself():
    peer = Peer.of("192.0.2.9", 1)
    assert client_address(peer, [b"10.0.0.1"], TRUSTED) is peer
    assert client_address(peer, [b"10.0.0.1"], AddressSet.empty()) is peer


def test_a_unix_peer_is_trusted_by_its_own_entry():
    assert client_address(Peer.unix(), [b"192.0.2.7"], TRUSTED).text == "192.0.2.7"
    assert client_address(Peer.unix(), [b"192.0.2.7"], AddressSet.parse(["10.0.0.0/8"])) == Peer.unix()


def test_the_walk_is_bounded_where_everybody_is_trusted():
    values = [b"192.0.2.7, " + b", ".join([b"10.0.0.2"] * 2000)]
    assert client_address(PROXY, values, AddressSet.parse(["all"])).text == "10.0.0.2"


@given(st.lists(st.binary(max_size=60) | st.from_regex(rb"[0-9a-f:., \[\]]{0,60}", fullmatch=True), max_size=4))
def test_no_header_makes_the_walk_raise(values):
    assert isinstance(client_address(PROXY, values, TRUSTED), Peer)
    assert isinstance(client_address(PROXY, values, AddressSet.parse(["all"])), Peer)


@given(st.binary(max_size=80))
def test_what_the_sender_writes_cannot_hide_the_address_that_a_proxy_saw(forged):
    assert client_address(PROXY, [forged + b", 192.0.2.7, 10.0.0.2"], TRUSTED).text == "192.0.2.7"


@pytest.mark.parametrize("to_the_end", [False, True])
def test_a_long_list_judges_as_its_entries_do(to_the_end):
    """Long lists are packed; what they admit, their bounds and unions are the same."""
    random = Random(7)  # of a test
    sixes = [random.getrandbits(128) >> 64 << 64 for _ in range(3000)]
    fours = [random.getrandbits(32) >> 8 << 8 for _ in range(3000)]
    entries = [f"{IPv6Address(n)}/64" for n in sixes] + [f"{IPv4Address(n)}/24" for n in fours]
    entries += ["ffff::/16", "255.0.0.0/8"] if to_the_end else []
    long = AddressSet.parse(entries)
    assert isinstance(long.bounds6, Packed)
    assert list(long.bounds6) == sorted(long.bounds6)
    assert long.bounds6[-1] == list(long.bounds6)[-1]
    assert list(long.bounds6[3:7]) == list(long.bounds6)[3:7]
    for base in random.sample(sixes, 50):
        assert peer6(base) in long
        assert peer6(base | (1 << 64) - 1) in long
        for near in (base - 1, base + (1 << 64)):
            if 0 <= near < 1 << 128:
                assert (peer6(near) in long) is any(first <= near <= last for first, last in long.ranges6)
    for base in random.sample(fours, 50):
        assert peer4(base) in long
    assert (Peer.of("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff") in long) is to_the_end
    halves = AddressSet.parse(entries[::2]), AddressSet.parse(entries[1::2])
    assert halves[0] | halves[1] == long
    assert hash(halves[0] | halves[1]) == hash(long)
    assert pickle.loads(pickle.dumps(long)) == long


def test_the_union_with_nothing_is_the_set_itself():
    one = AddressSet.parse(["192.0.2.0/24"])
    assert AddressSet.union([one, one, AddressSet.empty()]) is one


def test_the_widest_ranges():
    assert AddressSet.parse(["192.0.2.0/24", "198.51.100.0/23", "2001:db8::/64"]).widest() == (512, 1 << 64)
    assert AddressSet.empty().widest() == (0, 0)
