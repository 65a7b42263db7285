"""A listener for webhooks: accept, address, (PROXY header, address), TLS, hand over (design.md, section 2).

A peer that is refused before the hand-over is reset, counted and noted. Where TLS fails the client gets its alert, and
the cause is noted too; the notes of a minute are one line, for a scan must not fill a disk.
The listener knows no HTTP. What it hands over to is made by the factory, called only for connections that came
through every check of addresses.

The factory's protocol owns its slot from ``connection_made`` on and gives it back by calling ``on_close`` in
``connection_lost``. Where the TLS handshake fails, neither is called and the listener gives it back: so a protocol
must not enter itself anywhere in its constructor, which runs before the handshake.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from functools import partial
from ssl import SSLContext
from typing import Protocol

from proxy.core.addresses import AddressSet, Peer
from proxy.core.setup_faults import NAMED_NOT_LISTED, NO_TRUSTED_PROXY, NOT_LISTED, SetupFault
from proxy.errors import ProtocolError
from proxy.net.acceptor import Acceptor, SettingUp
from proxy.net.admission import ConnectionSlot, ConnectionSlots, PolicyHolder
from proxy.net.proxy_peek import BalancerCheck, header_fault, says_more, take_header
from proxy.net.sockets import reset
from proxy.net.tls_end import LINK, Link, fault_of


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


class Listener:
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
        self._site = site
        self._slots = slots
        self._factory = factory
        self._tls = tls
        self._proxied = proxy_protocol
        self._setting_up = SettingUp("a connection could not be set up")
        self._acceptor = Acceptor(
            sock,
            site=site,
            slots=slots,
            gate=self._trusted_proxies if proxy_protocol else self._admission,
            outside=NO_TRUSTED_PROXY if proxy_protocol else NOT_LISTED,
            hand_over=self._take_over_proxied if proxy_protocol else self._take_over if tls else self._join,
            charge=not proxy_protocol,
        )

    def start(self) -> None:
        """Begin to accept on the running loop."""
        self._acceptor.start()

    def take_queue(self) -> None:
        """Accept what has connected already, before a drain."""
        self._acceptor.take_queue()

    def stop(self) -> None:
        """Stop accepting, at once (drain). Accepted connections, and handshakes under way, live on."""
        self._acceptor.stop()

    def shield(self, *, on: bool) -> None:
        """Let the kernel drop addresses that the policy does not admit now, or stop that. To be called again after a
        change of the policy. With PROXY headers it drops nothing: the kernel cannot see the addresses inside them.
        """
        self._acceptor.shield(on=on and not self._proxied)

    @property
    def is_shielded(self) -> bool:
        """Whether the kernel does."""
        return self._acceptor.is_shielded

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
        self._setting_up.begin(self._hand_over(sock, peer, slot, self._factory), slot)

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
            await self._hand_over(sock, proxy, slot, self._make_check)
        elif not policy.may_arrive(peer):
            counters.refused_address += 1
            self._slots.note(NAMED_NOT_LISTED, peer.text)
            slot.release()
            reset(sock)
        elif not slot.charge(peer, policy, named=True):
            reset(sock)
        else:
            await self._hand_over(sock, peer, slot, self._factory)

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

    async def _hand_over(
        self, sock: socket.socket, peer: Peer, slot: ConnectionSlot, factory: ConnectionFactory
    ) -> None:
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
