"""``DeliveryPlan``: what a form of heads and the route that has let one in settle together, for all that follow.

Theory of operation. A sender writes the same head each time but for a few values (``core.head_forms``), and nearly all
that is decided and written of a delivery follows from what stays: which route it is for, which lines cross to the
upstream, what the log says. That is worked out once, by the functions that do it for any head, and kept with the form.
What is left for each delivery is what differs: its length, its proof, its ids.

Rule 1: a plan says yes or nothing. ``begin`` gives the check of the body, or None: then the delivery is judged as if
there were no plan (``core.exchange.decide``), which finds the reason.
Rule 2: there is a plan only where a route asks of a head for nothing that must be looked at anew each time besides its
signature: no token, rate, certificate or mapped path. Of what it does not know none is made.
Rule 3: what is written by a plan is what would be written without it, to the byte. A test draws routes and heads.
"""

from __future__ import annotations

from operator import itemgetter

from proxy.core.addresses import Peer
from proxy.core.exchange import Admit, event_of
from proxy.core.forwarding import Provenance, dropped_on_the_way
from proxy.core.handshakes import ANSWER
from proxy.core.particulars import Arrival, delivery_id_of, note_decision, proved_value
from proxy.core.payload import media_type
from proxy.core.policy import Exposure, Policy
from proxy.core.record import ExchangeRecord, read_traceparent
from proxy.core.signatures import SignatureCheck, Verification
from proxy.http1 import Piece, RequestHead
from proxy.reasons import Reason

#: What crosses, and what is ours to say: as ``core.forwarding`` writes them.
_UPSTREAM_HEAD = (
    b"%b\r\nX-Forwarded-For: %b\r\nX-Forwarded-Proto: %b\r\nX-Forwarded-Host: %b\r\n%b: %b\r\n"
    b"Webhook-Verified: %b\r\nContent-Length: %d\r\n\r\n"
)


class KnownVerdict(Verification):
    """The check of a body that was made before."""

    __slots__ = ("_verdict",)

    def __init__(self, verdict: str | Reason) -> None:
        self._verdict = verdict

    def update(self, chunk: Piece) -> None:
        """Nothing of it counts."""

    def finish(self) -> str | Reason:
        """The verdict."""
        return self._verdict

    def marks(self) -> list[bytes]:
        """None: where they are asked for there is no plan."""
        return []


class DeliveryPlan:
    """The way of deliveries whose heads have one form, on one route of one policy."""

    __slots__ = ("_crossing", "_id_name", "_kept", "_signature", "_start", "is_direct", "policy", "route", "target")

    def __init__(self, policy: Policy, admit: Admit, signature: SignatureCheck, head: RequestHead) -> None:
        """``admit`` is what was decided about ``head``."""
        self.policy = policy
        self.route = route = admit.route
        self.target = admit.target
        self._signature = signature
        self._kept = ExchangeRecord("", 0.0, "", "")
        note_decision(self._kept, head, admit)
        plain = Provenance(client=b"", scheme=b"", request_id=b"", trusted=False, verified=b"")
        dropped, self._id_name = dropped_on_the_way(head, plain, route.guarded_fields, route.signed_fields)
        places = [place for place, name in enumerate(head.names) if name not in dropped]
        self._crossing = itemgetter(*places)
        self._start = b"%b %b HTTP/1.1" % (head.method, admit.target)
        asks = any(each is not None for each in (route.duplicates, route.delivery, route.turns, route.payload))
        asks = asks or signature.whole_body or route.observe or route.sends_proxy or route.handshake == ANSWER
        #: Once its body is proved it is sent, and nothing is asked, answered or kept before. (Of a single place
        #: ``itemgetter`` gives no tuple.)
        self.is_direct = not asks and len(places) > 1

    def begin(self, head: RequestHead, now: float) -> Verification | None:
        """The check of the body that follows ``head``, which is let in; None where more is to be decided. ``now`` is in
        seconds since the epoch. Whether the client's address is let in is not asked.
        """
        route, length = self.route, head.content_length
        if length is None or length > route.limits.max_body:
            return None
        if route.content_types is not None and media_type(head) not in route.content_types:
            return None
        if route.events is not None and event_of(head, route) not in route.events:
            return None
        begun = self._signature.begin(head, now)
        return None if isinstance(begun, Reason) else begun

    def admit(self, client: Peer, verification: Verification) -> Admit:
        """What ``decide`` would say of a delivery of ``client`` whose body is under ``verification``."""
        return Admit(self.route, client, self.target, verification)

    def record(self, request_id: str, started: float, arrival: Arrival, peer: str, head: RequestHead) -> ExchangeRecord:
        """What is known of an exchange that begins so, as ``note_decision`` notes it."""
        kept, route, values = self._kept, self.route, head.values
        record = ExchangeRecord(
            request_id,
            started,
            peer,
            peer,
            kept.method,
            kept.path,
            kept.host,
            arrival.scheme.decode("ascii"),
            kept.minor,
            False,
            values.get(b"user-agent", b"").decode("latin-1"),
            kept.route,
            kept.provider,
            event_of(head, route),
            delivery_id_of(head, route),
            kept.bare,
        )
        if (traceparent := values.get(b"traceparent")) is not None:
            record.trace_id, record.span_id = read_traceparent(traceparent)
        return record

    def upstream_head(self, head: RequestHead, record: ExchangeRecord, arrival: Arrival, length: int) -> bytes:
        """The head of the request to the upstream, of a body of ``length`` bytes that is proved."""
        return _UPSTREAM_HEAD % (
            b"\r\n".join((self._start, *self._crossing(head.lines))),
            arrival.peer,
            arrival.scheme,
            head.host,
            self._id_name,
            record.request_id.encode("ascii"),
            proved_value(record.provider, record.secret_name, record.delivery_id),
            length,
        )


def plan_of(policy: Policy, admit: Admit, head: RequestHead) -> DeliveryPlan | None:
    """The plan of heads like ``head``, which ``policy`` has let in as ``admit`` says and without a proxy's word; None
    where each must be decided about by itself.
    """
    route, signature, check = admit.route, admit.route.signature, admit.route.endpoint_check
    if signature is None or route.relayed or policy.exposure is not Exposure.ROUTES:
        return None
    looked_at = (route.token, route.rate, route.client_names, route.path_map, admit.check, admit.observed, admit.answer)
    if any(each is not None for each in looked_at) or policy.table.candidates(head.path)[0] is not route:
        return None
    may_be_check = check is not None and (check.signed or check.method == head.method)
    return None if may_be_check else DeliveryPlan(policy, admit, signature, head)
