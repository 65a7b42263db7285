"""``decide``: the order of checks, as data, on one screen: ``CHECKS``. It *is* our security, so it is no configuration.

Cheap before dear, telling least first (design section 2). Target form, Host and framing have been judged where the head
was read (``core.request_head``). Several routes may stand on one path: the first whose head conditions all hold takes
the request. Where none does, it is refused by the route whose evidence was there; failing that, by the one that came
furthest.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from proxy.core.addresses import AddressSet, Peer, client_address, forwarded_hops
from proxy.core.budget import RateLimiter
from proxy.core.handshakes import ANSWER, EndpointCheck, HandshakeAnswer, find_check, head_answer, refuse_check
from proxy.core.payload import media_type
from proxy.core.policy import Exposure, Policy, Route, RouteTable
from proxy.core.setup_faults import DENIED, ROUTE_NOT_LISTED, UNTRUSTED_PROXY, SetupFault, local_fault
from proxy.core.signing.proof import Verification
from proxy.http1 import Framing, RequestHead
from proxy.reasons import OBSERVABLE, Reason
from proxy.values import mutable

#: Methods whose content has a meaning (RFC 9110 section 9.3): without a length there is nothing to verify.
_WITH_CONTENT = frozenset({b"POST", b"PUT", b"PATCH"})
_NO_NAMES: frozenset[str] = frozenset()
#: In which proxies name the client.
_NAMING_FIELDS = frozenset({b"x-forwarded-for", b"forwarded", b"x-real-ip", b"cf-connecting-ip", b"true-client-ip"})


@mutable
class Admit:
    """The head holds; the body's verdict, where the route has one, is ``verification``'s."""

    route: Route
    client: Peer
    target: bytes  # what is forwarded: the matched bytes, less a query token
    verification: Verification | None = None
    secret_name: str = ""  # of the token that matched
    observed: Reason | None = None  # what would have been refused
    check: EndpointCheck | None = None  # the head is an endpoint check, which is not signed
    answer: HandshakeAnswer | None = None  # ours to that check: nothing goes to the upstream
    event: str = ""  # where it stands in the body, once that was looked at


@mutable
class Reject:
    """The head is refused. ``route`` is the one that refused, for the log; None where no route owns the path."""

    reason: Reason
    client: Peer
    route: Route | None = None
    allow: tuple[bytes, ...] = ()  # METHOD_NOT_ALLOWED: the methods of all routes of the path
    retry_s: float = 0.0  # RATE_LIMITED: when there is room again
    detail: str = ""  # which rule, which limit, or what stands against local-only mode
    stage: int = 0  # how many of ``CHECKS`` held
    fault: SetupFault | None = None  # what in the set-up it comes from, where that is known at once
    owner: Route | None = None  # where no route was asked: one that owns the path, and knows what of it may be shown

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
    table: RouteTable[Route],
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
    if policy.exposure is Exposure.LOCAL and (fault := local_fault(head, client)):
        return Reject(Reason.ADDRESS_REFUSED, client, detail=fault.word, fault=fault)
    candidates = table.candidates(head.path)
    if not candidates:
        return Reject(Reason.PATH_NOT_MATCHED, client)
    if trusted and policy.allow is not None and client not in policy.allow:
        return Reject(Reason.ADDRESS_REFUSED, client, owner=candidates[0], fault=ROUTE_NOT_LISTED)
    asked = _Asked(head, client, now, names, rates, policy)
    refused: list[Reject] = []
    for route in candidates:
        answer = _judge(asked, route)
        if isinstance(answer, Admit):
            return answer
        refused.append(answer)
    return _most_telling(head, refused, trusted=trusted)


def _address_fault(head: RequestHead, detail: str, *, trusted: bool) -> SetupFault:
    """What in the set-up it may come from that a route refused an address."""
    if not trusted and not _NAMING_FIELDS.isdisjoint(head.values):
        return UNTRUSTED_PROXY
    return DENIED if detail == DENIED.word else ROUTE_NOT_LISTED


def _client(head: RequestHead, peer: Peer, trusted: AddressSet) -> Peer | None:
    """The client that a trusted proxy names; None where its two fields name different ones: it writes one of them and
    may pass on the other as the client wrote it, and there is no telling which.
    """
    client = client_address(peer, head.get_all(b"x-forwarded-for"), trusted)
    if b"forwarded" not in head.values:
        return client
    other = client_address(peer, [b",".join(forwarded_hops(head.get_all(b"forwarded")))], trusted)
    if b"x-forwarded-for" not in head.values:
        return other
    return client if client.text == other.text else None


@mutable
class _Asked:
    """What the checks look at, besides the route."""

    head: RequestHead
    client: Peer
    now: float
    names: frozenset[str]
    rates: RateLimiter | None
    policy: Policy
    retry_s: float = 0.0  # set by the check that refuses for the rate


def _judge(asked: _Asked, route: Route) -> Admit | Reject:
    head, token = asked.head, route.token
    if route.path_map is None:
        target = head.target if token is None else token.strip(head.target)
    else:
        target = forwarded_target(route, head.target)
        if _is_off_the_map(asked, route, target.partition(b"?")[0]):
            return Reject(Reason.PATH_NOT_MATCHED, asked.client, route, detail="mapped_path")
    admit = Admit(route, asked.client, target, None, "", None, find_check(route, head))
    for check in CHECKS:
        refused = check(asked, admit)
        if refused is not None:
            if route.observe and refused in OBSERVABLE:
                return _observe(asked, admit, check, refused)
            return _reject(asked, admit, check, refused)
    return admit


def forwarded_target(route: Route, target: bytes) -> bytes:
    """What the upstream is asked for, for ``target``: without tokens, and mapped, where it is the route's own."""
    target = target if route.token is None else route.token.strip(target)
    mapped = route.path_map
    return target if mapped is None or not mapped.owns(target.partition(b"?")[0]) else mapped.of(target)


def _is_off_the_map(asked: _Asked, route: Route, path: bytes) -> bool:
    """Whether a mapped route may not take it: more follows its token than it owns, or ``path`` is another route's."""
    assert route.path_map is not None
    return bool(route.exact and route.path_map.rest(asked.head.path)) or asked.policy.leads_elsewhere(route, path)


def _observe(asked: _Asked, admit: Admit, failed: Check, reason: Reason) -> Admit | Reject:
    """Let a request pass whose proof has failed, if what is always enforced holds. No further proof is asked for."""
    admit.observed = reason
    for check in CHECKS[CHECKS.index(failed) + 1 :]:
        refused = None if check in PROOFS else check(asked, admit)
        if refused is not None:
            return _reject(asked, admit, check, refused)
    return admit


def _reject(asked: _Asked, admit: Admit, check: Check, reason: Reason) -> Reject:
    retry_s = asked.retry_s if reason is Reason.RATE_LIMITED else 0.0
    denied = reason is Reason.ADDRESS_REFUSED and _is_denied(asked.client, admit.route)
    detail = DENIED.word if denied else ""
    return Reject(reason, asked.client, admit.route, retry_s=retry_s, detail=detail, stage=CHECKS.index(check))


def _method(asked: _Asked, admit: Admit) -> Reason | None:
    fits = admit.check is not None or asked.head.method in admit.route.methods
    return None if fits else Reason.METHOD_NOT_ALLOWED


def lets_in(route: Route, client: Peer) -> bool:
    """Whether ``client`` is an address for which ``route`` is."""
    if route.allow is not None and client not in route.allow:
        return False
    return not (route.deny and _is_denied(client, route))


def _address(asked: _Asked, admit: Admit) -> Reason | None:
    return None if lets_in(admit.route, asked.client) else Reason.ADDRESS_REFUSED


def _is_denied(client: Peer, route: Route) -> bool:
    return any(client in denied for denied in route.deny)


def _certificate(asked: _Asked, admit: Admit) -> Reason | None:
    wanted = admit.route.client_names
    return Reason.CLIENT_CERTIFICATE_REFUSED if wanted is not None and wanted.isdisjoint(asked.names) else None


def _rate(asked: _Asked, admit: Admit) -> Reason | None:
    route = admit.route
    if route.rate is None or asked.rates is None:
        return None
    asked.retry_s = asked.rates.take((route.name, asked.client.group), route.rate, asked.now)
    return Reason.RATE_LIMITED if asked.retry_s else None


def _content(asked: _Asked, admit: Admit) -> Reason | None:
    """What the head says of the content: its length, and its type."""
    head, route = asked.head, admit.route
    if head.framing is Framing.NONE and head.method in _WITH_CONTENT and (route.signature or head.minor == 0):
        return Reason.LENGTH_REQUIRED
    if head.content_length is not None and head.content_length > route.limits.max_body:
        return Reason.BODY_TOO_LARGE
    wanted = route.content_types
    if wanted is not None and admit.check is None and media_type(head) not in wanted:
        return Reason.CONTENT_TYPE_REFUSED
    return None


def _token(asked: _Asked, admit: Admit) -> Reason | None:
    token = admit.route.token
    if token is None:
        return None
    matched = token.check(asked.head, asked.now)
    if isinstance(matched, Reason):
        return matched
    admit.secret_name = matched
    return None


def _signature(asked: _Asked, admit: Admit) -> Reason | None:
    """Of a body that is still to come; of an endpoint check, what stands in for it."""
    route = admit.route
    if admit.check is not None:
        return _endpoint_check(asked, admit, admit.check)
    if route.signature is None:
        return None
    begun = route.signature.begin(asked.head, asked.now)
    if isinstance(begun, Reason):
        return begun
    admit.verification = begun
    return None


def _endpoint_check(asked: _Asked, admit: Admit, check: EndpointCheck) -> Reason | None:
    """The verify token, where the route has one; and our own answer, where the check is one that we answer."""
    refused = refuse_check(admit.route, check)
    if refused is None and admit.route.handshake == ANSWER:
        answer = head_answer(admit.route, asked.head, check, asked.now)
        if isinstance(answer, Reason):
            return answer
        admit.answer = answer
    return refused


def _event(asked: _Asked, admit: Admit) -> Reason | None:
    events = admit.route.events
    if admit.route.event_header in asked.head.repeated:
        return Reason.EVENT_REFUSED  # the application may act on the other one
    if admit.route.event_header is None and admit.route.payload is not None:
        return None  # it stands in the body
    fits = events is None or admit.check is not None or event_of(asked.head, admit.route) in events
    return None if fits else Reason.EVENT_REFUSED


def event_of(head: RequestHead, route: Route) -> str:
    """The delivery's event type, as its header says; "" where the provider has no such header."""
    if route.event_header is None:
        return ""
    return (head.values.get(route.event_header) or b"").decode("latin-1")


Check: TypeAlias = Callable[[_Asked, Admit], Reason | None]
#: The order of checks. Each says why it refuses, or None; what it finds out it writes into the ``Admit``.
CHECKS: tuple[Check, ...] = (_method, _address, _certificate, _rate, _content, _token, _signature, _event)
#: Those that a route may only observe.
PROOFS: frozenset[Check] = frozenset({_certificate, _token, _signature, _event})


def _most_telling(head: RequestHead, refused: list[Reject], *, trusted: bool) -> Reject:
    """Of the refusals of all routes of a path, in the order of the file, the one to be told and logged."""
    told = refused[0]
    if len(refused) > 1:
        told = max(refused, key=lambda one: (one.stage > 0, _has_evidence(head, one.route), one.stage))
    if told.reason is Reason.METHOD_NOT_ALLOWED:
        told.allow = tuple(sorted({method for one in refused if one.route for method in one.route.methods}))
    elif told.reason is Reason.ADDRESS_REFUSED:
        told.fault = _address_fault(head, told.detail, trusted=trusted)
    return told


def _has_evidence(head: RequestHead, route: Route | None) -> bool:
    """Whether a token or signature of the route's kind came with the head, right or wrong. Cheap: nothing is judged."""
    if route is None:
        return False
    token, signature = route.token, route.signature
    signed = signature is not None and any(name in head.values for name in signature.scheme.headers)
    return signed or (token is not None and token.is_given(head))
