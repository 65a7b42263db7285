"""Heads that come again: each is read anew only where it differs, and decided anew only where that counts.

Senders repeat themselves: of a push of GitHub's, four of fourteen lines differ from those of the push before. So the
form of a head that a route has let in is kept, its lines and what was read from them (``HeadForms``). A head with that
request line and as many lines is compared line by line. One that differs must have the same name, and its value is read
by the same grammar; those by which a message is framed and addressed may not differ, its length aside. All else is read
by ``core.request_head``, which says what a head means: a form gives what that gives, or declines.

Nearly all that is decided and written of a delivery follows from what stays: which route it is for, which lines cross
to the upstream, what the log says. That is worked out once, by the functions that do it for any head, and kept with the
form (``DeliveryPlan``).

Rule 1: forms are few and small, and of the paths of routes alone, so no sender can make them grow. No line is compared
that may hold a secret, for the time of that would tell how much of a guess is right.
Rule 2: a plan says yes or nothing. ``begin`` gives the check of the body, or None: then the delivery is judged as if
there were no plan (``core.exchange.decide``), which finds the reason.
Rule 3: there is a plan only where a route asks of a head for nothing that must be looked at anew each time besides its
signature: no token, rate, certificate or mapped path. Of what it does not know none is made.
Rule 4: what is written by a plan is what would be written without it, to the byte. A test draws routes and heads.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from itertools import compress
from operator import itemgetter, ne

from proxy.core.addresses import Peer
from proxy.core.exchange import Admit, event_of
from proxy.core.forwarding import Provenance, dropped_on_the_way
from proxy.core.handshakes import ANSWER
from proxy.core.payload import media_type
from proxy.core.policy import Exposure, Policy
from proxy.core.record import Arrival, ExchangeRecord, delivery_id_of, note_decision, proved_value, read_traceparent
from proxy.core.request_head import HeadLimits, framing_of, is_canonical, read_request_head
from proxy.core.signing.proof import SignatureCheck, Verification
from proxy.http1 import Framing, Piece, RequestHead, join_request_head
from proxy.reasons import Reason

#: Together they take some 300 KiB at the most.
MAX_FORMS = 64
MAX_FORM_BYTES = 1536
#: So many heads that no form fits come before another form makes way: where two kinds take turns, one of them stays.
PATIENCE = 64

#: Fields whose value says more than itself. A message that has the first is not remembered: it depends on the length.
_EXPECT = b"expect"
_LENGTH = b"content-length"
_FIXED = frozenset({b"connection", b"host", b"transfer-encoding"})
#: No line begins so: they end there.
_NEVER = b"\r\n"
#: In names of fields whose values no guard of ours may know, and an application does.
_CREDENTIAL = re.compile(rb"auth|cookie|key|pass|secret|session|token")
#: ``grammar.PLAIN_VALUE_CHARS``.
_PLAIN = bytes(range(0x20, 0x7F))


class HeadForm:
    """One head, and which of its lines may differ. ``plan`` goes along with each head that is read by it."""

    __slots__ = ("_given_length", "_head", "_lines", "_starts", "plan")

    def __init__(self, head: RequestHead, secret: frozenset[bytes]) -> None:
        """``secret`` names fields that are never compared."""
        self._head = replace(head, again=True)
        self._given_length = head.values.get(_LENGTH)
        # What is never compared counts as another line each time: no line is empty.
        self._lines = [
            b"" if name in secret or _CREDENTIAL.search(name) else line
            for name, line in zip(head.names, head.lines, strict=True)
        ]
        self._starts = [
            (name, _NEVER if name in _FIXED else line[: len(name) + 2])
            for name, line in zip(head.names, head.lines, strict=True)
        ]
        self.plan: DeliveryPlan | None = None

    def read(self, lines: list[bytes]) -> RequestHead | None:
        """The head with these field lines, as many as this one's; None where it may be something else."""
        known = self._head
        values = known.values.copy()
        others = []
        for (name, start), line in compress(zip(self._starts, lines, strict=True), map(ne, lines, self._lines)):
            value = line.removeprefix(start)
            if value == line or not value or value.strip() != value:
                return None
            values[name] = value
            others.append(value)
        if b"".join(others).translate(None, _PLAIN):
            return None
        framing, length = known.framing, known.content_length
        if values.get(_LENGTH) is not self._given_length:
            framing, length = framing_of(values, known.repeated, known.minor)
        return RequestHead(
            known.method,
            known.target,
            known.minor,
            known.names,
            lines,
            known.path,
            known.query,
            known.host,
            framing,
            length,
            known.keep_alive,
            known.expect_continue,
            values,
            known.repeated,
            known.dropped,
            True,
            self.plan,
        )


class HeadForms:
    """Reads the heads of one worker's clients by ``limits``, and remembers what they look like."""

    __slots__ = ("_forms", "_limits", "_most", "_secret", "_strange")

    def __init__(self, limits: HeadLimits, secret: Iterable[bytes]) -> None:
        """``secret`` names, in lower case, the fields that a proof is read from."""
        self._limits = limits
        self._most = min(limits.max_head, MAX_FORM_BYTES)
        self._secret = frozenset(secret)
        self._forms: dict[bytes, dict[int, HeadForm]] = {}  # by the request line, and the number of field lines
        self._strange = 0  # heads of which another form would be kept

    def read(self, buffer: bytes, known: int = 0) -> tuple[RequestHead, int] | None:
        """As ``read_request_head``."""
        # Not further: else a line without an end would be looked up again with each of its bytes.
        first = buffer.find(b"\r\n", 0, self._most)
        forms = self._forms.get(buffer[:first]) if first > 0 else None
        end = -1 if forms is None else buffer.find(b"\r\n\r\n", first, self._most)
        if forms is not None and end >= 0:
            lines = buffer[first + 2 : end].split(b"\r\n")
            form = forms.get(len(lines))
            head = None if form is None else form.read(lines)
            if head is not None:
                return head, end + 4
        return read_request_head(buffer, self._limits, known)

    def learn(self, head: RequestHead, path: bytes) -> HeadForm | None:
        """A route at ``path`` has let ``head`` in, which no form fitted: its form, where it is kept."""
        if not _comes_again(head, path):
            return None
        first, count = b"%b %b HTTP/1.1" % (head.method, path), len(head.lines)
        text = join_request_head(head.method, path, head.lines)
        if len(text) > self._most or not is_canonical(text) or not self._has_room(first, count):
            return None
        form = self._forms.setdefault(first, {})[count] = HeadForm(head, self._secret)
        return form

    def _has_room(self, first: bytes, count: int) -> bool:
        """Whether a form of so many lines may be kept; another one makes way for it, or all do."""
        taken = count in self._forms.get(first, {})
        if not taken and sum(map(len, self._forms.values())) < MAX_FORMS:
            return True
        self._strange += 1
        if self._strange < PATIENCE:
            return False
        self._strange = 0
        if not taken:
            self._forms.clear()
        return True


def _comes_again(head: RequestHead, path: bytes) -> bool:
    """Whether a head like this one may come again, and would mean the same."""
    # A query, or what lies below the path, may be a token, and another one each time.
    is_own = head.path == path and head.query is None and head.minor == 1
    return is_own and not (head.repeated or head.dropped or _EXPECT in head.values)


# -- ``RequestStream``: what a client has sent and we have not used yet. Heads are taken off it, and whole bodies.


class RequestStream:
    """The unused bytes of one connection, and the head that was taken off them and is not judged yet."""

    __slots__ = ("_known", "begins", "data", "head")

    def __init__(self) -> None:
        self.data = b""
        self.head: RequestHead | None = None
        self.begins = False  # the last read has found the first bytes of an incomplete head
        self._known = 0  # bytes of an incomplete head that were looked at; -1 where an answered request came before

    @property
    def has_begun(self) -> bool:
        """Whether a request is under way: the first counts from the start, any other from its first byte."""
        return self._known >= 0

    def next_request(self) -> None:
        """The request before is answered."""
        self._known = -1

    def add(self, data: bytes) -> None:
        """More has come."""
        self.data = self.data + data if self.data else data

    def drop(self) -> None:
        """Use none of it."""
        self.data, self.head = b"", None

    def read_head(self, forms: HeadForms) -> None:
        """Take a head off, where it is whole: then it is ``head``. ProtocolError where the bytes are none."""
        known, self._known = self._known, 0
        parsed = forms.read(self.data, known)
        if parsed is None:
            self._known, self.begins = len(self.data), known < 0
        else:
            self.head, consumed = parsed
            self.data = self.data[consumed:]

    def whole_body(self, head: RequestHead) -> bytes | None:
        """Take the body of ``head`` off, where all of it is here and its length was declared."""
        length = head.content_length or 0
        if head.framing is Framing.CHUNKED or len(self.data) < length:
            return None
        body, self.data = self.data[:length], self.data[length:]
        return body


# -- ``DeliveryPlan``: what such a form and its route settle together. What is left for each delivery is its length, its
# proof and its ids.


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
