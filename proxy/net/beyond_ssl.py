"""What TLS takes beyond the ssl module: reading certificates, and ends of connections that a client understands.

What a certificate says about itself (RFC 5280 section 4.1), for which names it stands and from when to when, the module
shows only of a peer's certificate that it has verified, and ours is not a peer's. So the few fields are read from the
DER bytes. Nothing is verified here and no key is seen: OpenSSL judges the certificate when it is loaded and when a
client meets it.

TLS ends on our side with the alert that is due, with ``close_notify``, and with a cause that is known. Both loops drop
what OpenSSL has written when it raises, so a client would see a bare end of the connection. The object that they drive
here asks them for more bytes instead of raising, upon which they send what is written. Then our side is ended and what
still comes is discarded, so that the alert is not lost to a reset, until the client has ended its side or ``LINGER_S``
are over; ``tls_timeout`` holds as before. Nothing that a client sent is in what is told of it. The first bytes are
looked at before OpenSSL has them: plain HTTP is answered in plain HTTP, as nginx does.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any

from proxy.core.setup_faults import (
    GONE,
    HTTP_ON_TLS,
    PROXY_ON_TLS,
    TIMEOUT,
    SetupFault,
    Spoken,
    client_certificate_fault,
    spoken,
    tls_fault,
)
from proxy.http1 import http_date
from proxy.net.clock import Clock
from proxy.net.sockets import close_by_reset
from proxy.values import frozen

_BEGIN = "-----BEGIN CERTIFICATE-----"
_END = "-----END CERTIFICATE-----"

# Tags of X.690: universal ones, and the context-specific ones of TBSCertificate and GeneralName.
_BOOLEAN = 0x01
_OCTET_STRING = 0x04
_OID = 0x06
_UTC_TIME = 0x17
_GENERALIZED_TIME = 0x18
_SEQUENCE = 0x30
_VERSION = 0xA0
_EXTENSIONS = 0xA3
_DNS_NAME = 0x82
_IP_ADDRESS = 0x87
_SUBJECT_ALT_NAME = bytes.fromhex("551d11")  # 2.5.29.17


NO_NAMES: frozenset[str] = frozenset()
#: A certificate that has no more than that left expires soon.
SOON_S = 14 * 86400.0


@frozen
class Certificate:
    """``names`` are the DNS names (lower case, maybe with ``*.``) and addresses of the subjectAltName extension;
    clients have looked at nothing else since 2017. Dates in seconds since the epoch.
    """

    names: tuple[str, ...]
    not_before: float
    not_after: float
    fingerprint: bytes = b""  # SHA-256 of its DER


@frozen
class Served:
    """A certificate and the names that it is served for, in lower case."""

    file: str
    names: tuple[str, ...]
    certificate: Certificate

    def state(self, now: float) -> str:
        """How its dates stand at ``now``: "valid", "expires_soon", "expired" or "not_yet_valid"."""
        if self.certificate.not_after <= now:
            return "expired"
        if self.certificate.not_before > now:
            return "not_yet_valid"
        return "expires_soon" if self.certificate.not_after - now < SOON_S else "valid"


def client_names(peer: Mapping[str, Any] | None) -> frozenset[str]:
    """The names of a certificate that OpenSSL has verified, in lower case: all of its subjectAltName, and its common
    names. ``peer`` is what ``SSLObject.getpeercert`` gives; empty or None where there is none.
    """
    if not peer:
        return NO_NAMES
    names = [value for _, value in peer.get("subjectAltName", ()) if isinstance(value, str)]
    names += [value for rdn in peer.get("subject", ()) for key, value in rdn if key == "commonName"]
    return frozenset(name.lower() for name in names)


def read_certificate(pem: str) -> Certificate:
    """The first certificate of a PEM file: a chain begins with the server's own. ValueError where there is none."""
    begin = pem.find(_BEGIN)
    end = pem.find(_END, begin)
    if begin < 0 or end < 0:
        raise ValueError("no certificate in PEM form")
    return parse_certificate(ssl.PEM_cert_to_DER_cert(pem[begin : end + len(_END)]))


def parse_certificate(der: bytes) -> Certificate:
    """A certificate in DER form. ValueError where the bytes are none."""
    [(_, certificate)] = _only(_items(der), _SEQUENCE)
    fields = list(_items(_first(certificate, _SEQUENCE)))
    if fields and fields[0][0] == _VERSION:
        del fields[0]
    if len(fields) < 6:
        raise ValueError("the certificate ends too early")
    # serialNumber, signature, issuer, validity, subject, subjectPublicKeyInfo
    times = list(_items(fields[3][1]))
    if len(times) != 2:
        raise ValueError("the certificate's validity is broken")
    extensions = [value for tag, value in fields[6:] if tag == _EXTENSIONS]
    names = _names(extensions[0]) if extensions else ()
    return Certificate(tuple(names), _time(*times[0]), _time(*times[1]), hashlib.sha256(der).digest())


def _items(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The (tag, content) pairs of a constructed value."""
    at = 0
    while at < len(data):
        if at + 2 > len(data) or data[at] & 0x1F == 0x1F:
            raise ValueError("broken DER")
        tag, length = data[at], data[at + 1]
        at += 2
        if length & 0x80:
            size = length & 0x7F
            if not 1 <= size <= 4:
                raise ValueError("broken DER")
            length = int.from_bytes(data[at : at + size], "big")
            at += size
        if at + length > len(data):
            raise ValueError("broken DER")
        yield tag, data[at : at + length]
        at += length


def _only(items: Iterator[tuple[int, bytes]], tag: int) -> list[tuple[int, bytes]]:
    found = list(items)
    if len(found) != 1 or found[0][0] != tag:
        raise ValueError("broken DER")
    return found


def _first(data: bytes, tag: int) -> bytes:
    for found, content in _items(data):
        if found != tag:
            break
        return content
    raise ValueError("broken DER")


def _names(extensions: bytes) -> Iterator[str]:
    for _, extension in _items(_first(extensions, _SEQUENCE)):
        parts = [part for part in _items(extension) if part[0] != _BOOLEAN]  # without ``critical``
        if len(parts) == 2 and parts[0] == (_OID, _SUBJECT_ALT_NAME) and parts[1][0] == _OCTET_STRING:
            for tag, value in _items(_first(parts[1][1], _SEQUENCE)):
                if tag == _DNS_NAME:
                    yield value.decode("ascii").lower()
                elif tag == _IP_ADDRESS:
                    yield str(ip_address(value))


def _time(tag: int, content: bytes) -> float:
    forms = {_UTC_TIME: "%y%m%d%H%M%SZ", _GENERALIZED_TIME: "%Y%m%d%H%M%SZ"}
    if tag not in forms:
        raise ValueError("the certificate's validity is broken")
    moment = datetime.strptime(content.decode("ascii"), forms[tag]).replace(tzinfo=UTC)
    if tag == _UTC_TIME and moment.year >= 2050:
        # RFC 5280 section 4.1.2.5.1: two digits of 50 and above are of the last century; strptime turns at 69.
        moment = moment.replace(year=moment.year - 100)
    return moment.timestamp()


#: After an alert, what still comes is discarded for at most this long and this much.
LINGER_S = 2.0
LINGER_BYTES = 1024 * 1024

_PLAIN_TEXT = b"This port speaks TLS, and plain HTTP came: write https:// instead of http://.\n"

#: What ``ssl`` raises where nothing is wrong.
_NO_FAILURE = (ssl.SSLWantReadError, ssl.SSLZeroReturnError)


class Link:
    """One connection under TLS: its socket, and why TLS failed on it. ``tell`` is given that, once."""

    __slots__ = ("_loop", "_sock", "_tell", "discarded", "fault", "heard")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, sock: socket.socket, tell: Callable[[SetupFault], None]
    ) -> None:
        self._loop = loop
        self._sock = sock
        self._tell = tell
        self.fault: SetupFault | None = None
        self.heard = False  # a byte has come
        self.discarded = 0

    def failed(self, fault: SetupFault) -> None:
        """TLS is over, and what is to be said of it to the client is written."""
        self.fault = fault
        self._tell(fault)
        # uvloop sends what it is given at the end of the loop's turn.
        self._loop.call_soon(self._loop.call_soon, self._shut, socket.SHUT_WR)
        self._loop.call_later(LINGER_S, self._cut)

    def discard(self, size: int) -> None:
        """Bytes have come of which nothing is read any more."""
        self.discarded += size
        if self.discarded > LINGER_BYTES:
            self._cut()

    def _cut(self) -> None:
        close_by_reset(self._sock)
        self._shut(socket.SHUT_RDWR)  # the loop reads an end, and closes

    def _shut(self, sides: int) -> None:
        with contextlib.suppress(OSError):  # it is closed already
            self._sock.shutdown(sides)


#: The connection that a task sets up: both loops wrap it in the context of that task.
LINK: ContextVar[Link | None] = ContextVar("link", default=None)


class ServerSide(ssl.SSLObject):
    """OpenSSL's side of a connection that a client began. Without a link it is as any other."""

    _link: Link | None = None
    _incoming: ssl.MemoryBIO
    _outgoing: ssl.MemoryBIO
    _first: bytes | None = b""  # as long as it is not known what they are
    _spoken: Spoken = Spoken.UNDECIDED

    def join(self, link: Link | None, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> None:
        """It is the TLS of ``link``, reads from ``incoming`` and writes to ``outgoing``."""
        self._link = link
        self._incoming = incoming
        self._outgoing = outgoing

    def do_handshake(self) -> None:
        """One step of the handshake. SSLWantReadError as long as there are others, and where it has failed."""
        link = self._link
        if link is None:
            super().do_handshake()
            return
        if self._incoming.pending:
            link.heard = True
            if self._first is not None:
                self._look(link, self._first + self._incoming.read())
        self._check(link)
        try:
            super().do_handshake()
        except _NO_FAILURE:
            raise
        except ssl.SSLError as error:
            fault = PROXY_ON_TLS if self._spoken is Spoken.PROXY else fault_of(error)
            link.failed(fault)
            raise ssl.SSLWantReadError from None

    def _look(self, link: Link, first: bytes) -> None:
        """See what the first bytes are. What may be TLS, or nothing that is known, is OpenSSL's to judge."""
        self._spoken = spoken(first)
        if self._spoken is Spoken.UNDECIDED:
            self._first = first
            raise ssl.SSLWantReadError
        self._first = None
        if self._spoken is Spoken.HTTP:
            self._outgoing.write(plain_answer(head_only=first.startswith(b"HEAD ")))
            link.failed(HTTP_ON_TLS)
            raise ssl.SSLWantReadError
        self._incoming.write(first)

    def read(self, len: int = 1024, buffer: Any = None) -> Any:  # noqa: A002 - the name that it overrides
        """What a client sent. SSLWantReadError where there is nothing, and where TLS has failed."""
        link = self._link
        if link is None:
            return super().read(len, buffer)
        self._check(link)
        try:
            return super().read(len, buffer)
        except _NO_FAILURE:
            raise
        except ssl.SSLError as error:
            link.failed(fault_of(error, ", after the handshake"))
            raise ssl.SSLWantReadError from None

    def _check(self, link: Link) -> None:
        if link.fault is not None:
            link.discard(len(self._incoming.read()))
            raise ssl.SSLWantReadError


class ServerContext(ssl.SSLContext):
    """A context whose connections end as this module says."""

    sslobject_class = ServerSide
    fingerprint = b""  # the SHA-256 of its certificate, in DER

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,  # noqa: FBT001, FBT002 - the loops call it so
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """The loops' call."""
        made = super().wrap_bio(incoming, outgoing, server_side, server_hostname, session)
        assert isinstance(made, ServerSide)
        made.join(LINK.get(), incoming, outgoing)
        return made


def say_end(transport: asyncio.Transport) -> None:
    """Tell the client by ``close_notify`` that nothing further comes; what it sends is read as before."""
    connection = transport.get_extra_info("ssl_object")
    if connection is None:
        return
    with contextlib.suppress(ssl.SSLError):  # all is read
        while connection.read(LINGER_BYTES):  # discarded; behind our end OpenSSL would take it for a failure
            pass
    with contextlib.suppress(ssl.SSLError):  # its own end has not come
        connection.unwrap()
    # Nothing else makes a loop send what it has not written itself.
    transport.pause_reading()
    transport.resume_reading()


def plain_answer(*, head_only: bool) -> bytes:
    """What a client is told, without TLS, that speaks plain HTTP where TLS is spoken. It has the same text for all."""
    head = (
        "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nCache-Control: no-store\r\n"
        f"Connection: close\r\nDate: {http_date(int(Clock.wall()))}\r\nContent-Length: {len(_PLAIN_TEXT)}\r\n\r\n"
    )
    return head.encode("ascii") + (b"" if head_only else _PLAIN_TEXT)


def fault_of(error: OSError, when: str = "") -> SetupFault:
    """Why a connection's TLS failed; ``when`` is put behind OpenSSL's words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return client_certificate_fault(error.verify_message + when)
    if isinstance(error, ssl.SSLError):
        return tls_fault(getattr(error, "reason", None) or "", when)
    return TIMEOUT if isinstance(error, ConnectionAbortedError) else GONE
