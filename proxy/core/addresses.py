"""Network addresses: what a peer's address is, and which addresses a list admits.

An ``AddressSet`` is compiled once from its entries into merged, sorted ranges and asked by bisection, so that ten
thousand prefixes cost no more than a handful. IPv4-mapped IPv6 addresses (RFC 4291 section 2.5.5.2) are IPv4
everywhere: otherwise a dual-stack socket would show each IPv4 client under a second name. This module resolves no names
and reads no files.

``client_address`` finds the client that trusted proxies name. Of ``Forwarded`` (RFC 7239) it is given the items that
``X-Forwarded-For`` would have; a field that is not of the RFC's form has one that cannot be read, so a walk ends there.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from itertools import chain, islice
from typing import NamedTuple, overload

from proxy.errors import Mistake
from proxy.values import frozen

#: First number after the ranges of IPv4 and IPv6.
_END4 = 1 << 32
_END6 = 1 << 128
_LOW = (1 << 64) - 1

#: An entry as nearly all of a long list are, read three times faster than by ``ipaddress``.
_OCTET = "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_USUAL = re.compile(rf"{_OCTET}\.{_OCTET}\.{_OCTET}\.{_OCTET}(?:/(3[0-2]|[12]?[0-9]))?")
#: Beyond so many bounds they are packed: a tuple of a million ranges would take 72 MiB, or 104 of IPv6.
_MAX_LOOSE = 4096

#: A list of trusted proxies that is too wide must not turn a 16 KiB header into thousands of parses.
_MAX_HOPS = 64

_ENTRY_FORMS = "write an address (192.0.2.7), a network (192.0.2.0/24, 2001:db8::/32), 'unix:' or 'all'"


class Peer(NamedTuple):
    """An address that we judge. ``text`` is canonical, so equal addresses have equal texts.

    ``version`` is 4 or 6, or 0 for the peer of a unix socket; ``number`` is the address as an integer.
    """

    text: str
    port: int
    version: int
    number: int

    @classmethod
    def of(cls, text: str, port: int = 0) -> Peer:
        """The peer at an IP address in text form; a zone id is dropped. ValueError where it is none."""
        if not 0 <= port <= 0xFFFF:
            raise ValueError(f"{port} is not a port")
        address = ip_address(text)
        return cls._of_number(address.version, int(address), port)

    @classmethod
    def packed(cls, address: bytes, port: int) -> Peer:
        """The peer at an address of 4 or 16 bytes in network order."""
        return cls._of_number(4 if len(address) == 4 else 6, int.from_bytes(address, "big"), port)

    @classmethod
    def _of_number(cls, version: int, number: int, port: int) -> Peer:
        if version == 6 and number >> 32 != 0xFFFF:
            return cls(str(IPv6Address(number)), port, 6, number)
        number &= _END4 - 1
        return cls(str(IPv4Address(number)), port, 4, number)

    @classmethod
    def unix(cls) -> Peer:
        """The peer of a unix socket, which has no address of its own."""
        return cls("unix:", 0, 0, 0)

    @property
    def is_loopback(self) -> bool:
        """Whether the peer is on this host: 127.0.0.0/8, ::1 or a unix socket."""
        if self.version == 4:
            return self.number >> 24 == 127
        return self.version == 0 or self.number == 1

    @property
    def group(self) -> tuple[int, int]:
        """What connections are counted by: an IPv4 address, or the /64 of an IPv6 one, which one customer owns."""
        return (6, self.number >> 64) if self.version == 6 else (self.version, self.number)


@frozen
class AddressSet:
    """An immutable set of addresses: ``peer in addresses``, ``a | b``.

    The bounds are flat: first, last + 1, first, last + 1, … in rising order. An address is inside where an odd number
    of bounds is not above it.
    """

    bounds4: Sequence[int]
    bounds6: Sequence[int]
    has_unix: bool

    @classmethod
    def empty(cls) -> AddressSet:
        """The set that admits no address."""
        return cls((), (), has_unix=False)

    @classmethod
    def parse(cls, entries: Iterable[str]) -> AddressSet:
        """Compile the entries of a list: bare addresses, networks in CIDR form, ``unix:`` and ``all``.

        ``::/0`` means every IPv6 address and no IPv4 one. Mistake names the first entry that is wrong and how to
        mend it; nothing is guessed (host bits, netmasks and zone ids are errors).
        """
        ranges4, ranges6 = _Ranges(32), _Ranges(128)
        has_unix = False
        for entry in map(str.strip, entries):
            usual = _USUAL.fullmatch(entry)
            if usual is not None:
                a, b, c, d, length = usual.groups()
                first = int(a) << 24 | int(b) << 16 | int(c) << 8 | int(d)
                size = 1 << (32 - int(length)) if length else 1
                if not first & (size - 1):
                    ranges4.add(first, first + size)
                    continue
            if entry == "all":
                ranges4.add(0, _END4)
                ranges6.add(0, _END6)
            if entry in {"all", "unix:"}:
                has_unix = True
                continue
            version, first, end = _parse_network(entry)
            (ranges4 if version == 4 else ranges6).add(first, end)
        return cls(ranges4.bounds(), ranges6.bounds(), has_unix=has_unix)

    @classmethod
    def union(cls, sets: Iterable[AddressSet]) -> AddressSet:
        """One set that admits what any of ``sets`` admits. For many sets, cheaper than ``|`` one by one."""
        # Thousands of routes may share one list.
        parts = list({id(part): part for part in sets if part}.values())
        if len(parts) == 1:
            return parts[0]
        ranges4, ranges6 = _Ranges(32), _Ranges(128)
        for part in parts:
            for ranges, bounds in ((ranges4, part.bounds4), (ranges6, part.bounds6)):
                for first, end in _pairs(bounds):
                    ranges.add(first, end)
        return cls(ranges4.bounds(), ranges6.bounds(), has_unix=any(part.has_unix for part in parts))

    def without(self, other: AddressSet) -> AddressSet:
        """What is here and not in ``other``."""
        ranges4, ranges6 = _Ranges(32), _Ranges(128)
        for ranges, bounds, taken in ((ranges4, self.bounds4, other.bounds4), (ranges6, self.bounds6, other.bounds6)):
            for first, end in _outside(bounds, taken):
                ranges.add(first, end)
        return AddressSet(ranges4.bounds(), ranges6.bounds(), has_unix=self.has_unix and not other.has_unix)

    def __contains__(self, peer: Peer) -> bool:
        if peer.version == 4:
            return bisect_right(self.bounds4, peer.number) & 1 == 1
        if peer.version == 6:
            bounds = self.bounds6
            count = bounds.count_to(peer.number) if isinstance(bounds, Packed) else bisect_right(bounds, peer.number)
            return count & 1 == 1
        return self.has_unix

    def __or__(self, other: AddressSet) -> AddressSet:
        return AddressSet.union((self, other))

    def __hash__(self) -> int:
        four, six = tuple(self.bounds4[:32]), tuple(self.bounds6[:32])
        return hash((four, six, len(self.bounds4), len(self.bounds6), self.has_unix))

    def __bool__(self) -> bool:
        return bool(self.bounds4 or self.bounds6 or self.has_unix)

    def __len__(self) -> int:
        """How many ranges are left after merging; a ``unix:`` entry is none."""
        return (len(self.bounds4) + len(self.bounds6)) // 2

    @property
    def ranges4(self) -> list[tuple[int, int]]:
        """The IPv4 ranges as (first, last), merged and sorted."""
        return [(first, end - 1) for first, end in _pairs(self.bounds4)]

    @property
    def ranges6(self) -> list[tuple[int, int]]:
        """The IPv6 ranges as (first, last), merged and sorted."""
        return [(first, end - 1) for first, end in _pairs(self.bounds6)]

    def widest(self) -> tuple[int, int]:
        """How many addresses the largest range of IPv4 has, and that of IPv6."""
        four, six = (max((end - first for first, end in _pairs(b)), default=0) for b in (self.bounds4, self.bounds6))
        return four, six

    def __repr__(self) -> str:
        # Ten thousand bounds in a traceback or a log would hide what matters there.
        unix = " unix" if self.has_unix else ""
        return f"<AddressSet ipv4={len(self.bounds4) // 2} ipv6={len(self.bounds6) // 2}{unix}>"


def client_address(peer: Peer, forwarded_for: Sequence[bytes], trusted: AddressSet) -> Peer:
    """The client behind ``peer``: the right-most address of ``X-Forwarded-For`` that no trusted proxy owns.

    Takes the values of all its field lines in the order they came. Each address was written by the proxy to its
    right, so the walk goes on only as long as that proxy is trusted. What cannot be read, an empty item included,
    ends it at the last good address: whatever stands to the left may have been written by the client.
    """
    client = peer
    for hop in islice(chain.from_iterable(reversed(one.split(b",")) for one in reversed(forwarded_for)), _MAX_HOPS):
        if client not in trusted:
            break
        try:
            client = _parse_hop(hop)
        except ValueError:
            break
    return client


def _parse_hop(hop: bytes) -> Peer:
    """An item of ``X-Forwarded-For``: an address, ``v4:port``, ``[v6]`` or ``[v6]:port``."""
    text = hop.strip(b" \t").decode("ascii")
    if text.startswith("["):
        address, bracket, rest = text[1:].partition("]")
        if not bracket or ":" not in address or (rest and rest[0] != ":"):
            raise ValueError("not an address in brackets")
        return Peer.of(address, _parse_port(rest[1:]) if rest else 0)
    if text.count(":") == 1:
        address, _, port = text.partition(":")
        return Peer.of(address, _parse_port(port))
    return Peer.of(text)


def _parse_port(text: str) -> int:
    if not text.isdecimal() or len(text) > 5:
        raise ValueError("not a port")
    return int(text)


def _parse_network(entry: str) -> tuple[int, int, int]:
    """The version, first number and end (exclusive) of one entry."""
    text, slash, prefix = entry.partition("/")
    shown = repr(entry[:80])
    try:
        address = IPv6Address(text) if ":" in text else IPv4Address(text)
    except ValueError:
        raise Mistake(f"{shown} is not an address or network", _ENTRY_FORMS) from None
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        raise Mistake(f"{shown} has a zone id, which a list cannot judge", "leave out what follows the '%'")
    bits = address.max_prefixlen
    length = _parse_prefix(prefix, bits, shown) if slash else bits
    size = 1 << (bits - length)
    number = int(address)
    first = number - number % size
    if first != number:
        network = f"{type(address)(first)}/{length}"
        raise Mistake(f"{shown} has host bits set", f"write {network} for the network or {address} for one address")
    if bits == 128 and length >= 96 and first >> 32 == 0xFFFF:
        first &= _END4 - 1
        return 4, first, first + size
    return address.version, first, first + size


def _parse_prefix(prefix: str, bits: int, shown: str) -> int:
    # A netmask, a wildcard mask or a leading zero has more than one reading.
    if prefix.isascii() and prefix.isdecimal() and len(prefix) <= 3:
        length = int(prefix)
        if length <= bits and str(length) == prefix:
            return length
    raise Mistake(f"{shown} has no prefix length of 0 to {bits} after the '/'", _ENTRY_FORMS)


def _pairs(bounds: Sequence[int]) -> Iterator[tuple[int, int]]:
    each = iter(bounds)
    return zip(each, each, strict=True)


def _outside(bounds: Sequence[int], taken: Sequence[int]) -> Iterator[tuple[int, int]]:
    """The pieces of the ranges in ``bounds`` that no range in ``taken`` covers, in one pass over both."""
    takers = _pairs(taken)
    taker = next(takers, None)
    for first, end in _pairs(bounds):
        rest = first
        while taker is not None and taker[0] < end:
            if taker[0] > rest:
                yield rest, taker[0]
            rest = max(rest, taker[1])
            if taker[1] >= end:
                break  # it may cover some of the next range
            taker = next(takers, None)
        if rest < end:
            yield rest, end


class Packed(Sequence[int]):
    """Bounds of IPv6 in rising order, 16 bytes each."""

    __slots__ = ("_has_end", "_high", "_low")

    def __init__(self, bounds: Sequence[int]) -> None:
        # The end of all addresses is above each of them, and has a bit more than they.
        self._has_end = bounds[-1] == _END6
        kept = islice(bounds, len(bounds) - self._has_end)
        self._high, self._low = array("Q"), array("Q")
        for bound in kept:
            self._high.append(bound >> 64)
            self._low.append(bound & _LOW)

    def count_to(self, number: int) -> int:
        """How many bounds are not above ``number``."""
        high = number >> 64
        first = bisect_left(self._high, high)
        return bisect_right(self._low, number & _LOW, first, bisect_right(self._high, high, first))

    def __len__(self) -> int:
        return len(self._high) + self._has_end

    @overload
    def __getitem__(self, index: int) -> int: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[int]: ...

    def __getitem__(self, index: int | slice) -> int | Sequence[int]:
        at = range(len(self))[index]
        if isinstance(at, range):
            return [self[one] for one in at]
        return _END6 if at == len(self._high) else self._high[at] << 64 | self._low[at]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Packed) and len(self) == len(other) and self._arrays == other._arrays

    def __hash__(self) -> int:
        return hash(len(self))

    @property
    def _arrays(self) -> tuple[array[int], array[int]]:
        return self._high, self._low


class _Ranges:
    """Half-open ranges of one family on their way to bounds, sorted in parts so that other threads get a turn."""

    def __init__(self, bits: int) -> None:
        self._bits = bits
        self._parts: dict[int, array[int] | list[int]] = {}

    def add(self, first: int, end: int) -> None:
        part = first >> (self._bits - 16)
        held = self._parts.get(part)
        if held is None:
            held = self._parts[part] = array("Q") if self._bits == 32 else []
        held.append(first << self._bits | end - 1)

    def bounds(self) -> Sequence[int]:
        """The flat bounds, in rising order; ranges that overlap or touch are one. The ranges are gone then."""
        found: array[int] | list[int] = array("Q") if self._bits == 32 else []
        mask, last = (1 << self._bits) - 1, -1
        for part in sorted(self._parts):
            for pair in sorted(self._parts.pop(part)):
                first, end = pair >> self._bits, (pair & mask) + 1
                if first > last:
                    found.append(first)
                    found.append(end)
                    last = end
                elif end > last:
                    found[-1] = last = end
        if len(found) <= _MAX_LOOSE:
            return tuple(found)
        return found if isinstance(found, array) else Packed(found)


_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PAIR = rb"(?:" + _TOKEN + rb"=(?:" + _TOKEN + rb'|"(?:[^"\\\x00-\x08\x0a-\x1f\x7f]|\\[\t\x20-\x7e\x80-\xff])*"))'
_ELEMENT = re.compile(rb"[ \t]*(" + _PAIR + rb"(?:[ \t]*;[ \t]*" + _PAIR + rb")*)[ \t]*(?:,|\Z)")
_FOR = re.compile(rb'(?:\A|;)[ \t]*for=(?:"([^"]*)"|([^;"\s]*))[ \t]*(?=;|\Z)', re.IGNORECASE)
_NODE = re.compile(rb"[0-9A-Za-z._:\[\]-]{1,128}")
#: An item that no address is.
_NOBODY = b"unknown"


def forwarded_hops(values: Sequence[bytes]) -> list[bytes]:
    """The ``for`` nodes of all field lines, in order; an element without a readable one is no address."""
    hops: list[bytes] = []
    for value in values:
        hops += _hops_of(value)
    return hops


def _hops_of(value: bytes) -> list[bytes]:
    hops: list[bytes] = []
    at = 0
    while at < len(value):
        found = _ELEMENT.match(value, at)
        if found is None:
            return [_NOBODY]
        hops.append(_node(found[1]))
        at = found.end()
    return hops if hops and not value.endswith(b",") else [_NOBODY]


def _node(element: bytes) -> bytes:
    """The node of an element that is well formed. ``for`` twice, or inside another value, names no client."""
    nodes = _FOR.findall(element)
    if len(nodes) != 1 or element.lower().count(b"for=") != 1:
        return _NOBODY
    node = nodes[0][0] or nodes[0][1]
    return node if _NODE.fullmatch(node) else _NOBODY
