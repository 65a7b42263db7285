"""How TLS ends on our side: with the alert that is due, with ``close_notify``, and with a cause that is known.

Both loops drop what OpenSSL has written when it raises, so a client would see a bare end of the connection. The object
that they drive here asks them for more bytes instead of raising, upon which they send what is written. Then our side is
ended and what still comes is discarded, so that the alert is not lost to a reset, until the client has ended its side
or ``LINGER_S`` are over; ``tls_timeout`` holds as before. Nothing that a client sent is in what is told of it.

The first bytes are looked at before OpenSSL has them: plain HTTP is answered in plain HTTP, as nginx does.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable
from contextvars import ContextVar
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
