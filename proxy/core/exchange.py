"""``decide``: the order of checks, on one screen. It *is* our security, so it is code and not configuration.

Cheap before dear, telling least first (design section 2): route, method, route's addresses, client certificate, rate,
declared length, token, signature present, well-formed and fresh, event. Target form, Host and framing have been judged
where the head was read (``core.request_head``). Several routes may own a path: the first whose head conditions all hold
takes the request; where none does, the refusal is that of the route that came furthest.
"""

from __future__ import annotations

import re

from proxy.core.addresses import AddressSet, Peer, client_address
from proxy.core.body import BodyGate
from proxy.core.duplicates import DuplicateRule, Keys, keys_of
from proxy.core.forwarded import forwarded_hops
from proxy.core.forwarding import FORWARDING
from proxy.core.handshakes import (
    ANSWER,
    MAX_BODY_BYTES,
    EndpointCheck,
    HandshakeAnswer,
    body_answer,
    find_check,
    head_answer,
    refuse_check,
)
from proxy.core.policy import Exposure, Policy, Route
from proxy.core.rate import RateLimiter
from proxy.core.record import ExchangeRecord
from proxy.core.routes import RouteTable
from proxy.core.signatures import Verification
from proxy.core.trace_context import read_traceparent
from proxy.http1 import Framing, RequestHead
from proxy.reasons import OBSERVABLE, Reason
from proxy.values import mutable

#: Methods whose content has a meaning (RFC 9110 section 9.3): without a length there is nothing to verify.
_WITH_CONTENT = frozenset({b"POST", b"PUT", b"PATCH"})
_LOOPBACK_HOST = re.compile(rb"(?:localhost|(?:[a-z0-9-]+\.)*localhost|127(?:\.\d{1,3}){3}|\[::1\])\.?(?::\d+)?")
#: How far a refused request came: a later check beats an earlier one when several routes refuse.
_ORDER = {
    Reason.PATH_NOT_MATCHED: 0,
    Reason.METHOD_NOT_ALLOWED: 1,
    Reason.ADDRESS_REFUSED: 2,
    Reason.CLIENT_CERTIFICATE_REFUSED: 3,
    Reason.RATE_LIMITED: 4,
    Reason.LENGTH_REQUIRED: 5,
    Reason.BODY_TOO_LARGE: 5,
    Reason.TOKEN_MISSING: 6,
    Reason.TOKEN_MISMATCH: 6,
    Reason.BASIC_AUTH_FAILED: 6,
    Reason.EVENT_REFUSED: 8,
}
_SIGNATURE_STAGE = 7
_NO_NAMES: frozenset[str] = frozenset()


@mutable
class Admit:
    """The head holds; the body's verdict, where the route has one, is ``verification``'s."""

    route: Route
    client: Peer
    target: bytes  # what is forwarded: the matched bytes, less a query token
    verification: Verification | None = None
    secret_name: str = ""  # of the token that matched
    observed: Reason | None = None  # what would have been refused
    check: EndpointCheck | None = None  # the head is an endpoint check, which nobody signs
    answer: HandshakeAnswer | None = None  # ours to that check: nothing goes to the upstream


@mutable
class Reject:
    """The head is refused. ``route`` is the one that refused, for the log; None where no route owns the path."""

    reason: Reason
    client: Peer
    route: Route | None = None
    allow: tuple[bytes, ...] = ()  # METHOD_NOT_ALLOWED: the methods of all routes of the path
    retry_s: float = 0.0  # RATE_LIMITED: when there is room again
    detail: str = ""  # BAD_REQUEST: which rule; OVERLOADED: which limit

    @property
    def status(self) -> int | None:
        """The status that the route's provider demands instead of 403, or None."""
        if self.route is not None and self.reason.status == 403:
            return self.route.refusal_status
        return None


def decide(
    head: RequestHead,
    peer: Peer,
    policy: Policy,
    table: RouteTable,
    now: float,
    *,
    trusted: bool,
    names: frozenset[str] = _NO_NAMES,
    rates: RateLimiter | None = None,
) -> Admit | Reject:
    """Judge a head. ``peer`` is the connection's address and ``trusted`` says whether it is a trusted proxy, whose
    X-Forwarded-For or Forwarded is then walked right to left. ``names`` are those of its verified certificate.
    ``rates`` takes a token of each route that is asked; without it no rate is kept. ``now`` is in seconds since the
    epoch. Never raises.
    """
    client = _client(head, peer, policy.trusted_proxies) if trusted else peer
    if client is None:
        return Reject(Reason.BAD_REQUEST, peer, detail="forwarded_conflict")
    if policy.exposure is not Exposure.ROUTES and not _exposed(head, client, policy):
        return Reject(Reason.ADDRESS_REFUSED, client)
    candidates = table.candidates(head.path)
    if not candidates:
        return Reject(Reason.PATH_NOT_MATCHED, client)
    if trusted and policy.allow is not None and client not in policy.allow:
        return Reject(Reason.ADDRESS_REFUSED, client)
    furthest: Reject | None = None
    for route in candidates:
        answer = _judge(head, client, route, now, names=names, rates=rates)
        if isinstance(answer, Admit):
            return answer
        if furthest is None or _stage(answer.reason) > _stage(furthest.reason):
            furthest = answer
    assert furthest is not None
    if furthest.reason is Reason.METHOD_NOT_ALLOWED:
        furthest.allow = tuple(sorted({method for route in candidates for method in route.methods}))
    return furthest


def _client(head: RequestHead, peer: Peer, trusted: AddressSet) -> Peer | None:
    """The client that a trusted proxy names; None where its two fields name different ones: it writes one of them and
    may pass on the other as the sender wrote it, and nobody can tell which.
    """
    client = client_address(peer, head.get_all(b"x-forwarded-for"), trusted)
    if b"forwarded" not in head.values:
        return client
    other = client_address(peer, [b",".join(forwarded_hops(head.get_all(b"forwarded")))], trusted)
    if b"x-forwarded-for" not in head.values:
        return other
    return client if client.text == other.text else None


def _stage(reason: Reason) -> int:
    return _ORDER.get(reason, _SIGNATURE_STAGE)


def _exposed(head: RequestHead, client: Peer, policy: Policy) -> bool:
    """Local-only mode: a loopback peer, a loopback Host, and nothing that a tunnel or proxy in front would add."""
    if policy.exposure is Exposure.OPEN:
        return True
    return (
        client.is_loopback
        and _LOOPBACK_HOST.fullmatch(head.host.lower()) is not None
        and FORWARDING.isdisjoint(head.values)
    )


def _judge(
    head: RequestHead, client: Peer, route: Route, now: float, *, names: frozenset[str], rates: RateLimiter | None
) -> Admit | Reject:
    check = find_check(route, head)
    refused = _stop(head, client, route, check)
    if refused is not None:
        return Reject(refused, client, route)
    uncertified = route.client_names is not None and route.client_names.isdisjoint(names)
    if uncertified and not route.observe:
        return Reject(Reason.CLIENT_CERTIFICATE_REFUSED, client, route)
    if route.rate is not None and rates is not None:
        retry_s = rates.take((route.name, client.group), route.rate, now)
        if retry_s:
            return Reject(Reason.RATE_LIMITED, client, route, retry_s=retry_s)
    refused = _refuse_length(head, route)
    if refused is not None:
        return Reject(refused, client, route)
    admit = Admit(route, client, head.target, check=check)
    refused = _prove(head, admit, now)
    if refused is None and uncertified:
        refused = Reason.CLIENT_CERTIFICATE_REFUSED
    if refused is None:
        return admit
    if route.observe and refused in OBSERVABLE:
        admit.observed = refused
        admit.answer = None
        return admit
    return Reject(refused, client, route)


def _stop(head: RequestHead, client: Peer, route: Route, check: EndpointCheck | None) -> Reason | None:
    """What a route is for, and for whom."""
    if check is None and head.method not in route.methods:
        return Reason.METHOD_NOT_ALLOWED
    if route.allow is not None and client not in route.allow and not route.observe:
        return Reason.ADDRESS_REFUSED
    return None


def _refuse_length(head: RequestHead, route: Route) -> Reason | None:
    if head.framing is Framing.NONE and head.method in _WITH_CONTENT and (route.signature or head.minor == 0):
        return Reason.LENGTH_REQUIRED
    if head.content_length is not None and head.content_length > route.limits.max_body:
        return Reason.BODY_TOO_LARGE
    return None


def _prove(head: RequestHead, admit: Admit, now: float) -> Reason | None:
    """Token, signature's head conditions, event; fills ``admit``. The first thing that fails, or None."""
    route = admit.route
    if route.token is not None:
        admit.target = route.token.strip(head.target)
        matched = route.token.check(head, now)
        if isinstance(matched, Reason):
            return matched
        admit.secret_name = matched
    if admit.check is not None:
        refused = _prove_check(head, admit, admit.check, now)
        if refused is not None:
            return refused
    elif route.signature is not None:
        begun = route.signature.begin(head, now)
        if isinstance(begun, Reason):
            return begun
        admit.verification = begun
    if route.events is not None and admit.check is None and event_of(head, route) not in route.events:
        return Reason.EVENT_REFUSED
    if route.observe and route.allow is not None and admit.client not in route.allow:
        return Reason.ADDRESS_REFUSED
    return None


def _prove_check(head: RequestHead, admit: Admit, check: EndpointCheck, now: float) -> Reason | None:
    """What stands in for the signature of an endpoint check: the verify token, where the route has one."""
    refused = refuse_check(admit.route, check)
    if refused is None and admit.route.handshake == ANSWER:
        answer = head_answer(admit.route, head, check, now)
        if isinstance(answer, Reason):
            return answer
        admit.answer = answer
    return refused


def own_answer(head: RequestHead, admit: Admit, gate: BodyGate, secret_name: str) -> HandshakeAnswer | None:
    """Our answer to a body that has had its verdict, where it is an endpoint check that we answer; else None.

    What is only observed is never answered: whoever signed it, it was not the provider.
    """
    if admit.route.handshake != ANSWER or admit.verification is None or admit.observed is not None:
        return None
    body = gate.whole_body() if gate.received <= MAX_BODY_BYTES else None
    return None if body is None else body_answer(admit.route, head, body, secret_name)


def event_of(head: RequestHead, route: Route) -> str:
    """The delivery's event type, as its header says; "" where the provider has no such header."""
    if route.event_header is None:
        return ""
    return (head.values.get(route.event_header) or b"").decode("latin-1")


def delivery_id_of(head: RequestHead, route: Route) -> str:
    """The delivery's id, as its header says; "" where the provider has no such header."""
    if route.delivery_header is None:
        return ""
    return (head.values.get(route.delivery_header) or b"").decode("latin-1")


def note_decision(record: ExchangeRecord, head: RequestHead, decision: Admit | Reject) -> None:
    """Write down what was asked for and what was decided."""
    record.method = head.method.decode("ascii")
    record.path = head.path.decode("ascii")
    record.host = head.host.decode("ascii")
    record.minor = head.minor
    record.user_agent = head.values.get(b"user-agent", b"").decode("latin-1")
    traceparent = head.values.get(b"traceparent")
    if traceparent is not None:
        record.trace_id, record.span_id = read_traceparent(traceparent)
    route = decision.route
    if route is not None:
        record.route = route.name
        record.provider = route.provider
        record.event = event_of(head, route)
        record.delivery_id = delivery_id_of(head, route)
        record.bare = route.endpoint_check is not None and route.endpoint_check.bare_refusals
    if isinstance(decision, Admit):
        record.secret_name = decision.secret_name
        record.handshake = "" if decision.check is None else "forwarded"


#: Methods that change nothing (RFC 9110 section 9.2.1): asking twice is no delivery twice.
_SAFE = frozenset({b"GET", b"HEAD", b"OPTIONS"})


def delivery_keys(rule: DuplicateRule, head: RequestHead, admit: Admit, record: ExchangeRecord) -> Keys:
    """What a delivery that has had its verdict is told by; no keys where it has nothing that could tell it."""
    if head.method in _SAFE:
        return Keys((), ())
    marks = admit.verification.marks() if admit.verification is not None and rule.by_signature else ()
    return keys_of(rule, admit.route.name, head.path, record.delivery_id, marks)


def verified_value(admit: Admit, record: ExchangeRecord, *, judged: bool) -> bytes:
    """The value of ``Webhook-Verified``; b"" unless ``judged``: the whole body has had its verdict."""
    # A claim that streams ahead of the proof is an attacker's to make: an application that acts on the head would
    # believe a signature of zeros (threats S9c).
    return provenance_value(admit, record.secret_name, record.delivery_id) if judged else b""


_PROVENANCE_SAFE = re.compile(r"[A-Za-z0-9._:@/+=-]{1,128}+")


def provenance_value(admit: Admit, secret_name: str, delivery_id: str) -> bytes:
    """The value of ``Webhook-Verified``: what was proved, by which secret, for which delivery; b"" if nothing was.

    A delivery id comes from the sender: what is not harmless in a field value is left out (threats H8).
    """
    route = admit.route
    proved = route.token is not None or route.signature is not None
    if admit.observed is not None or admit.check is not None or not proved:
        return b""
    value = f"{route.provider}; secret={secret_name}" if secret_name else route.provider
    if _PROVENANCE_SAFE.fullmatch(delivery_id):
        value = f"{value}; id={delivery_id}"
    return value.encode("ascii")
