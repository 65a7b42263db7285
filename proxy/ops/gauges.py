"""Brings the metrics up to date before they are shown: what others count, and what is measured only when asked."""

from __future__ import annotations

from collections.abc import Sequence

from proxy.core import metric_families as of
from proxy.core.metrics import Metrics
from proxy.net.admission import ConnectionSlots
from proxy.net.site import Site
from proxy.net.sockets import dropped_packets
from proxy.net.tcp_forward import TcpForward
from proxy.ops.listeners import ActiveListener


class Gauges:
    """Reads the site's own counters into the metrics of its worker."""

    def __init__(self, metrics: Metrics, site: Site, slots: ConnectionSlots) -> None:
        self._metrics = metrics
        self._slots = slots
        self._site = site
        metrics.set(of.STARTED, site.clock.wall())

    def refresh(self, log_dropped: int, listeners: Sequence[ActiveListener]) -> None:
        """Take over every number as it is now."""
        put, site, counters = self._metrics.set, self._site, self._slots.counters
        put(of.LOG_DROPPED, log_dropped)
        put(of.GENERATION, site.policy.generation)
        put(of.IN_FLIGHT, site.in_flight)
        put(of.BUFFERED, site.budget.used)
        put(of.BUDGET, site.budget.limit)
        put(of.WAITING, site.budget.waiting)
        put(of.DUPLICATES, len(site.duplicates.table))
        put(of.DUPLICATE_FAILURES, site.duplicates.failures)
        if site.queue is not None:
            site.queue.measure()
        put(of.ACCEPTED, counters.accepted)
        put(of.ACCEPT_REFUSED, counters.refused_address, "address")
        put(of.ACCEPT_REFUSED, counters.refused_full, "connections")
        put(of.ACCEPT_REFUSED, counters.refused_per_address, "connections_per_address")
        put(of.ACCEPT_REFUSED, counters.refused_handshakes, "handshakes")
        put(of.ACCEPT_REFUSED, counters.proxy_header_failed, "proxy_header")
        put(of.ACCEPT_REFUSED, counters.tls_failed, "tls")
        put(of.ACCEPT_PAUSES, counters.accept_paused)
        put(of.KERNEL_FILTERS, sum(listener.server.is_shielded for listener in listeners))
        put(of.KERNEL_DROPPED, sum(dropped_packets(listener.bound.sock) for listener in listeners))
        put(of.CONNECTIONS, counters.open, "client")
        put(of.CONNECTIONS, counters.handshakes, "client_handshake")
        put(of.CONNECTIONS, site.pool.idle_connections(), "upstream_idle")
        put(of.CONNECTIONS, site.pool.lent_connections(), "upstream_busy")
        put(of.TLS_HANDSHAKES, counters.tls_done, "done")
        put(of.TLS_HANDSHAKES, counters.tls_failed, "failed")
        for word, count in counters.tls_faults.items():
            put(of.TLS_FAILURES, count, word)
        put(of.UPSTREAM_WAITING, site.pool.waiting_dials())
        self._metrics.replace(of.TURN_WAITING, site.turnstiles.waiting())
        conditions = site.pool.endpoints.conditions()
        self._metrics.replace(of.UPSTREAM_UP, {(name,): well for name, well in conditions.items()})
        self._metrics.replace(of.SECRET_EXPIRY, self._secrets())
        for listener in listeners:
            if isinstance(listener.server, TcpForward):
                self._forward(listener.spec.name, listener.server)

    def _secrets(self) -> dict[tuple[str, ...], float]:
        return {
            (route.name, secret.name): secret.not_after
            for route in self._site.policy.routes
            for check in (route.signature, route.token)
            if check is not None
            for secret in check.secrets
            if secret.not_after is not None
        }

    def _forward(self, name: str, forward: TcpForward) -> None:
        put, counters = self._metrics.set, forward.counters
        put(of.TCP_OPEN, counters.open, name)
        put(of.TCP_OPENED, counters.opened, name)
        put(of.TCP_FAILED, counters.dial_failed, name)
        put(of.TCP_BYTES, counters.bytes_in, name, "in")
        put(of.TCP_BYTES, counters.bytes_out, name, "out")
