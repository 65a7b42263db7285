"""Brings the metrics up to date before they are shown: what others count, and what is measured only when asked."""

from __future__ import annotations

from collections.abc import Sequence

from proxy.core.metrics import Metrics
from proxy.net.admission import ConnectionSlots
from proxy.net.site import Site
from proxy.net.sockets import dropped_packets
from proxy.net.tcp_forward import TcpForward
from proxy.ops.doors import Door


class Gauges:
    """Reads the site's own counters into the metrics of its worker."""

    def __init__(self, metrics: Metrics, site: Site, slots: ConnectionSlots) -> None:
        self._metrics = metrics
        self._slots = slots
        self._site = site
        metrics.started.set(site.clock.wall())

    def refresh(self, log_dropped: int, doors: Sequence[Door]) -> None:
        """Take over every number as it is now."""
        metrics, site = self._metrics, self._site
        metrics.log_dropped.reach(log_dropped)
        metrics.generation.set(site.policy.generation)
        metrics.in_flight.set(site.in_flight)
        metrics.buffered.set(site.budget.used)
        metrics.budget.set(site.budget.limit)
        metrics.waiting.set(site.budget.waiting)
        metrics.duplicates.set(len(site.duplicates.table))
        metrics.duplicate_failures.reach(site.duplicates.failures)
        counters = self._slots.counters
        metrics.accepted.reach(counters.accepted)
        refused = metrics.accept_refused
        refused.reach(counters.refused_address, "address")
        refused.reach(counters.refused_full, "connections")
        refused.reach(counters.refused_per_address, "connections_per_address")
        refused.reach(counters.refused_handshakes, "handshakes")
        refused.reach(counters.proxy_header_failed, "proxy_header")
        refused.reach(counters.tls_failed, "tls")
        metrics.accept_pauses.reach(counters.accept_paused)
        self._kernel(doors)
        metrics.connections.set(counters.open, "client")
        metrics.connections.set(counters.handshakes, "client_handshake")
        metrics.connections.set(site.pool.idle_connections(), "upstream_idle")
        metrics.connections.set(site.pool.lent_connections(), "upstream_busy")
        metrics.tls_handshakes.reach(counters.tls_done, "done")
        metrics.tls_handshakes.reach(counters.tls_failed, "failed")
        self._upstreams()
        self._secrets()
        for door in doors:
            if isinstance(door.server, TcpForward):
                self._forward(door.wanted.name, door.server)

    def _upstreams(self) -> None:
        metrics, pool = self._metrics, self._site.pool
        metrics.upstream_waiting.set(pool.waiting_dials())
        metrics.upstream_up.values.clear()
        for upstream, well in pool.conditions().items():
            metrics.upstream_up.set(well, upstream)

    def _secrets(self) -> None:
        gauge = self._metrics.secret_expiry
        gauge.values.clear()
        for route in self._site.policy.routes:
            for check in (route.signature, route.token):
                for secret in () if check is None else check.secrets:
                    if secret.not_after is not None:
                        gauge.set(secret.not_after, route.name, secret.name)

    def _kernel(self, doors: Sequence[Door]) -> None:
        metrics = self._metrics
        metrics.kernel_filters.set(sum(door.server.is_shielded for door in doors))
        metrics.kernel_dropped.set(sum(dropped_packets(door.bound.sock) for door in doors))

    def _forward(self, name: str, forward: TcpForward) -> None:
        metrics, counters = self._metrics, forward.counters
        metrics.tcp_open.set(counters.open, name)
        metrics.tcp_opened.reach(counters.opened, name)
        metrics.tcp_failed.reach(counters.dial_failed, name)
        metrics.tcp_bytes.reach(counters.bytes_in, name, "in")
        metrics.tcp_bytes.reach(counters.bytes_out, name, "out")
