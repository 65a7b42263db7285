"""A saved delivery, taken through every check: what ``explain`` and ``[[test]]`` stanzas show.

The checks are those that serve (``read_request_head``, ``decide``, the verification, ``diagnose``); this module only
records their results. If only the time is wrong, the rest is judged again as of the time that was signed. No MAC and
no secret is in what it says.
"""

from __future__ import annotations

from dataclasses import field, replace

from proxy.core.addresses import AddressSet, Peer
from proxy.core.body import selector_of
from proxy.core.causes import Case, Diagnosis, diagnose
from proxy.core.causes.trial import Trial, said_at
from proxy.core.exchange import Admit, Reject, decide, event_of
from proxy.core.payload import Selection
from proxy.core.policy import Exposure, Policy, Route, RouteTable
from proxy.core.request_head import HeadLimits, read_request_head
from proxy.errors import ProtocolError
from proxy.http1 import RequestHead
from proxy.reasons import Reason
from proxy.values import frozen, mutable

ADMITTED = "admitted"

_TOKEN = frozenset({Reason.TOKEN_MISSING, Reason.TOKEN_MISMATCH, Reason.BASIC_AUTH_FAILED})
_HEADER = frozenset({Reason.SIGNATURE_MISSING, Reason.SIGNATURE_MALFORMED, Reason.TIMESTAMP_MISSING})
_TIME = frozenset({Reason.TIMESTAMP_TOO_OLD, Reason.TIMESTAMP_IN_FUTURE})
_LENGTH = frozenset({Reason.LENGTH_REQUIRED, Reason.BODY_TOO_LARGE})


@frozen
class CheckResult:
    """One check. ``passed`` is None where it does not apply, or could not be made."""

    name: str
    passed: bool | None
    said: str


@mutable
class Walk:
    """What every check found. ``word`` is "admitted" or the word of the reason; ``route`` is the one that decided."""

    steps: list[CheckResult] = field(default_factory=list)
    word: str = ""
    route: str = ""
    secret: str = ""
    diagnosis: Diagnosis | None = None

    def note(self, name: str, *, passed: bool | None, said: str) -> None:
        """Record the result of a check."""
        self.steps.append(CheckResult(name, passed, said))

    def refuse(self, name: str, reason: Reason, said: str = "") -> None:
        """Record the check that failed, and why."""
        self.note(name, passed=False, said=f"{reason.word}{': ' if said else ''}{said}")
        self.word = reason.word


@frozen
class Trip:
    """A delivery and what judges it. ``peer`` None: no address is judged. ``now`` in seconds since the epoch."""

    head: bytes
    body: bytes
    policy: Policy
    now: float
    peer: Peer | None = None


def walk(trip: Trip) -> Walk:
    """Take a delivery through every check. Never raises, whatever the delivery holds."""
    found = Walk()
    head = _read_head(trip, found)
    if head is None:
        return found
    is_local = trip.policy.exposure is Exposure.LOCAL
    policy = _policy_for(trip)
    table = policy.table
    peer = trip.peer or Peer.of("127.0.0.1")
    if not _find_routes(head, policy, table, found):
        return found
    trusted = peer in policy.trusted_proxies
    # All names of certificates that routes ask for: a saved delivery has none, so none is judged.
    names = frozenset().union(*(route.client_names or () for route in policy.routes))
    decision = decide(head, peer, policy, table, trip.now, trusted=trusted, names=names)
    if decision.route is None:
        assert isinstance(decision, Reject)
        found.refuse("local only" if is_local else "address", decision.reason, decision.detail)
        found.diagnosis = _fault_of(decision)
        return found
    if is_local:
        found.note("local only", passed=True, said="nothing is configured, and the request is one of this host")
    found.route = decision.route.name
    _tell_head(trip, head, decision, found)
    if isinstance(decision, Admit):
        _judge_body(trip, head, decision, found)
    found.diagnosis = _fault_of(decision)
    _diagnose(trip, head, decision.route, found, policy)
    return found


def _fault_of(decision: Admit | Reject) -> Diagnosis | None:
    """What is known at once of why a request was refused."""
    fault = decision.fault if isinstance(decision, Reject) else None
    return None if fault is None else Diagnosis(fault.word, *fault.sentences)


def _policy_for(trip: Trip) -> Policy:
    """Without an address none is judged; where this host alone may send, it is this host's."""
    policy = trip.policy
    if trip.peer is not None or policy.exposure is Exposure.LOCAL:
        return policy
    routes = tuple(replace(route, allow=None, deny=()) for route in policy.routes)
    return replace(policy, routes=routes, allow=None, trusted_proxies=AddressSet.empty())


def _diagnose(trip: Trip, head: RequestHead, route: Route, found: Walk, policy: Policy) -> None:
    reason = next((one for one in Reason if one.word == found.word), None)
    if reason is not None and found.diagnosis is None:
        found.diagnosis = diagnose(Case(reason, head, trip.body, route, policy.routes, trip.now))
        if reason in _TIME:
            _walk_in_time(trip, head, route, found)


def _read_head(trip: Trip, found: Walk) -> RequestHead | None:
    limits = trip.policy.limits
    try:
        parsed = read_request_head(trip.head, HeadLimits(limits.max_head, limits.max_target, limits.max_fields))
    except ProtocolError as error:
        found.refuse("head", error.reason, error.detail)
        return None
    if parsed is None:
        found.refuse("head", Reason.BAD_REQUEST, "it does not end")
        return None
    head = parsed[0]
    found.note("head", passed=True, said=f"{head.method.decode('ascii')} {_path(trip, head)}, {len(head.lines)} fields")
    return head


def _path(trip: Trip, head: RequestHead) -> str:
    """The path, without a token that is in it."""
    owners = trip.policy.table.candidates(head.path)
    hides = owners[0].path_map if owners else None
    if hides is None:
        return head.path.decode("ascii", "replace")
    tokens = [owner.token for owner in owners if owner.token is not None]
    proved = any(isinstance(token.check(head, trip.now), str) for token in tokens)
    return hides.shown(head.path, proved=proved).decode("ascii", "replace")


def _find_routes(head: RequestHead, policy: Policy, table: RouteTable[Route], found: Walk) -> bool:
    candidates = table.candidates(head.path)
    if not candidates:
        paths = ", ".join(sorted({route.shown_path for route in policy.routes}))
        found.refuse(
            "route", Reason.PATH_NOT_MATCHED, f"no route owns {head.path.decode('ascii', 'replace')}; there are {paths}"
        )
        return False
    names = [route.name for route in candidates]
    found.note("route", passed=True, said=names[0] if len(names) == 1 else f"tried in this order: {', '.join(names)}")
    return True


def _tell_head(trip: Trip, head: RequestHead, decision: Admit | Reject, found: Walk) -> None:
    """Record the checks of the head in their order, up to the one that failed."""
    route = decision.route
    assert route is not None
    refused = decision.reason if isinstance(decision, Reject) else decision.observed
    if len(trip.policy.routes) > 1:
        found.note("decided by", passed=None, said=f"route {route.name}")
    for name, reasons, said in _checks(trip, head, decision, route):
        if refused in reasons:
            assert refused is not None
            found.refuse(name, refused)
            if isinstance(decision, Admit):
                found.note("mode", passed=None, said="the route only observes: it is passed on all the same")
            return
        if said:
            found.note(name, passed=None if said.startswith("not ") else True, said=said)
    if isinstance(decision, Reject):
        found.refuse("head", decision.reason)


def _signature(trip: Trip, head: RequestHead, route: Route) -> tuple[str, str]:
    """What is said of a good signature's header, and of its time."""
    if route.signature is None:
        return "", ""
    scheme = route.signature.scheme
    header = ", ".join(name.decode("latin-1") for name in scheme.headers) or "in the body"
    is_timed = scheme.timestamp is not None or scheme.claims is not None
    return f"{header}: present and well-formed", _age(trip, head, route) if is_timed else ""


def _checks(
    trip: Trip, head: RequestHead, decision: Admit | Reject, route: Route
) -> list[tuple[str, frozenset[Reason], str]]:
    """(check, its reasons, what is said if it passes; "" where the route does not make it)."""
    methods = ", ".join(sorted(method.decode("ascii") for method in route.methods))
    address = "any address" if route.allow is None else "the address is allowed"
    token = f"it is {decision.secret_name}" if isinstance(decision, Admit) else "it is right"
    signed, timed = _signature(trip, head, route)
    return [
        ("path", frozenset({Reason.PATH_NOT_MATCHED}), ""),
        ("method", frozenset({Reason.METHOD_NOT_ALLOWED}), f"{head.method.decode('ascii')} is among {methods}"),
        (
            "address",
            frozenset({Reason.ADDRESS_REFUSED}),
            "not judged: no address was given" if trip.peer is None else address,
        ),
        ("certificate", frozenset(), "" if route.client_names is None else "not judged: a saved delivery has none"),
        ("length", _LENGTH, f"{len(trip.body)} bytes"),
        ("content type", frozenset({Reason.CONTENT_TYPE_REFUSED}), _content_type(head) if route.content_types else ""),
        ("token", _TOKEN, token if route.token is not None else ""),
        ("signature", _HEADER, signed),
        ("time", _TIME, timed),
        ("proof", frozenset({Reason.SIGNATURE_MISMATCH}), ""),
        ("event", frozenset({Reason.EVENT_REFUSED}), event_of(head, route) if route.events is not None else ""),
        ("endpoint check", frozenset(), _handshake(decision)),
        ("upstream path", frozenset(), _upstream_path(decision)),
    ]


def _upstream_path(decision: Admit | Reject) -> str:
    if isinstance(decision, Reject) or decision.route.path_map is None:
        return ""
    return decision.target.partition(b"?")[0].decode("ascii")


def _content_type(head: RequestHead) -> str:
    return head.values.get(b"content-type", b"").decode("latin-1") or "none is named"


def _handshake(decision: Admit | Reject) -> str:
    if isinstance(decision, Reject) or decision.check is None:
        return ""
    return "answered by hookward itself" if decision.answer is not None else "an endpoint check of the provider"


def _age(trip: Trip, head: RequestHead, route: Route) -> str:
    trial = Trial(Case(Reason.TIMESTAMP_TOO_OLD, head, trip.body, route, (), trip.now))
    said = said_at(head, trip.body, trial)
    return "fresh" if said is None else f"signed {abs(trip.now - said):.0f} s {'ago' if said <= trip.now else 'ahead'}"


def _judge_body(trip: Trip, head: RequestHead, admit: Admit, found: Walk) -> None:
    route = admit.route
    found.secret = admit.secret_name
    if len(trip.body) > route.limits.max_body:
        found.refuse("body", Reason.BODY_TOO_LARGE, f"{len(trip.body)} bytes, and max_body is {route.limits.max_body}")
        return
    if admit.verification is not None:
        verdict = admit.verification.verify(trip.body)
        if isinstance(verdict, Reason):
            live = sum(secret.live(trip.now) for secret in (route.signature.secrets if route.signature else ()))
            found.refuse("proof", verdict, f"for {len(trip.body)} bytes of body and {live} secret(s)")
            return
        found.secret = verdict
        found.note("proof", passed=True, said=f"the signature fits the body, with the secret {verdict}")
    selector = selector_of(head, admit)
    if selector is not None:
        _tell_selection(selector(None, _Kept(trip.body, route.limits.hold_window)), found)
    found.word = found.word or ADMITTED


@frozen
class _Kept:
    """The body, as a gate would have it."""

    body: bytes
    window: int

    def body_in_window(self) -> bytes | None:
        return self.body if len(self.body) <= self.window else None


_UNDECIDED = {
    "hold_window": "it is larger than hold_window",
    "unreadable": "it is not a JSON document or form that can be read in one way alone",
    "too_many_values": "a place of `where` has more values than are looked at",
    "": "its event is not among those of the route",
}


def _tell_selection(selection: Selection, found: Walk) -> None:
    event = f"its event is {selection.event}" if selection.event else ""
    if selection.reason is None:
        found.note("payload", passed=True, said=event or "it is passed on")
        return
    left_out = f"{selection.detail} is not what `where` names: answered 200, and not passed on"
    said = left_out if selection.reason is Reason.FILTERED else _UNDECIDED.get(selection.detail, selection.detail)
    found.refuse("payload", selection.reason, f"{said}{' (' if event else ''}{event}{')' if event else ''}")


def _walk_in_time(trip: Trip, head: RequestHead, route: Route, found: Walk) -> None:
    """Judge the rest as of the time that was signed: most saved deliveries are old."""
    trial = Trial(Case(Reason.TIMESTAMP_TOO_OLD, head, trip.body, route, (), trip.now))
    name = trial.fits()
    if name is not None:
        found.note("time aside", passed=True, said=f"the signature fits the body, with the secret {name}")
        return
    said = said_at(head, trip.body, trial)
    case = Case(
        Reason.SIGNATURE_MISMATCH, head, trip.body, route, trip.policy.routes, trip.now if said is None else said
    )
    other = diagnose(case)
    cause = "" if other is None else f" ({other.word}: {other.sentence})"
    found.note("time aside", passed=False, said=f"the signature does not fit the body either{cause}")
