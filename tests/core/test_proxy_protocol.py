"""PROXY headers of both versions: read to the byte, or refused."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.core.addresses import Peer
from proxy.core.proxy_protocol import LOCAL, NEED_MORE, Header, crc32c, header_for, parse, write_v2
from proxy.errors import ProtocolError
from proxy.reasons import Reason

START = b"\r\n\r\n\x00\r\nQUIT\n"
SOURCE4 = bytes([192, 0, 2, 7])
SOURCE6 = IPv6Address("2001:db8::7").packed
MAPPED = IPv6Address("::ffff:192.0.2.7").packed
TCP4 = SOURCE4 + bytes([10, 0, 0, 1]) + (4711).to_bytes(2, "big") + (443).to_bytes(2, "big")
TCP6 = SOURCE6 + IPv6Address("2001:db8::1").packed + (4711).to_bytes(2, "big") + (443).to_bytes(2, "big")
UNIX = b"/run/a.sock".ljust(108, b"\0") + b"/run/b.sock".ljust(108, b"\0")


def v2(command: int, family: int, block: bytes) -> bytes:
    return START + bytes([command, family]) + len(block).to_bytes(2, "big") + block


def tlv(kind: int, value: bytes) -> bytes:
    return bytes([kind]) + len(value).to_bytes(2, "big") + value


def with_checksum(block: bytes, *, before: bytes = b"", after: bytes = b"", family: int = 0x11) -> bytes:
    zeroed = v2(0x21, family, block + before + tlv(3, bytes(4)) + after)
    return v2(0x21, family, block + before + tlv(3, crc32c(zeroed).to_bytes(4, "big")) + after)


LONGEST_V1 = b"PROXY UNKNOWN " + b" ".join([b"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"] * 2) + b" 65535 65535\r\n"

GOOD = {
    "v1 tcp4": (b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 443\r\n", Peer.of("192.0.2.7", 4711)),
    "v1 tcp6": (b"PROXY TCP6 2001:db8::7 ::1 4711 443\r\n", Peer.of("2001:db8::7", 4711)),
    "v1 tcp6 mapped": (b"PROXY TCP6 ::ffff:192.0.2.7 ::1 0 65535\r\n", Peer.of("192.0.2.7", 0)),
    "v1 unknown": (b"PROXY UNKNOWN\r\n", None),
    "v1 unknown with words": (b"PROXY UNKNOWN ffff::1 what ever\r\n", None),
    "v1 longest": (LONGEST_V1, None),
    "v2 local": (v2(0x20, 0x00, b""), None),
    "v2 local with a block": (v2(0x20, 0xFF, b"anything"), None),
    "v2 unspec": (v2(0x21, 0x00, b"\x01"), None),
    "v2 tcp4": (v2(0x21, 0x11, TCP4), Peer.of("192.0.2.7", 4711)),
    "v2 tcp6": (v2(0x21, 0x21, TCP6), Peer.of("2001:db8::7", 4711)),
    "v2 tcp6 mapped": (v2(0x21, 0x21, MAPPED + TCP6[16:]), Peer.of("192.0.2.7", 4711)),
    "v2 unix": (v2(0x21, 0x31, UNIX), Peer.unix()),
    "v2 tlvs": (
        v2(0x21, 0x11, TCP4 + tlv(1, b"h2") + tlv(0xEA, b"\x01vpce-1") + tlv(4, b"")),
        Peer.of("192.0.2.7", 4711),
    ),
    "v2 checksum": (with_checksum(TCP4), Peer.of("192.0.2.7", 4711)),
    "v2 checksum between": (
        with_checksum(TCP6, before=tlv(1, b"h2"), after=tlv(5, b"id"), family=0x21),
        Peer.of("2001:db8::7", 4711),
    ),
    "v2 full": (v2(0x21, 0x11, TCP4 + tlv(4, b"\xff" * (4096 - 12 - 3))), Peer.of("192.0.2.7", 4711)),
}

BAD = {
    "http": b"POST / HTTP/1.1\r\n",
    "tls": b"\x16\x03\x01",
    "lower case": b"proxy TCP4",
    "v1 bare lf": b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 443\n",
    "v1 bare cr": b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 443\rx",
    "v1 bare lf inside": b"PROXY UNKNOWN \n\r\n",
    "v1 bare cr inside": b"PROXY UNKNOWN \rx\r\n",
    "v1 too long": LONGEST_V1[:-2] + b"0\r\n",
    "v1 endless": b"PROXY UNKNOWN " + b"x" * 93,
    "v1 no family": b"PROXY \r\n",
    "v1 family": b"PROXY UDP4 192.0.2.7 10.0.0.1 4711 443\r\n",
    "v1 family case": b"PROXY tcp4 192.0.2.7 10.0.0.1 4711 443\r\n",
    "v1 unknown glued": b"PROXY UNKNOWNX\r\n",
    "v1 two spaces": b"PROXY TCP4  192.0.2.7 10.0.0.1 4711 443\r\n",
    "v1 missing word": b"PROXY TCP4 192.0.2.7 10.0.0.1 4711\r\n",
    "v1 extra word": b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 443 1\r\n",
    "v1 trailing space": b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 443 \r\n",
    "v1 tab": b"PROXY TCP4\t192.0.2.7 10.0.0.1 4711 443\r\n",
    "v1 tcp4 with v6": b"PROXY TCP4 ::ffff:192.0.2.7 ::1 4711 443\r\n",
    "v1 tcp6 with v4": b"PROXY TCP6 192.0.2.7 10.0.0.1 4711 443\r\n",
    "v1 mixed": b"PROXY TCP4 192.0.2.7 ::1 4711 443\r\n",
    "v1 zone": b"PROXY TCP6 fe80::1%eth0 ::1 4711 443\r\n",
    "v1 leading zero": b"PROXY TCP4 192.0.2.07 10.0.0.1 4711 443\r\n",
    "v1 port over": b"PROXY TCP4 192.0.2.7 10.0.0.1 65536 443\r\n",
    "v1 destination port over": b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 65536\r\n",
    "v1 port zeros": b"PROXY TCP4 192.0.2.7 10.0.0.1 04711 443\r\n",
    "v1 port sign": b"PROXY TCP4 192.0.2.7 10.0.0.1 +471 443\r\n",
    "v1 port empty": b"PROXY TCP4 192.0.2.7 10.0.0.1  443\r\n",
    "v1 8 bit": b"PROXY TCP4 192.0.2.\xb2 10.0.0.1 4711 443\r\n",
    "v2 version 1": START + b"\x11",
    "v2 version 3": START + b"\x31",
    "v2 command": START + b"\x22",
    "v2 datagram": v2(0x21, 0x12, TCP4),
    "v2 family": v2(0x21, 0x41, TCP4),
    "v2 protocol": v2(0x21, 0x13, TCP4),
    "v2 unspec family stream": v2(0x21, 0x01, TCP4),
    "v2 block too short": v2(0x21, 0x11, TCP4[:-1]),
    "v2 tcp6 in a block of tcp4": v2(0x21, 0x21, TCP4),
    "v2 no block": v2(0x21, 0x31, b""),
    "v2 too large": START + b"\x21\x11\x10\x01",
    "v2 largest": START + b"\x20\x00\xff\xff",
    "v2 tlv without length": v2(0x21, 0x11, TCP4 + b"\x04"),
    "v2 tlv with half a length": v2(0x21, 0x11, TCP4 + b"\x04\x00"),
    "v2 tlv over the end": v2(0x21, 0x11, TCP4 + b"\x04\x00\x02x"),
    "v2 checksum wrong": v2(0x21, 0x11, TCP4 + tlv(3, bytes(4))),
    "v2 checksum short": v2(0x21, 0x11, TCP4 + tlv(3, bytes(3))),
    "v2 checksum twice": with_checksum(TCP4, before=tlv(3, bytes(4))),
}

good = pytest.mark.parametrize(("header", "peer"), GOOD.values(), ids=GOOD)


def assert_refused(buffer: bytes) -> None:
    with pytest.raises(ProtocolError) as caught:
        parse(buffer)
    assert (caught.value.reason, caught.value.detail) == (Reason.BAD_REQUEST, "proxy_header")


@good
def test_a_header_is_taken_to_the_byte_whatever_follows(header, peer):
    for rest in (b"", b"\x16\x03\x01", b"POST / HTTP/1.1\r\n", b"\r\n", header):
        assert parse(header + rest) == Header(len(header), peer)


@good
def test_every_beginning_of_a_header_needs_more(header, peer):
    for end in range(len(header)):
        assert parse(header[:end]) is NEED_MORE


@pytest.mark.parametrize("buffer", BAD.values(), ids=BAD)
def test_what_cannot_become_a_header_is_refused(buffer):
    assert_refused(buffer)
    assert_refused(buffer + b"\r\n")


def test_the_longest_line_is_the_one_of_the_specification():
    assert len(LONGEST_V1) == 107


def test_a_flipped_bit_under_a_checksum_is_refused():
    header = with_checksum(TCP4, before=tlv(4, b"padding"))
    for position in range(16, 28):
        assert_refused(header[:position] + bytes([header[position] ^ 1]) + header[position + 1 :])


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", 0),
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),  # RFC 3720 appendix B.4
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
    ],
)
def test_crc32c_vectors(data, expected):
    assert crc32c(data) == expected


@given(
    st.binary(max_size=64),
    st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", b"PROXY TCP6 ::1 ", START, START + b"\x21\x11"]),
)
@example(b"", b"")
def test_hostile_bytes_raise_nothing_but_protocol_errors(tail, start):
    buffer = start + tail
    try:
        answer = parse(buffer)
    except ProtocolError:
        return
    if answer is NEED_MORE:
        assert len(buffer) < 16 + 4096
        return
    assert 0 < answer.length <= len(buffer)
    assert parse(buffer[: answer.length]) == answer


@given(st.sampled_from(sorted(GOOD)), st.data())
def test_mutated_headers_raise_nothing_but_protocol_errors(name, data):
    buffer = bytearray(GOOD[name][0])
    buffer[data.draw(st.integers(0, len(buffer) - 1))] = data.draw(st.integers(0, 255))
    try:
        answer = parse(bytes(buffer))
    except ProtocolError:
        return
    assert answer is NEED_MORE or answer.length <= len(buffer)


@given(st.integers(0, 2**32 - 1), st.integers(0, 65535), st.binary(max_size=20))
def test_both_versions_name_the_same_ipv4_peer(number, port, rest):
    text = str(IPv4Address(number))
    first = parse(f"PROXY TCP4 {text} 127.0.0.1 {port} 1\r\n".encode() + rest)
    second = parse(v2(0x21, 0x11, number.to_bytes(4, "big") + TCP4[4:8] + port.to_bytes(2, "big") + b"\0\1") + rest)
    assert first.peer == second.peer == Peer.of(text, port)


@given(st.integers(0, 2**128 - 1), st.integers(0, 65535), st.binary(max_size=20))
def test_both_versions_name_the_same_ipv6_peer(number, port, rest):
    text = str(IPv6Address(number))
    first = parse(f"PROXY TCP6 {text} ::1 {port} 1\r\n".encode() + rest)
    second = parse(v2(0x21, 0x21, number.to_bytes(16, "big") + TCP6[16:32] + port.to_bytes(2, "big") + b"\0\1") + rest)
    assert first.peer == second.peer == Peer.of(text, port)


@pytest.mark.parametrize("text", ["192.0.2.1", "2001:db8::7", "::ffff:192.0.2.1"])
@pytest.mark.parametrize("to", ["198.51.100.1", "2001:db8::8", None])
def test_what_we_write_is_what_we_read(text: str, to: str | None) -> None:
    source = Peer.of(text, 4711)
    written = write_v2(source, None if to is None else Peer.of(to, 443))
    header = parse(written + b"behind")
    assert isinstance(header, Header)
    assert (header.length, header.peer) == (len(written), source)


@pytest.mark.parametrize(
    ("source", "to", "block"),
    [
        ("192.0.2.7", "10.0.0.1", TCP4),
        ("2001:db8::7", "2001:db8::1", TCP6),
        ("192.0.2.7", None, SOURCE4 + bytes(4) + (4711).to_bytes(2, "big") + bytes(2)),
        ("192.0.2.7", "2001:db8::1", SOURCE4 + bytes(4) + (4711).to_bytes(2, "big") + bytes(2)),
        ("2001:db8::7", "10.0.0.1", SOURCE6 + bytes(16) + (4711).to_bytes(2, "big") + bytes(2)),
    ],
)
def test_what_we_write_is_what_the_specification_says(source: str, to: str | None, block: bytes) -> None:
    written = write_v2(Peer.of(source, 4711), None if to is None else Peer.of(to, 443))
    assert written == v2(0x21, 0x11 if len(block) == 12 else 0x21, block)


def test_nobody_is_spoken_for_from_a_unix_socket() -> None:
    assert write_v2(Peer.unix(), None) == LOCAL
    assert parse(LOCAL) == Header(len(LOCAL), None)


def test_a_socket_says_where_the_client_came_to() -> None:
    client = Peer.of("192.0.2.1", 4711)
    assert header_for(client, ("198.51.100.2", 443)) == write_v2(client, Peer.of("198.51.100.2", 443))
    client = Peer.of("2001:db8::1", 4711)
    assert header_for(client, ("2001:db8::2", 443, 0, 0)) == write_v2(client, Peer.of("2001:db8::2", 443))
    for none in ("/run/hookward.sock", "", None):
        assert header_for(client, none) == write_v2(client, None)
