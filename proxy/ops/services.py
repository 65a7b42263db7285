"""What is served at each address: webhooks, where agents may come in as well, and plain TCP."""

from __future__ import annotations

import socket
from collections.abc import Callable

from proxy.config.admission import callers
from proxy.config.settings import Loaded, TcpSettings
from proxy.core.addresses import Peer
from proxy.net.admission import ConnectionSlots
from proxy.net.client import ClientConnection
from proxy.net.listener import Listener
from proxy.net.site import Site
from proxy.net.tcp_forward import TcpForward
from proxy.ops.agents import AgentParts
from proxy.ops.certificates import Certificates
from proxy.ops.listeners import ListenerSpec


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
        allow = callers(forward.allow, forward.deny)

        def serve_pipes(sock: socket.socket) -> TcpForward:
            return TcpForward(sock, site=self._site, slots=self._slots, upstream=forward.upstream, allow=allow)

        return ListenerSpec(forward.name, forward.listen, forward.upstream, serve_pipes)
