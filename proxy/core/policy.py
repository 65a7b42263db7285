"""``Policy``: one load of the configuration, compiled, immutable and numbered.

Everything a decision needs is reachable from here; an exchange keeps the policy it began with, and a reload swaps one
reference. ``config.build`` makes it. Nothing here reads a file, a clock or an environment.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field
from enum import Enum
from typing import Generic, Protocol, TypeVar

from proxy.core.addresses import AddressSet, Peer
from proxy.core.budget import RateRule
from proxy.core.delivery import DeliveryRule, DuplicateRule, TurnRule
from proxy.core.grammar import TOKEN_SEGMENT, PathMap, map_of
from proxy.core.metric_families import Traits
from proxy.core.payload import PayloadRule
from proxy.core.schemes import find
from proxy.core.schemes.provider import Handshake
from proxy.core.signing.proof import SignatureCheck, TokenCheck, TokenKind
from proxy.values import frozen

# -- Which routes own a path: whole segments of the raw path, case-sensitive (design section 4).
#
# The longest path that owns a target decides alone. What its routes refuse is refused: were it passed on to the
# routes of a shorter path, leaving a signature out would be the way to the one that asks for less. The routes of
# every configured path are laid out when the table is built, so a delivery to exactly that path costs one dictionary
# lookup, and any other path one more for each of its segments. Nothing is kept between lookups: probing random paths
# fills no memory. Nothing is normalised: paths with two readings have been refused by ``core.grammar`` before.


class Placed(Protocol):
    """What has a path: a route, or the place that one is mapped to."""

    @property
    def path(self) -> bytes:
        """Raw, beginning with "/"."""

    @property
    def alone(self) -> bool:
        """Whether it owns this path and nothing below it."""


R = TypeVar("R", bound=Placed)


class RouteTable(Generic[R]):
    """The routes by path. ``/hooks`` owns ``/hooks`` and ``/hooks/…``; ``/hooks/`` owns itself and what lies below;
    a route that is ``alone`` owns its path and no more.
    """

    __slots__ = ("_at", "_below", "_longest")

    def __init__(self, routes: Iterable[R]) -> None:
        """Takes the routes in the order of the file; their paths begin with "/"."""
        by_path: dict[bytes, list[R]] = {}
        for route in routes:
            by_path.setdefault(route.path, []).append(route)
        self._longest = 0
        #: A path -> the routes that own exactly this path.
        self._at: dict[bytes, tuple[R, ...]] = {path: tuple(own) for path, own in by_path.items()}
        #: A path that ends in "/" -> the routes that own what lies below it.
        self._below: dict[bytes, tuple[R, ...]] = {}
        # From short to long: "/x" and "/x/" own the same paths below them, and the longer one decides.
        for path in sorted(by_path, key=len):
            wide = tuple(route for route in by_path[path] if not route.alone)
            if wide:
                prefix = path if path.endswith(b"/") else path + b"/"
                self._below[prefix] = wide
                self._longest = max(self._longest, len(prefix))

    def candidates(self, path: bytes) -> tuple[R, ...]:
        """The routes of the longest path that owns ``path`` (raw, without the query), in the order of the file."""
        routes = self._at.get(path)
        if routes is not None:
            return routes
        # What is longer than the longest prefix cannot change the answer: 8 KiB of slashes costs no more than that.
        prefix = path[: self._longest]
        while end := prefix.rfind(b"/") + 1:
            prefix = prefix[:end]
            routes = self._below.get(prefix)
            if routes is not None:
                return routes
            prefix = prefix[:-1]
        return ()


#: More than any machine can have.
NO_BOUND = 1 << 62
NO_ADDRESSES = AddressSet.empty()
#: Of the time that the provider waits, what is left for the way of the answer.
SPARE_S = 1.0


class BodyMode(Enum):
    """What the upstream may see of a body before the verdict."""

    FREE = "free"
    TAIL = "tail"
    HOLD = "hold"


class Exposure(Enum):
    """What may be forwarded where no route is configured."""

    ROUTES = "routes"  # only what a route admits
    LOCAL = "local"  # nothing configured: loopback peers with a loopback Host and no forwarding field
    OPEN = "open"  # --open: everything


@frozen
class Limits:
    """Bounds of an exchange; sizes in bytes, times in seconds. Defaults and ranges stand in ``config.schema``."""

    max_body: int
    max_target: int
    max_head: int
    max_fields: int
    hold_window: int
    head_timeout_s: float
    body_min_rate: int  # bytes per second, after a grace of 5 s; 0 is off
    body_timeout_s: float
    request_timeout_s: float
    keepalive_timeout_s: float
    upstream_timeout_s: float
    write_timeout_s: float


@frozen
class ServerLimits:
    """Bounds of the whole process; each of its workers counts for itself. Those left out are none."""

    max_connections: int
    max_connections_per_address: int
    buffer_budget: int
    tls_timeout_s: float
    connect_timeout_s: float
    spill_budget: int = NO_BOUND
    max_exchanges: int = NO_BOUND
    max_handshakes: int = NO_BOUND
    max_requests_per_connection: int = NO_BOUND
    reserved_share: int = 0  # percent of connections and handshakes that only listed addresses may take

    def open_to_strangers(self, most: int) -> int:
        """How many of ``most`` are for addresses without an ``allow`` list, too."""
        return most - most * self.reserved_share // 100


@frozen
class UpstreamTls:
    """How an ``https`` upstream is verified; paths, because contexts are made by the shell."""

    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    server_name: str | None = None


@frozen
class HealthCheck:
    """How an endpoint is asked whether it is well: any answer below 400 to a GET of ``path`` says so."""

    path: str
    interval_s: float
    timeout_s: float


@frozen
class Endpoint:
    """One place to connect to, and the pool's key: what shares a connection agrees in all but how often it is used."""

    host: str  # "" for a unix socket
    port: int  # 0 for a unix socket
    path: str | None = None  # of a unix socket
    tls: UpstreamTls | None = None
    send_proxy: bool = False  # a PROXY header comes first, so a connection belongs to one client
    agent: str = ""  # an agent of this name connects to us; ``host`` is then "", or one process of it
    verifies: bool = field(default=False, compare=False)  # of an agent: only one that guards again will do
    weight: int = field(default=1, compare=False)  # how many exchanges it gets while one of weight 1 gets one
    health: HealthCheck | None = field(default=None, compare=False)
    idle_timeout_s: float = field(default=4.0, compare=False)  # a connection that was idle for longer is not used
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # The pool asks for it twice with every exchange.
        object.__setattr__(
            self, "_hash", hash((self.host, self.port, self.path, self.tls, self.send_proxy, self.agent))
        )

    def __hash__(self) -> int:
        return self._hash

    @property
    def secure(self) -> bool:
        """Whether its connections are under TLS."""
        return self.tls is not None or self.agent != ""

    @property
    def authority(self) -> str:
        """Host and port as a URI writes them; a unix socket or an agent has the name that no other host has."""
        if self.path is not None or self.agent:
            return "localhost"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix:{self.path}"
        if self.agent:
            return f"agent:{self.agent}/{self.host}" if self.host else f"agent:{self.agent}"
        return f"{'https' if self.tls else 'http'}://{self.authority}"


@frozen
class Route:
    """What may be called from where, what proves it, and where it goes. All guards that are set must hold."""

    name: str
    path: bytes  # raw, as matched; "/" owns everything; of a token in the path, what stands before it
    exact: bool  # nothing may follow the path, and the token that is in it
    methods: frozenset[bytes]
    allow: AddressSet | None  # None: no address check
    token: TokenCheck | None
    signature: SignatureCheck | None
    events: frozenset[str] | None
    body: BodyMode
    observe: bool
    upstream: tuple[Endpoint, ...]
    limits: Limits
    content_types: frozenset[bytes] | None = None  # lower case, without parameters; None is any, or none
    deny: tuple[AddressSet, ...] = ()  # wins over ``allow``: the top level's list and the route's own
    client_names: frozenset[str] | None = None  # lower case; one of them must be in the client's certificate
    rate: RateRule | None = None  # of each address; None is any
    provider: str = ""  # for the log and Webhook-Verified: slug, scheme name or "token"
    event_header: bytes | None = None  # lower case; whose value ``events`` and the log speak of
    delivery_header: bytes | None = None  # lower case; the delivery id for the log and Webhook-Verified
    hold_s: float = 0.0  # wait this long for an upstream that is unreachable or not ready, after the verdict only
    drained: tuple[Endpoint, ...] = ()  # endpoints that get nothing, because their configuration says so
    answer_s: float = 0.0  # how long the provider waits for an answer; 0 where that is not known
    refusal_status: int | None = None  # a provider that demands 401 (Discord, Xero)
    duplicates: DuplicateRule | None = None  # None: no check for duplicates
    delivery: DeliveryRule | None = None  # None: directly, and without copies
    turns: TurnRule | None = None  # None: exchanges go to the application as they come
    copies: tuple[Route, ...] = ()  # where else deliveries go, by the queue; as routes, named after their lanes
    endpoint_check: Handshake | None = None  # the provider's, where it has one
    handshake: str = "forward"  # what becomes of it; or "answer", "refuse"
    verify_token: bytes | None = field(default=None, repr=False)
    payload: PayloadRule | None = None  # None: payloads are not looked at
    relayed: bool = False  # a relay has judged what comes, and has told whose it is
    rewrite: bytes | None = None  # what stands for the path at the upstream; raw
    base: bytes = b""  # what stands before that at all its endpoints; no slash at its end
    path_map: PathMap | None = field(init=False)  # None: requests go to the path they came to
    alone: bool = field(init=False)  # whether nothing below the path is its own
    sends_proxy: bool = field(init=False)  # whether one of its endpoints wants to be told the client first
    signed_fields: frozenset[bytes] = field(init=False)  # lower case; what the signature is read from
    secret_fields: frozenset[bytes] = field(init=False)  # lower case; what a proof is read from, token or signature
    guarded_fields: frozenset[bytes] = field(init=False)  # lower case; ``Connection`` cannot strip what a guard reads

    def __post_init__(self) -> None:
        has_token = self.token is not None and self.token.kind is TokenKind.PATH
        object.__setattr__(self, "path_map", map_of(self.path, self.rewrite, self.base, has_token=has_token))
        object.__setattr__(self, "alone", self.exact and not has_token)
        object.__setattr__(self, "sends_proxy", any(endpoint.send_proxy for endpoint in self.upstream))
        signed = self.signature.scheme.header_names if self.signature is not None else frozenset()
        object.__setattr__(self, "signed_fields", signed)
        secret = signed if self.token is None else signed | {self.token.name}
        object.__setattr__(self, "secret_fields", secret)
        names = {name for name in (self.event_header, self.delivery_header) if name} | secret
        if self.endpoint_check is not None:
            names |= self.endpoint_check.header_names
        object.__setattr__(self, "guarded_fields", frozenset(names))

    @property
    def shown_path(self) -> str:
        """The path as it is written in the configuration."""
        has_token = self.path_map is not None and self.path_map.has_token
        return (self.path + TOKEN_SEGMENT if has_token else self.path).decode("ascii", "backslashreplace")

    def patience_s(self, waited_s: float) -> float:
        """How long a delivery may still wait for the upstream: ``hold``, within its provider's patience."""
        return min(self.hold_s, self.answer_s - SPARE_S - waited_s) if self.answer_s else self.hold_s


@frozen
class _Place:
    """What a route reaches at an upstream."""

    path: bytes
    alone: bool
    route: Route


class _Referable:
    """What can tell that it is no longer used."""

    __slots__ = ("__weakref__",)


@frozen
class Policy(_Referable):
    """All tables and limits of one load. What takes time with many routes is made here, apart from what serves."""

    generation: int
    routes: tuple[Route, ...]  # in the order of the file
    exposure: Exposure
    admission: AddressSet | None  # judged at accept; None admits every address
    allow: AddressSet | None  # the top level's, judged again on the client address behind a trusted proxy
    trusted_proxies: AddressSet
    limits: Limits
    server: ServerLimits
    reserved_for: AddressSet = NO_ADDRESSES  # may use the reserved share; empty where no route lets every address in
    doors: tuple[AddressSet | None, ...] = ()  # from where each agent may connect; None: from anywhere
    table: RouteTable[Route] = field(init=False, repr=False, compare=False)
    traits: Mapping[str, Traits] = field(init=False, repr=False, compare=False)  # of each route
    most_window: int = field(init=False, repr=False, compare=False)  # the largest ``hold_window`` of a route
    most_work: int = field(init=False, repr=False, compare=False)  # bytes that one verdict on a whole body may take
    _endpoints: frozenset[Endpoint] = field(init=False, repr=False, compare=False)
    #: What the routes reach at each upstream, where a route is mapped.
    _places: Mapping[Endpoint, RouteTable[_Place]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        routes = self.routes
        checks = [(route.signature, route.limits.max_body) for route in routes if route.signature is not None]
        made = {
            "table": RouteTable(routes),
            "traits": {route.name: _traits(route) for route in routes},
            "most_window": max((route.limits.hold_window for route in routes), default=0),
            "most_work": max((check.work_factor * max_body for check, max_body in checks), default=0),
            "_endpoints": frozenset(
                endpoint for route in routes for one in (route, *route.copies) for endpoint in one.upstream
            ),
            "_places": _places(routes),
        }
        for name, value in made.items():
            object.__setattr__(self, name, value)

    def is_client(self, peer: Peer) -> bool:
        """Whether a client may connect from that address."""
        return self.allow is None or peer in self.allow or peer in self.trusted_proxies

    def may_arrive(self, peer: Peer) -> bool:
        """Whether that address, which a PROXY header has named, may connect, as a client's or as an agent's."""
        if self.allow is None or peer in self.allow:
            return True
        return any(door is None or peer in door for door in self.doors)

    def lanes(self) -> dict[str, Route]:
        """What the queue delivers, by the names of its lanes: routes that keep, and copies."""
        every = (one for route in self.routes for one in (route, *route.copies))
        return {one.name: one for one in every if one.delivery is not None and one.delivery.keeps}

    def endpoints(self) -> frozenset[Endpoint]:
        """All that its routes may use, the drained left out."""
        return self._endpoints

    def neighbours(self, route: Route) -> list[Route]:
        """The other routes that reach, at an upstream that they share, the place of a mapped one."""
        assert route.path_map is not None
        place = route.path_map.place
        owners = (self._places[endpoint].candidates(place) for endpoint in route.upstream)
        found = {owner.route.name: owner.route for each in owners for owner in each if owner.route is not route}
        shared = frozenset(route.upstream)
        as_it_came = (one for one in self.table.candidates(place) if one.path_map is None)
        return list((found | {one.name: one for one in as_it_came if shared.intersection(one.upstream)}).values())

    def leads_elsewhere(self, route: Route, path: bytes) -> bool:
        """Whether ``path``, to which a request of a mapped route would go, is another route's place at the upstream.

        Else a prefix would be a way past the guards of a longer path: ``/a/admin`` of a route that is rewritten to
        ``/b`` would reach what the route at ``/b/admin`` guards.
        """
        owners = (self._places[endpoint].candidates(path) for endpoint in route.upstream)
        return not all(any(owner.route is route for owner in each) for each in owners)


def _places(routes: tuple[Route, ...]) -> dict[Endpoint, RouteTable[_Place]]:
    shared = {endpoint for route in routes if route.path_map is not None for endpoint in route.upstream}
    found: dict[Endpoint, list[_Place]] = {endpoint: [] for endpoint in shared}
    for route in routes if shared else ():
        place = _Place(route.path if route.path_map is None else route.path_map.place, route.exact, route)
        for endpoint in shared.intersection(route.upstream):
            found[endpoint].append(place)
    return {endpoint: RouteTable(places) for endpoint, places in found.items()}


def _traits(route: Route) -> Traits:
    """What is known of a route before anything is counted."""
    guard = route.signature or route.token  # of both, a delivery's record names the secret that signed
    secrets = frozenset(secret.name for secret in guard.secrets) if guard is not None else frozenset()
    provider = find(route.provider) if route.events is None and route.provider else None
    published = frozenset() if provider is None else provider.events
    return Traits(route.answer_s, published if route.events is None else route.events, secrets)
