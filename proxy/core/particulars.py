"""What is known of an admitted request beside the decision: for the record, for duplicates, for the application.

Whose event and delivery it is, by which keys a second delivery of it is told, our own answer to an endpoint check, and
the value of ``Webhook-Verified``. Nothing here decides whether a request passes.
"""

from __future__ import annotations

import re

from proxy.core.body import BodyGate
from proxy.core.delivery import DuplicateRule, Keys, keys_of
from proxy.core.exchange import Admit, Reject, event_of
from proxy.core.forwarding import Provenance, upstream_head
from proxy.core.handshakes import ANSWER, MAX_BODY_BYTES, HandshakeAnswer, body_answer
from proxy.core.policy import Endpoint, Route
from proxy.core.record import ExchangeRecord, read_traceparent
from proxy.http1 import RequestHead


class Arrival:
    """How a client's requests arrive: one value serves all exchanges of its connection."""

    __slots__ = ("kind", "passes_duplicates", "peer", "replay", "scheme", "trusted")

    def __init__(self, peer: str, *, secure: bool, kind: int = 0) -> None:
        """``peer`` is the address of the connection as text; ``kind`` is the site's, as it was when it was accepted."""
        self.peer = peer.encode("ascii")
        self.scheme = b"https" if secure else b"http"
        self.kind = kind
        self.trusted = False  # whether it is a trusted proxy
        self.replay = b""  # the id of the delivery that the operator sends again
        self.passes_duplicates = False  # by the operator's explicit choice


#: What the sender of a delivery that is not passed on hears: that it arrived, and no more.
TAKEN = HandshakeAnswer(b"", b"")


def own_answer(head: RequestHead, admit: Admit, gate: BodyGate, record: ExchangeRecord) -> HandshakeAnswer | None:
    """Our answer to a body that has had its verdict, where it is an endpoint check that we answer, or a delivery that
    its route leaves out; else None. The record says which.

    What is only observed is never answered as a check: its signature is not the provider's.
    """
    if admit.route.payload is not None and gate.left_out:
        record.leave_out(gate.detail, gate.received, admit.observed)
        return TAKEN
    if admit.route.handshake != ANSWER or admit.verification is None or admit.observed is not None:
        return None
    body = gate.whole_body() if gate.received <= MAX_BODY_BYTES else None
    answer = None if body is None else body_answer(admit.route, head, body, record.secret_name)
    if answer is not None:
        record.bytes_in = gate.received
        record.answer_handshake(answer.status, len(answer.content))
    return answer


def delivery_id_of(head: RequestHead, route: Route) -> str:
    """The delivery's id, as its header says; "" where the provider has no such header."""
    if route.delivery_header is None:
        return ""
    return (head.values.get(route.delivery_header) or b"").decode("latin-1")


def shown_path(head: RequestHead, decision: Admit | Reject) -> bytes:
    """The path that was asked for, without a token that is in it."""
    proved = isinstance(decision, Admit) and decision.observed is None
    route = decision.route if isinstance(decision, Admit) else decision.route or decision.owner
    return head.path if route is None or route.path_map is None else route.path_map.shown(head.path, proved=proved)


def note_decision(record: ExchangeRecord, head: RequestHead, decision: Admit | Reject) -> None:
    """Write down what was asked for and what was decided."""
    record.method = head.method.decode("ascii")
    route = decision.route
    hides = route is None or route.path_map is not None
    record.path = (shown_path(head, decision) if hides else head.path).decode("ascii")
    record.host = head.host.decode("ascii")
    record.minor = head.minor
    record.user_agent = head.values.get(b"user-agent", b"").decode("latin-1")
    traceparent = head.values.get(b"traceparent")
    if traceparent is not None:
        record.trace_id, record.span_id = read_traceparent(traceparent)
    if route is not None:
        record.route = route.name
        record.provider = route.provider
        record.event = event_of(head, route)
        record.delivery_id = delivery_id_of(head, route)
        record.bare = route.endpoint_check is not None and route.endpoint_check.bare_refusals
    if isinstance(decision, Admit):
        record.secret_name = decision.secret_name
        record.handshake = "" if decision.check is None else "forwarded"
        if decision.answer is not None:
            record.answer_handshake(decision.answer.status, len(decision.answer.content))


#: Methods that change nothing (RFC 9110 section 9.2.1): asking twice is no delivery twice.
SAFE = frozenset({b"GET", b"HEAD", b"OPTIONS"})


def delivery_keys(rule: DuplicateRule, head: RequestHead, admit: Admit, record: ExchangeRecord) -> Keys:
    """What a delivery that has had its verdict is told by; no keys where it has nothing that could tell it."""
    if head.method in SAFE:
        return Keys((), ())
    marks = admit.verification.marks() if admit.verification is not None and rule.by_signature else ()
    return keys_of(rule, admit.route.name, admit.target.partition(b"?")[0], record.delivery_id, marks)


def head_to_upstream(
    head: RequestHead,
    admit: Admit,
    record: ExchangeRecord,
    arrival: Arrival,
    *,
    endpoint: Endpoint,
    length: int | None,
    judged: bool,
) -> bytes:
    """The head for ``endpoint``; ``length`` None: sent in chunks. ``judged``: the whole body has had its verdict."""
    route = admit.route
    provenance = Provenance(
        client=arrival.peer,
        scheme=arrival.scheme,
        request_id=record.request_id.encode("ascii"),
        trusted=arrival.trusted,
        verified=verified_value(admit, record, judged=judged),
        replay=arrival.replay,
        relayed=route.relayed,
    )
    authority = b"" if head.host else endpoint.authority.encode("ascii")
    guarded, signed = route.guarded_fields, route.signed_fields
    return upstream_head(head, admit.target, provenance, length, guarded, signed=signed, authority=authority)


def verified_value(admit: Admit, record: ExchangeRecord, *, judged: bool) -> bytes:
    """The value of ``Webhook-Verified``; b"" unless ``judged``: the whole body has had its verdict."""
    # A claim that streams ahead of the proof is an attacker's to make: an application that acts on the head would
    # believe a signature of zeros (threats S9c).
    return provenance_value(admit, record.secret_name, record.delivery_id) if judged else b""


_PROVENANCE_SAFE = re.compile(r"[A-Za-z0-9._:@/+=-]{1,128}+")


def provenance_value(admit: Admit, secret_name: str, delivery_id: str) -> bytes:
    """The value of ``Webhook-Verified``: what was proved, by which secret, for which delivery; b"" if nothing was.

    A delivery id comes from the client: what is not harmless in a field value is left out (threats H8).
    """
    route = admit.route
    proved = route.token is not None or route.signature is not None
    if admit.observed is not None or admit.check is not None or not proved:
        return b""
    return proved_value(route.provider, secret_name, delivery_id)


def proved_value(provider: str, secret_name: str, delivery_id: str) -> bytes:
    """The same of a delivery that is proved."""
    value = f"{provider}; secret={secret_name}" if secret_name else provider
    if _PROVENANCE_SAFE.fullmatch(delivery_id):
        value = f"{value}; id={delivery_id}"
    return value.encode("ascii")
