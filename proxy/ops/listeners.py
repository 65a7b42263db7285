"""The listeners of a worker: what each serves, and those that are for the operator. A reload opens and closes by
difference.

A listener that stays as it was is not touched, so a reload loses no connection attempt. One whose service changes (TLS
on or off, another upstream of plain TCP) keeps its socket and gets a new server. New sockets are bound before anything
else changes: where that fails, nothing has. This module never knows what a policy says.
"""

from __future__ import annotations

import asyncio
import dataclasses
import socket
from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, TypeAlias

from proxy.config.admission import callers
from proxy.config.notation import ListenAddress
from proxy.config.settings import Loaded, TcpSettings
from proxy.core.addresses import Peer
from proxy.net.admission import ConnectionSlots
from proxy.net.client import ClientConnection
from proxy.net.http_server import HttpServer
from proxy.net.listener import Listener
from proxy.net.site import Site
from proxy.net.sockets import BoundSocket
from proxy.ops.optional import AgentParts, Certificates
from proxy.ops.places import WEBHOOKS, Held, ListenPlace, SocketStore, tcp
from proxy.values import frozen, mutable

if TYPE_CHECKING:
    from proxy.net.tcp_forward import TcpForward

#: What accepts on one socket.
Server: TypeAlias = "Listener | TcpForward"


@frozen
class ListenerSpec:
    """One address that is to be served. ``name`` is "" for webhooks, else that of the plain TCP forward.

    ``service`` says how it is served: where it is equal before and after a reload, the listener is left alone.
    """

    name: str
    address: ListenAddress
    service: Hashable
    make: Callable[[socket.socket], Server]

    @property
    def place(self) -> ListenPlace:
        """What makes it the same listener after a reload."""
        return ListenPlace(tcp(self.name) if self.name else WEBHOOKS, self.address)


@mutable
class ActiveListener:
    """One bound socket and its server."""

    spec: ListenerSpec
    bound: BoundSocket
    server: Server


class Listeners:
    """All listeners of one worker. ``unlink`` says whether the files of unix sockets are ours to remove."""

    def __init__(self, store: SocketStore, *, unlink: bool = True) -> None:
        """``store`` is where sockets come from."""
        self._store = store
        self.unlink = unlink
        self.open: list[ActiveListener] = []
        self._leaving: list[Server] = []

    def change(self, specs: Sequence[ListenerSpec]) -> None:
        """Serve exactly ``specs`` from now on. Raises ListenError, and then nothing has changed."""
        before = {listener.spec.place for listener in self.open}
        bound = self._store.take([one.place for one in specs if one.place not in before])
        now = {one.place: one for one in specs}
        kept: list[ActiveListener] = []
        for listener in self.open:
            one = now.get(listener.spec.place)
            if one is None:
                self._close(listener)
            else:
                kept.append(self._keep(listener, one))
        self.open = kept + [self._open(now[place], sock) for place, sock in bound]

    @staticmethod
    def _open(spec: ListenerSpec, bound: BoundSocket) -> ActiveListener:
        server = spec.make(bound.sock)
        server.start()
        return ActiveListener(spec, bound, server)

    def _keep(self, listener: ActiveListener, spec: ListenerSpec) -> ActiveListener:
        if listener.spec.service == spec.service:
            return ActiveListener(spec, listener.bound, listener.server)
        # The copy shares the kernel's queue: a connection that waits there is served by the new server.
        copy = dataclasses.replace(listener.bound, sock=listener.bound.sock.dup())
        copy.sock.setblocking(False)
        self._retire(listener.server)
        return self._open(spec, copy)

    def _close(self, listener: ActiveListener) -> None:
        self._retire(listener.server)
        listener.bound.close(unlink=self.unlink)

    def _retire(self, server: Server) -> None:
        server.stop()
        self._leaving.append(server)

    def take_queue(self) -> None:
        """Accept what waits in the queues: ``stop`` resets it where no other process has the socket."""
        for listener in self.open:
            listener.server.take_queue()

    def stop(self) -> None:
        """Accept nothing more, anywhere."""
        for listener in self.open:
            self._close(listener)
        self.open.clear()

    async def abandon(self) -> None:
        """End handshakes and pipes that are still under way."""
        await asyncio.gather(*(server.abandon() for server in self._leaving), return_exceptions=True)
        self._leaving.clear()


class OwnListeners:
    """Taken from ``store`` at the start, and served when what answers there is ready; all of them until the end."""

    def __init__(self, store: SocketStore, certificates: Certificates) -> None:
        self._store = store
        self._certificates = certificates
        self._servers: list[HttpServer] = []
        self.held: list[Held] = []

    def take(self, place: ListenPlace) -> None:
        """Have the sockets of one place. Raises ListenError."""
        self.held += self._store.take([place])

    @property
    def names(self) -> set[str]:
        """The names in our certificates, in lower case."""
        return {name for one in self._certificates.served for name in one.names}

    async def serve(self, use: str, server: HttpServer, *, secure: bool = False) -> None:
        """Have ``server`` answer at what was taken for ``use``; ``secure``: over TLS."""
        self._servers.append(server)
        tls = self._certificates.lasting_context() if secure else None
        for place, bound in self.held:
            if place.use == use:
                await server.listen(bound.sock, tls)

    def leave(self) -> None:
        """Take no new connections: another process serves the same sockets."""
        for server in self._servers:
            server.leave()

    def close(self, *, unlink: bool) -> None:
        """Drop what is open, and give the sockets back; ``unlink``: their files are ours to remove."""
        for server in self._servers:
            server.close()
        for _, bound in self.held:
            bound.close(unlink=unlink)


class Services:
    """Makes the specs of one worker's listeners."""

    def __init__(self, site: Site, slots: ConnectionSlots, certificates: Certificates, agents: AgentParts) -> None:
        self._site = site
        self._slots = slots
        self._certificates = certificates
        self._agents = agents

    def specs(self, loaded: Loaded, kind: int) -> list[ListenerSpec]:
        """What a load asks for. ``kind`` is that of the connections that come in from now on."""
        settings = loaded.settings
        secure, proxied = bool(settings.tls), settings.proxy_protocol == "require"
        service = (secure, proxied, kind, bool(settings.agents.rules))

        def make_connection(peer: Peer, *, secure: bool, on_close: Callable[[], None]) -> ClientConnection:
            return ClientConnection(self._site, peer, secure=secure, on_close=on_close, named=proxied, kind=kind)

        factory = self._agents.factory(loaded, make_connection)

        def serve_webhooks(sock: socket.socket) -> Listener:
            return Listener(
                sock,
                site=self._site,
                slots=self._slots,
                factory=factory,
                tls=self._certificates if secure else None,
                proxy_protocol=proxied,
            )

        specs = [ListenerSpec("", address, service, serve_webhooks) for address in settings.listen]
        return specs + [self._forward_spec(forward) for forward in settings.tcp]

    def _forward_spec(self, forward: TcpSettings) -> ListenerSpec:
        from proxy.net.tcp_forward import TcpForward

        allow = callers(forward.allow, forward.deny)

        def serve_pipes(sock: socket.socket) -> TcpForward:
            return TcpForward(sock, site=self._site, slots=self._slots, upstream=forward.upstream, allow=allow)

        return ListenerSpec(forward.name, forward.listen, forward.upstream, serve_pipes)
