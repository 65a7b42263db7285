"""What a worker does now, in numbers and as one JSON document for the operator: the configuration in force and the
state of its parts.

Secrets are names and dates, never values; a store's URL, which may hold a password, is left out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from proxy.config.settings import Loaded, Settings
from proxy.core import metric_families as of
from proxy.core.metric_families import SECRET_USED, SECRET_USES, SET_AGE, SET_PREFIXES, WORKERS
from proxy.core.metrics import Snapshot
from proxy.core.policy import Endpoint, Policy, Route
from proxy.core.signing.scheme import Secret
from proxy.errors import dotted
from proxy.net.admission import ConnectionSlots
from proxy.net.beyond_ssl import Served
from proxy.net.listener import Listener
from proxy.net.site import Site
from proxy.net.sockets import dropped_packets
from proxy.net.tls import certificate_notes
from proxy.ops.listeners import ActiveListener
from proxy.ops.places import advice

if TYPE_CHECKING:
    from proxy.net.tcp_forward import TcpForward

Json = dict[str, object]


def configuration(policy: Policy, settings: Settings) -> Json:
    """The effective configuration of the process; the routes stand by themselves."""
    return {
        "path": settings.config_path,
        "listen": [str(address) for address in settings.listen],
        "admin": None if settings.admin is None else str(settings.admin),
        "console": None if settings.console is None else str(settings.console.listen),
        "workers": settings.workers,
        "exposure": policy.exposure.value,
        "proxy_protocol": settings.proxy_protocol,
        "trusted_proxies": len(policy.trusted_proxies),
        "admitted_at_accept": "all" if policy.admission is None else len(policy.admission),
        "drain_s": settings.drain_s,
        "log_format": settings.log_format,
        "log_level": settings.log_level,
        "access_log": settings.access_log,
        "state_dir": settings.state_dir,
        "kernel_filter": settings.kernel_filter,
        "duplicates": settings.duplicates.store,
        "tcp": [
            {"name": one.name, "listen": str(one.listen), "upstream": str(one.upstream).removeprefix("http://")}
            for one in settings.tcp
        ],
        "limits": {**dataclasses.asdict(policy.limits), **dataclasses.asdict(policy.server)},
        "set_by": {dotted(path): str(place) for path, place in settings.sources.items()},
    }


def routes(policy: Policy, well: Mapping[str, bool], snapshot: Snapshot) -> list[Json]:
    """Every route; ``well`` says of upstreams that were used whether they are, ``snapshot`` what was counted."""
    return [_route(route, well, snapshot) for route in policy.routes]


def _route(route: Route, well: Mapping[str, bool], snapshot: Snapshot) -> Json:
    found: Json = {
        "name": route.name,
        "path": route.shown_path,
        "exact": route.exact,
        "methods": sorted(method.decode("ascii") for method in route.methods),
        "allow": "all" if route.allow is None else len(route.allow),
        "deny": sum(map(len, route.deny)),
        "provider": route.provider,
        "body": route.body.value,
        "mode": "observe" if route.observe else "enforce",
        "hold_s": route.hold_s,
        "upstream": [_upstream(one, well, drained=False) for one in route.upstream]
        + [_upstream(one, well, drained=True) for one in route.drained],
        "copies": [one.name for one in route.copies],
        "events": _sorted(route.events),
        "content_types": _sorted(route.content_types),
        "upstream_path": None if route.path_map is None else route.path_map.place.decode("ascii"),
        "where": [] if route.payload is None else [f"{one.place.text} {one}" for one in route.payload.where],
        "client_names": _sorted(route.client_names),
        "limits": dataclasses.asdict(route.limits),
    }
    return found | _proofs(route, snapshot)


def _proofs(route: Route, snapshot: Snapshot) -> Json:
    found: Json = {}
    if route.signature is not None:
        found["secrets"] = _secrets(route, route.signature.secrets, snapshot)
    if route.token is not None:
        secrets = _secrets(route, route.token.secrets, snapshot)
        found["token"] = {"kind": route.token.kind.name.lower(), "secrets": secrets}
    return found


def _upstream(endpoint: Endpoint, well: Mapping[str, bool], *, drained: bool) -> Json:
    return {
        "url": str(endpoint),
        "weight": endpoint.weight,
        "drained": drained,
        "well": well.get(str(endpoint)),
        "health": None if endpoint.health is None else dataclasses.asdict(endpoint.health),
    }


def _secrets(route: Route, secrets: Iterable[Secret], snapshot: Snapshot) -> list[Json]:
    """Names and dates; ``uses`` and ``last_used`` (seconds since the epoch) None where they are not counted."""
    uses, used = (snapshot.get(family.name, {}) for family in (SECRET_USES, SECRET_USED))
    return [
        {
            "name": one.name,
            "not_before": one.not_before,
            "not_after": one.not_after,
            "uses": uses.get((route.name, one.name)),
            "last_used": used.get((route.name, one.name)),
        }
        for one in secrets
    ]


def certificates(served: Iterable[Served], now: float) -> list[Json]:
    """The certificates in force, with their names and dates in seconds since the epoch, and how these stand ``now``."""
    return [
        {
            "file": one.file,
            "state": one.state(now),
            "names": list(one.names),
            "not_before": one.certificate.not_before,
            "not_after": one.certificate.not_after,
        }
        for one in served
    ]


def address_sets(snapshot: Snapshot) -> list[Json]:
    """The published address sets in use; ``age_s`` None where there is no copy."""
    ages = snapshot.get(SET_AGE.name, {})
    return [
        {"name": labels[0], "prefixes": prefixes, "age_s": ages.get(labels)}
        for labels, prefixes in snapshot.get(SET_PREFIXES.name, {}).items()
    ]


def workers(snapshot: Snapshot) -> Json:
    """How many workers do what; one that serves where there is no supervisor."""
    counted: Json = {state: value for (state,), value in snapshot.get(WORKERS.name, {}).items()}
    return counted or {"serving": 1}


def warnings(loaded: Loaded, served: Sequence[Served], now: float) -> list[str]:
    """All that the start has said of it, as it stands ``now``."""
    policy, settings = loaded.policy, loaded.settings
    return [*settings.warnings, *certificate_notes(served, policy, settings, now), *advice(settings)]


def document(
    loaded: Loaded, snapshot: Snapshot, served: Sequence[Served], well: Mapping[str, bool], now: float
) -> Json:
    """All of it but the versions of what runs. ``now`` is in seconds since the epoch."""
    shown = configuration(loaded.policy, loaded.settings) | {"warnings": warnings(loaded, served, now)}
    return {
        "generation": loaded.policy.generation,
        "configuration": shown,
        "routes": routes(loaded.policy, well, snapshot),
        "address_sets": address_sets(snapshot),
        "certificates": certificates(served, now),
        "workers": workers(snapshot),
    }


def _sorted(names: Iterable[str | bytes] | None) -> list[str] | None:
    """None where nothing is asked for."""
    return None if names is None else sorted(name if isinstance(name, str) else name.decode("ascii") for name in names)


def measure(site: Site, slots: ConnectionSlots, log_dropped: int, listeners: Sequence[ActiveListener]) -> None:
    """Read what a worker counts elsewhere into the metrics of its site, as it is now."""
    metrics, put, counters = site.metrics, site.metrics.set, slots.counters
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
    metrics.replace(of.TURN_WAITING, site.turnstiles.waiting())
    conditions = site.pool.endpoints.conditions()
    metrics.replace(of.UPSTREAM_UP, {(name,): well for name, well in conditions.items()})
    metrics.replace(of.SECRET_EXPIRY, _ends(site.policy))
    for listener in listeners:
        if not isinstance(listener.server, Listener):
            _measure_forward(put, listener.spec.name, listener.server)


def _ends(policy: Policy) -> dict[tuple[str, ...], float]:
    """When each secret with an end expires."""
    return {
        (route.name, secret.name): secret.not_after
        for route in policy.routes
        for check in (route.signature, route.token)
        if check is not None
        for secret in check.secrets
        if secret.not_after is not None
    }


def _measure_forward(put: Callable[..., None], name: str, forward: TcpForward) -> None:
    counters = forward.counters
    put(of.TCP_OPEN, counters.open, name)
    put(of.TCP_OPENED, counters.opened, name)
    put(of.TCP_FAILED, counters.dial_failed, name)
    put(of.TCP_BYTES, counters.bytes_in, name, "in")
    put(of.TCP_BYTES, counters.bytes_out, name, "out")
