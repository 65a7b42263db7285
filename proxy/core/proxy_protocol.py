"""The PROXY protocol, versions 1 and 2: the client that a load balancer names (HAProxy, doc/proxy-protocol.txt).

Asked with the bytes that have been peeked so far. It says how long the header is, so that the shell takes exactly
those bytes off the socket and TLS or HTTP begins behind them. A listener is configured for the protocol or not: this
module never guesses, and never knows whether the peer may name others. That is the listener's check.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, Literal

from proxy.core.addresses import Peer
from proxy.errors import ProtocolError
from proxy.reasons import Reason
from proxy.values import frozen


class _More(Enum):
    NEED_MORE = "need more"


#: The bytes are a good beginning; the header has not ended.
NEED_MORE: Final = _More.NEED_MORE

V1_START = b"PROXY "
_V1_MAX = 107  # bytes with CRLF: the longest line of two full IPv6 addresses (section 2.1)

V2_START = b"\r\n\r\n\x00\r\nQUIT\n"
_V2_FIXED = 16
_V2_MAX = 4096  # bytes after the fixed part; a header that fills it carries a client certificate's names
_LOCAL = 0x20
_PROXY = 0x21
_UNSPEC = 0x00
_TCP4 = 0x11
_TCP6 = 0x21
_UNIX = 0x31
#: Length of the address block: two addresses, and two ports but for unix.
_ADDRESS_SIZE = {_TCP4: 12, _TCP6: 36, _UNIX: 216}
_TLV_CRC32C = 0x03


@frozen
class Header:
    """A whole header: ``length`` bytes to take off the connection, and the peer that it names.

    ``peer`` is None where the proxy speaks for itself (LOCAL, a health check) or does not know (UNKNOWN, UNSPEC):
    then there is no client.
    """

    length: int
    peer: Peer | None


def parse(buffer: bytes) -> Header | Literal[_More.NEED_MORE]:
    """Read the header that ``buffer`` begins with. Bytes behind it are not looked at.

    ProtocolError (``bad_request``, "proxy_header") as soon as the bytes cannot become a good header.
    """
    if buffer.startswith(V1_START):
        return _parse_v1(buffer)
    if buffer.startswith(V2_START):
        return _parse_v2(buffer)
    if V1_START.startswith(buffer) or V2_START.startswith(buffer):
        return NEED_MORE
    raise _broken()


def _broken() -> ProtocolError:
    return ProtocolError(Reason.BAD_REQUEST, "proxy_header")


def _parse_v1(buffer: bytes) -> Header | Literal[_More.NEED_MORE]:
    line, end, _ = buffer[:_V1_MAX].partition(b"\r\n")
    if not end:
        if len(line) == _V1_MAX or b"\n" in line or b"\r" in line[:-1]:
            raise _broken()
        return NEED_MORE
    if b"\r" in line or b"\n" in line:
        raise _broken()
    words = line.split(b" ")
    length = len(line) + 2
    if words[1] == b"UNKNOWN":
        return Header(length, None)
    if len(words) != 6 or words[1] not in {b"TCP4", b"TCP6"}:
        raise _broken()
    _, family, source, destination, source_port, destination_port = words
    _v1_peer(family, destination, destination_port)
    return Header(length, _v1_peer(family, source, source_port))


def _v1_peer(family: bytes, address: bytes, port: bytes) -> Peer:
    if not port.isdigit() or len(port) > 5 or (port[0] == 0x30 and port != b"0"):
        raise _broken()
    if (b":" in address) != (family == b"TCP6") or b"%" in address:
        raise _broken()
    try:
        return Peer.of(address.decode("ascii"), int(port))
    except ValueError:
        raise _broken() from None


def _parse_v2(buffer: bytes) -> Header | Literal[_More.NEED_MORE]:
    if len(buffer) > 12 and buffer[12] not in {_LOCAL, _PROXY}:
        raise _broken()
    if len(buffer) < _V2_FIXED:
        return NEED_MORE
    size = int.from_bytes(buffer[14:16], "big")
    if size > _V2_MAX:
        raise _broken()
    length = _V2_FIXED + size
    if len(buffer) < length:
        return NEED_MORE
    family = buffer[13]
    if buffer[12] == _LOCAL or family == _UNSPEC:
        return Header(length, None)
    # Datagrams and unknown families are refused too: there is no address to judge.
    tlvs = _V2_FIXED + _ADDRESS_SIZE.get(family, _V2_MAX + 1)
    if tlvs > length:
        raise _broken()
    _check_tlvs(buffer[:length], tlvs)
    return Header(length, _v2_peer(family, buffer))


def _v2_peer(family: int, buffer: bytes) -> Peer:
    if family == _UNIX:
        return Peer.unix()
    size = 4 if family == _TCP4 else 16
    port = _V2_FIXED + 2 * size
    return Peer.packed(buffer[_V2_FIXED : _V2_FIXED + size], int.from_bytes(buffer[port : port + 2], "big"))


#: For a connection of our own, without a client.
LOCAL = V2_START + bytes((_LOCAL, _UNSPEC, 0, 0))


def write_v2(source: Peer, destination: Peer | None) -> bytes:
    """The header of version 2 that speaks for ``source``, which connected to ``destination``; None or another family
    of it is written as the address that means none. For the peer of a unix socket it is ``LOCAL``.
    """
    if source.version == 0:
        return LOCAL
    size = 4 if source.version == 4 else 16
    to = destination if destination is not None and destination.version == source.version else None
    addresses = source.number.to_bytes(size, "big") + (0 if to is None else to.number).to_bytes(size, "big")
    ports = source.port.to_bytes(2, "big") + (0 if to is None else to.port).to_bytes(2, "big")
    block = addresses + ports
    return V2_START + bytes((_PROXY, _TCP4 if size == 4 else _TCP6)) + len(block).to_bytes(2, "big") + block


def header_for(source: Peer, sockname: object) -> bytes:
    """The same where the destination is the address of a socket, as ``getsockname`` gives it."""
    return write_v2(source, Peer.of(sockname[0], sockname[1]) if isinstance(sockname, tuple) else None)


def _check_tlvs(header: bytes, position: int) -> None:
    """Walk over the type-length-value fields (section 2.2); the checksum is the only one that is ours to read."""
    has_checksum = False
    while position < len(header):
        value = position + 3
        end = value + int.from_bytes(header[position + 1 : value], "big")
        if value > len(header) or end > len(header):
            raise _broken()
        if header[position] == _TLV_CRC32C:
            if has_checksum or end - value != 4:
                raise _broken()
            has_checksum = True
            # The sum covers the whole header with its own four bytes as zeros.
            if crc32c(header[:value] + bytes(4) + header[end:]) != int.from_bytes(header[value:end], "big"):
                raise _broken()
        position = end


def _crc32c_row(value: int) -> int:
    for _ in range(8):
        value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return value


_CRC32C = tuple(_crc32c_row(value) for value in range(256))


def crc32c(data: bytes) -> int:
    """The checksum of RFC 3309 (Castagnoli's polynomial), which ``zlib`` does not have."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC32C[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF
