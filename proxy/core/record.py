"""What is known of an exchange beside the decision: the record that the log line and the metrics are made of, and what
is read or said of a request for the log, for duplicates and for the application.

Whose event and delivery it is, by which keys a second delivery of it is told, our own answer to an endpoint check, and
the value of ``Webhook-Verified``. The trace that a request belongs to (``traceparent`` of
https://www.w3.org/TR/trace-context/) is read for the log alone and passed on as it came. A client may name any trace.
Nothing here decides whether a request passes.
"""

from __future__ import annotations

import re

from proxy.core.body import BodyGate
from proxy.core.delivery import DuplicateRule, Keys, keys_of
from proxy.core.exchange import Admit, Reject, event_of
from proxy.core.forwarding import Provenance, upstream_head
from proxy.core.handshakes import ANSWER, MAX_BODY_BYTES, HandshakeAnswer, body_answer
from proxy.core.policy import Endpoint, Route
from proxy.http1 import RequestHead
from proxy.reasons import Ended, Phase, Reason
from proxy.values import mutable


@mutable
class ExchangeRecord:
    """One request and its answer. Texts from the network are as they came: to escape and cut them is the log's work.

    ``path`` has no query, so a token in a query cannot reach a log. Times: ``started`` in seconds since the epoch,
    durations in seconds.
    """

    request_id: str
    started: float
    peer: str  # the address of the connection
    client: str  # the address we judge: behind a trusted proxy the one it names
    # of the head, and of the route that it is for
    method: str = ""
    path: str = ""
    host: str = ""
    scheme: str = "http"
    minor: int = 1
    keep_alive: bool = False  # whether the connection may serve another request
    user_agent: str = ""
    route: str = ""
    provider: str = ""
    event: str = ""
    delivery_id: str = ""
    bare: bool = False  # whether a refusal goes without content, as the provider demands
    trace_id: str = ""  # of a ``traceparent`` that is well formed, in hexadecimal
    span_id: str = ""
    # what became of it
    reason: Reason = Reason.INTERNAL_ERROR
    detail: str = ""  # a fixed word that says which rule: "cl_te", "bare_lf", …
    phase: Phase = Phase.HEAD
    verdict: str = ""  # "admitted", "refused", "observed"; "" where none was reached
    cause: str = ""  # a word for why it failed, where that was found
    why: str = ""  # the same in a sentence of ours, which names secrets, routes and headers
    mend: str = ""
    observed: Reason | None = None  # what would have been refused, where the route only observes
    status: int = 0  # of the answer to the client; 0 without one
    secret_name: str = ""
    handshake: str = ""  # of an endpoint check: "forwarded", "answered"; a signed one that is passed on is not known
    upstream: str = ""
    duration_s: float = 0.0
    upstream_duration_s: float = 0.0
    turn_s: float = 0.0  # how long it waited for its turn, where its route has `concurrency` or `pace`
    bytes_in: int = 0  # content of the request
    bytes_out: int = 0  # content of the answer
    attempt: int = 0  # of a delivery that was kept; 0 is an exchange
    outcome: str = ""  # of an attempt: "delivered", "waiting" for another, or "dead"

    def refuse(self, reason: Reason, detail: str) -> None:
        """Note that it ended before its time. What an upstream has done to it is no verdict of ours."""
        self.detail = detail
        if reason.ended_by is not Ended.UPSTREAM:
            self.verdict = self.verdict or "refused"

    def admit(self, observed: Reason | None) -> None:
        """Note that it may pass; ``observed`` is what it would have been refused for, where its route only observes."""
        self.verdict = "admitted" if observed is None else "observed"
        self.observed = observed

    def explain(self, cause: str, why: str, mend: str) -> None:
        """Note why it failed, and what mends it."""
        self.cause, self.why, self.mend = cause, why, mend

    def answer_handshake(self, status: int, size: int) -> None:
        """Note that we answered an endpoint check by ourselves, with ``size`` bytes of content."""
        self.reason = Reason.HANDSHAKE_ANSWERED
        self.phase = Phase.DONE
        self.verdict = "admitted"
        self.handshake = "answered"
        self.status = status
        self.bytes_out = size

    def leave_out(self, detail: str, size: int, observed: Reason | None) -> None:
        """Note that a delivery of ``size`` bytes was taken and not passed on, for the condition ``detail``."""
        self.reason = Reason.FILTERED
        self.detail = detail
        self.phase = Phase.DONE
        self.admit(observed)
        self.status = Reason.FILTERED.status or 200
        self.bytes_in = size


def agent_of(upstream: str) -> str:
    """The name of the agent in the address of an upstream (``agent:NAME/PROCESS``); "" where it is none."""
    kind, _, rest = upstream.partition(":")
    name, mark, _ = rest.partition("/")
    return name if kind == "agent" and mark else ""


_FORM = re.compile(rb"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(?:-.*)?")
_VERSION_0 = 55
_NO_TRACE = b"0" * 32
_NO_SPAN = b"0" * 16


def read_traceparent(value: bytes) -> tuple[str, str]:
    """The trace id and the span id, in hexadecimal; ("", "") where the value is none that counts."""
    found = _FORM.fullmatch(value)
    if found is None or found[1] == _NO_TRACE or found[2] == _NO_SPAN:
        return "", ""
    if value.startswith(b"00") and len(value) != _VERSION_0:
        return "", ""
    return found[1].decode("ascii"), found[2].decode("ascii")


# -- What is known of an admitted request beside the decision.


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
