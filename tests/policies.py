"""Routes, limits and policies for tests, each as plain as one can be: a test names only what it is about.

``POST /hook`` to an application on port 8000, and nothing is proved; see ``proxy.core.policy`` for the fields.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from proxy.core.addresses import AddressSet
from proxy.core.policy import BodyMode, Endpoint, Exposure, Limits, Policy, Route, ServerLimits
from proxy.core.request_head import HeadLimits

APP = Endpoint("127.0.0.1", 8000)
NOBODY = AddressSet.empty()
HEAD_LIMITS = HeadLimits(max_head=16384, max_target=8192, max_fields=100)
LIMITS = Limits(
    max_body=1 << 20,
    max_target=8192,
    max_head=16384,
    max_fields=100,
    hold_window=1 << 16,
    head_timeout_s=10.0,
    body_min_rate=512,
    body_timeout_s=60.0,
    request_timeout_s=90.0,
    keepalive_timeout_s=15.0,
    upstream_timeout_s=60.0,
    write_timeout_s=30.0,
)
SERVER = ServerLimits(
    max_connections=100,
    max_connections_per_address=10,
    buffer_budget=1 << 20,
    tls_timeout_s=10.0,
    connect_timeout_s=5.0,
)
_ROUTE = Route(
    name="hook",
    path=b"/hook",
    exact=False,
    methods=frozenset({b"POST"}),
    allow=None,
    token=None,
    signature=None,
    events=None,
    body=BodyMode.TAIL,
    observe=False,
    upstream=(APP,),
    limits=LIMITS,
)
_POLICY = Policy(
    generation=1,
    routes=(),
    exposure=Exposure.ROUTES,
    admission=None,
    allow=None,
    trusted_proxies=NOBODY,
    limits=LIMITS,
    server=SERVER,
)


def limits(**changed: Any) -> Limits:
    return replace(LIMITS, **changed)


def server_limits(**changed: Any) -> ServerLimits:
    return replace(SERVER, **changed)


def route(**changed: Any) -> Route:
    return replace(_ROUTE, **changed)


def policy(*routes: Route, **changed: Any) -> Policy:
    return replace(_POLICY, routes=routes, **changed)
