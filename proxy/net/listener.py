"""A listener for webhooks: accept, address, (PROXY header, address), TLS, hand over (design.md, section 2).

A peer that is refused before the hand-over is reset, counted and noted. Where TLS fails the client gets its alert, and
the cause is noted too; the notes of a minute are one line, for a scan must not fill a disk. The listener knows no HTTP.
What it hands over to is made by the factory, called only for connections that came through every check of addresses.

The factory's protocol owns its slot from ``connection_made`` on and gives it back by calling ``on_close`` in
``connection_lost``. Where the TLS handshake fails, neither is called and the listener gives it back: so a protocol
must not enter itself anywhere in its constructor, which runs before the handshake.

Of a PROXY header (HAProxy, doc/proxy-protocol.txt) not one byte more is taken than belongs to it: what follows is the
client's TLS or HTTP, which a transport made later must find untouched. So bytes are peeked (MSG_PEEK), judged by
``core.proxy_protocol``, and only what belongs to the header is taken. A beginning of a header belongs to it whole, so
it is taken at once: left in the socket, it would keep the loop awake until the rest comes.

Where the header names no client (LOCAL, UNKNOWN, UNSPEC), a load balancer asks for itself: that is how its health
checks look, so it is answered and never judged: neither the load balancer's own address nor any other admits it, and no
byte goes to an upstream. A check by HTTP hears 200 where its method is a safe one. All else is reset and counted, for a
balancer that does not know its clients (HAProxy's frontends on unix sockets write UNKNOWN) must not have their
deliveries told 200.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from functools import partial
from ssl import SSLContext
from typing import Protocol, cast

from proxy.core.addresses import AddressSet, Peer
from proxy.core.proxy_protocol import NEED_MORE, Header, parse
from proxy.core.setup_faults import (
    BROKEN_HEADER,
    HTTP_FOR_HEADER,
    LATE_HEADER,
    NAMED_NOT_LISTED,
    NO_CLIENT,
    NO_HEADER,
    NO_TRUSTED_PROXY,
    NOT_LISTED,
    TLS_FOR_HEADER,
    SetupFault,
    Spoken,
    spoken,
)
from proxy.errors import ProtocolError
from proxy.net.acceptor import Acceptor, SettingUp
from proxy.net.admission import ConnectionSlot, ConnectionSlots, PolicyHolder
from proxy.net.beyond_ssl import LINK, Link, fault_of
from proxy.net.sockets import abort, reset


class ConnectionFactory(Protocol):
    """Makes the protocol of an accepted connection. ``on_close`` is to be called exactly once, when it is lost."""

    def __call__(self, peer: Peer, *, secure: bool, on_close: Callable[[], None]) -> asyncio.BaseProtocol:
        """The protocol for a connection of ``peer``, with TLS where ``secure``."""
        ...


class ContextSource(Protocol):
    """Gives the TLS context for the next connection (``net.tls.TlsContexts``)."""

    @property
    def context(self) -> SSLContext:
        """The context for the next connection."""
        ...


class Listener(Acceptor):
    """Accepts from one listening socket, which it owns from now on.

    ``slots`` are shared with all listeners of the worker. ``tls`` None is plain HTTP. With ``proxy_protocol`` only
    trusted proxies may connect, and each must begin with a PROXY header; the address inside it is then judged like any
    other, and is final. Where the header names none, it is the load balancer's own check (``BalancerCheck``).
    """

    def __init__(
        self,
        sock: socket.socket,
        *,
        site: PolicyHolder,
        slots: ConnectionSlots,
        factory: ConnectionFactory,
        tls: ContextSource | None = None,
        proxy_protocol: bool = False,
    ) -> None:
        super().__init__(
            sock,
            site=site,
            slots=slots,
            gate=self._trusted_proxies if proxy_protocol else self._admission,
            outside=NO_TRUSTED_PROXY if proxy_protocol else NOT_LISTED,
            hand_over=self._take_over_proxied if proxy_protocol else self._take_over if tls else self._join,
            charge=not proxy_protocol,
        )
        self._factory = factory
        self._tls = tls
        self._proxied = proxy_protocol
        self._setting_up = SettingUp("a connection could not be set up")

    def shield(self, *, on: bool) -> None:
        """Let the kernel drop addresses that the policy does not admit now, or stop that. To be called again after a
        change of the policy. With PROXY headers it drops nothing: the kernel cannot see the addresses inside them.
        """
        super().shield(on=on and not self._proxied)

    @property
    def setting_up(self) -> int:
        """Connections whose PROXY header or TLS handshake is under way. Each ends by its own deadline."""
        return len(self._setting_up)

    async def abandon(self) -> None:
        """End what is still setting up, for the end of a drain. Returns when nothing is left."""
        self.stop()
        await self._setting_up.abandon()

    def _admission(self) -> AddressSet | None:
        return self._site.policy.admission

    def _trusted_proxies(self) -> AddressSet:
        return self._site.policy.trusted_proxies

    def _take_over(self, sock: socket.socket, peer: Peer, slot: ConnectionSlot) -> None:
        self._setting_up.begin(self._pass_on(sock, peer, slot, self._factory), slot)

    def _take_over_proxied(self, sock: socket.socket, peer: Peer, slot: ConnectionSlot) -> None:
        self._setting_up.begin(self._unwrap(sock, peer, slot), slot)

    async def _unwrap(self, sock: socket.socket, proxy: Peer, slot: ConnectionSlot) -> None:
        """Take the PROXY header and judge the address that it names."""
        counters = self._slots.counters
        try:
            header = await take_header(sock)
            check = header is not None and self._is_check(header.peer, proxy)
            gone = header is None or (check and not await says_more(sock))
        except (ProtocolError, OSError) as error:  # TimeoutError is an OSError
            counters.proxy_header_failed += 1
            self._slots.note(header_fault(error), proxy.text)
            slot.release()
            reset(sock)
            return
        except asyncio.CancelledError:
            reset(sock)
            raise
        policy = self._site.policy
        peer = None if header is None else header.peer
        if gone:
            slot.release()
            reset(sock)
        elif check or peer is None:
            await self._pass_on(sock, proxy, slot, self._make_check)
        elif not policy.may_arrive(peer):
            counters.refused_address += 1
            self._slots.note(NAMED_NOT_LISTED, peer.text)
            slot.release()
            reset(sock)
        elif not slot.charge(peer, policy, named=True):
            reset(sock)
        else:
            await self._pass_on(sock, peer, slot, self._factory)

    def _is_check(self, named: Peer | None, proxy: Peer) -> bool:
        """Whether a load balancer speaks for itself. In version 1, HAProxy's checks name its own address, as a client
        on its host would: that is a check unless the address is listed.
        """
        allow = self._site.policy.allow
        return named is None or (named.text == proxy.text and allow is not None and named not in allow)

    def _make_check(self, peer: Peer, *, secure: bool, on_close: Callable[[], None]) -> BalancerCheck:
        del secure
        return BalancerCheck(self._slots, peer, on_close)

    def _join(
        self, sock: socket.socket, peer: Peer, slot: ConnectionSlot, factory: ConnectionFactory | None = None
    ) -> None:
        """Hand over without TLS."""
        factory = factory or self._factory
        made = asyncio.get_running_loop().connect_accepted_socket(
            lambda: factory(peer, secure=False, on_close=slot.release), sock
        )
        self._setting_up.join(made, sock, slot)

    async def _pass_on(self, sock: socket.socket, peer: Peer, slot: ConnectionSlot, factory: ConnectionFactory) -> None:
        tls = self._tls
        if tls is None:
            self._join(sock, peer, slot, factory)
            return
        policy = self._site.policy
        if not slot.begin_handshake(peer, policy):
            reset(sock)
            return
        try:
            protocol = factory(peer, secure=True, on_close=slot.release)
        except BaseException:
            reset(sock)
            slot.end_handshake()
            raise
        loop = asyncio.get_running_loop()
        link = Link(loop, sock, partial(self._note, peer))
        LINK.set(link)
        try:
            transport, _ = await loop.connect_accepted_socket(
                lambda: protocol,
                sock,
                ssl=tls.context,
                ssl_handshake_timeout=policy.server.tls_timeout_s,
                # Closing flushes first: a slow reader has the time that it has for any write.
                ssl_shutdown_timeout=policy.limits.write_timeout_s,
            )
        except OSError as error:  # ssl.SSLError, resets and the deadline are all of this kind
            error.__traceback__ = None  # asyncio's frames hold the future that holds it: a cycle for the collector
            self._tls_failed(slot, peer, link, error)
            return
        finally:
            slot.end_handshake()
        if transport.get_extra_info("ssl_object") is None:
            # Lost in the handshake without an error: connection_made was not called and never will be.
            self._tls_failed(slot, peer, link, ConnectionResetError())
        else:
            self._slots.counters.tls_done += 1

    def _tls_failed(self, slot: ConnectionSlot, peer: Peer, link: Link, error: OSError) -> None:
        slot.release()
        # A client that ends without a byte looks whether the port is open: load balancers do so every few seconds.
        if link.fault is None and not link.heard and not isinstance(error, ConnectionAbortedError):
            return
        self._slots.counters.tls_failed += 1
        if link.fault is None:
            self._note(peer, fault_of(error))

    def _note(self, peer: Peer, fault: SetupFault) -> None:
        self._slots.counters.tls_faults[fault.word] += 1
        self._slots.note(fault, peer.text)


#: A whole header is sent in one piece by every load balancer; the specification asks for at least 3 s.
HEADER_TIMEOUT_S = 5.0

#: More than the longest header (16 + 4096 bytes), so that one look nearly always is enough.
_PEEK_BYTES = 4200


_FAULTS = {Spoken.TLS.value: TLS_FOR_HEADER, Spoken.HTTP.value: HTTP_FOR_HEADER, Spoken.PROXY.value: BROKEN_HEADER}


def header_fault(error: Exception) -> SetupFault:
    """What was wrong where ``take_header`` has raised ``error``."""
    if isinstance(error, ProtocolError):
        return _FAULTS.get(error.detail, NO_HEADER)
    return LATE_HEADER if isinstance(error, TimeoutError) else BROKEN_HEADER


async def take_header(sock: socket.socket, timeout_s: float = HEADER_TIMEOUT_S) -> Header | None:
    """Wait for the whole header and take it; None where the peer goes without a byte, as a probe of the port
    does. ``sock`` is non-blocking and has no transport.

    Raises ProtocolError for what is no header (its detail says what it is), TimeoutError where it is late, OSError
    where the peer is gone.
    """
    async with asyncio.timeout(timeout_s):
        taken = b""
        while True:
            seen = await _peek(sock)
            if not seen and not taken:
                return None
            if not seen:
                raise ConnectionResetError("closed before the header was whole")
            try:
                header = parse(taken + seen)
            except ProtocolError as error:
                raise ProtocolError(error.reason, spoken(taken + seen).value) from None
            mine = len(seen) if header is NEED_MORE else header.length - len(taken)
            taken += sock.recv(mine)
            if header is not NEED_MORE:
                return header


async def says_more(sock: socket.socket, timeout_s: float = HEADER_TIMEOUT_S) -> bool:
    """Wait for what follows a header, and leave it there; False where nothing does."""
    try:
        async with asyncio.timeout(timeout_s):
            return bool(await _peek(sock))
    except TimeoutError:
        return False


async def _peek(sock: socket.socket) -> bytes:
    try:
        return sock.recv(_PEEK_BYTES, socket.MSG_PEEK)
    except BlockingIOError:
        await _readable(sock)
        return await _peek(sock)
    except ConnectionResetError:
        return b""


async def _readable(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_reader(sock, _wake, ready)
    try:
        await ready
    finally:
        # The descriptor must be free of the loop before a transport takes it.
        loop.remove_reader(sock)


def _wake(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


#: Longer than any check waits.
CHECK_TIMEOUT_S = 5.0
#: Of a check's head, which has a few fields.
CHECK_HEAD_BYTES = 4096
_ASKS = (b"OPTIONS ", b"GET ", b"HEAD ")
_WELL = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n"


class BalancerCheck(asyncio.Protocol):
    """The protocol of one check. ``on_close`` is called once, when its connection is gone."""

    def __init__(self, slots: ConnectionSlots, proxy: Peer, on_close: Callable[[], None]) -> None:
        self._slots = slots
        self._proxy = proxy
        self._on_close = on_close
        self._transport: asyncio.Transport | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._head = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The header was taken, and TLS is there where it is due."""
        self._transport = cast("asyncio.Transport", transport)
        self._deadline = asyncio.get_running_loop().call_later(CHECK_TIMEOUT_S, self._end)

    def data_received(self, data: bytes) -> None:
        """Answer a whole head; anything that is none waits for its end or the deadline."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        self._head += data
        if self._head.startswith(_ASKS) and b"\r\n\r\n" in self._head:
            transport.write(_WELL)
            transport.close()
        elif b"\r\n\r\n" in self._head or len(self._head) > CHECK_HEAD_BYTES:
            self._slots.counters.proxy_header_failed += 1
            self._slots.note(NO_CLIENT, self._proxy.text)
            self._end()

    def connection_lost(self, exc: Exception | None) -> None:
        """The check has what it wanted, or was ended."""
        del exc
        if self._deadline is not None:
            self._deadline.cancel()
        self._transport = self._deadline = None
        self._on_close()

    def _end(self) -> None:
        if self._transport is not None:
            abort(self._transport, self._transport.get_extra_info("socket"))
