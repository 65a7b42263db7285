"""Network addresses: who a peer is, and which peers a list admits.

An ``AddressSet`` is compiled once from its entries into merged, sorted ranges and asked by bisection, so that ten
thousand prefixes cost no more than a handful. IPv4-mapped IPv6 addresses (RFC 4291 section 2.5.5.2) are IPv4
everywhere: otherwise a dual-stack socket would show each IPv4 client under a second name. This module resolves no
names and reads no files.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from itertools import islice

from proxy.errors import Mistake
from proxy.values import frozen

#: First number after the ranges of IPv4 and IPv6.
_END4 = 1 << 32
_END6 = 1 << 128

#: A list of trusted proxies that is too wide must not turn a 16 KiB header into thousands of parses.
_MAX_HOPS = 64

_ENTRY_FORMS = "write an address (192.0.2.7), a network (192.0.2.0/24, 2001:db8::/32), 'unix:' or 'all'"


@frozen
class Peer:
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

    bounds4: tuple[int, ...]
    bounds6: tuple[int, ...]
    has_unix: bool

    @classmethod
    def empty(cls) -> AddressSet:
        """The set that admits nobody."""
        return cls((), (), has_unix=False)

    @classmethod
    def parse(cls, entries: Iterable[str]) -> AddressSet:
        """Compile the entries of a list: bare addresses, networks in CIDR form, ``unix:`` and ``all``.

        ``::/0`` means every IPv6 address and no IPv4 one. Mistake names the first entry that is wrong and how to
        mend it; nothing is guessed (host bits, netmasks and zone ids are errors).
        """
        ranges: dict[int, list[tuple[int, int]]] = {4: [], 6: []}
        has_unix = False
        for entry in map(str.strip, entries):
            if entry == "all":
                ranges[4].append((0, _END4))
                ranges[6].append((0, _END6))
            if entry in {"all", "unix:"}:
                has_unix = True
                continue
            version, first, end = _parse_network(entry)
            ranges[version].append((first, end))
        return cls(_merge(ranges[4]), _merge(ranges[6]), has_unix=has_unix)

    @classmethod
    def union(cls, sets: Iterable[AddressSet]) -> AddressSet:
        """One set that admits whom any of ``sets`` admits. For many sets, cheaper than ``|`` one by one."""
        parts = tuple(sets)
        return cls(
            _merge([pair for part in parts for pair in _pairs(part.bounds4)]),
            _merge([pair for part in parts for pair in _pairs(part.bounds6)]),
            has_unix=any(part.has_unix for part in parts),
        )

    def __contains__(self, peer: Peer) -> bool:
        if peer.version == 4:
            return bisect_right(self.bounds4, peer.number) & 1 == 1
        if peer.version == 6:
            return bisect_right(self.bounds6, peer.number) & 1 == 1
        return self.has_unix

    def __or__(self, other: AddressSet) -> AddressSet:
        return AddressSet.union((self, other))

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

    def __repr__(self) -> str:
        # Ten thousand bounds in a traceback or a log would hide what matters there.
        unix = " unix" if self.has_unix else ""
        return f"<AddressSet ipv4={len(self.bounds4) // 2} ipv6={len(self.bounds6) // 2}{unix}>"


def client_address(peer: Peer, forwarded_for: Sequence[bytes], trusted: AddressSet) -> Peer:
    """The client behind ``peer``: the right-most address of ``X-Forwarded-For`` that no trusted proxy owns.

    Takes the values of all its field lines in the order they came. Each address was written by the proxy to its
    right, so the walk goes on only as long as that proxy is trusted. What cannot be read, an empty item included,
    ends it at the last good address: whatever stands to the left may have been written by the sender.
    """
    client = peer
    for hop in islice(_hops(forwarded_for), _MAX_HOPS):
        if client not in trusted:
            break
        try:
            client = _parse_hop(hop)
        except ValueError:
            break
    return client


def _hops(values: Sequence[bytes]) -> Iterator[bytes]:
    for value in reversed(values):
        yield from reversed(value.split(b","))


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
        address = ip_address(text)
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


def _pairs(bounds: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    return zip(bounds[::2], bounds[1::2], strict=True)


def _merge(ranges: list[tuple[int, int]]) -> tuple[int, ...]:
    """Flat bounds of half-open ranges; those that overlap or touch become one."""
    bounds: list[int] = []
    for first, end in sorted(ranges):
        if bounds and first <= bounds[-1]:
            bounds[-1] = max(bounds[-1], end)
        else:
            bounds += first, end
    return tuple(bounds)
