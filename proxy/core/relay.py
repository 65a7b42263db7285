"""``Relay``: one exchange, from the head that was judged to its record. It decides, and does nothing.

Theory of operation. An exchange is two halves that move side by side, each with a table of its own (``core.states``):

    request   RECEIVING -> JUDGING -> CLAIMING -> ADMITTED -> CLOSED       what we have of the request
    answer    NONE -> DIALING -> SENDING -> AWAITING -> KEPT -> RELAYING -> CLOSED   how far we are with the upstream
                   -> STORING -> CLOSED              or, in ``core.keeping``, with what keeps the delivery instead

They are two because the order of events is not ours: an application may answer before the request has ended, a
connection may stand before the verdict is known, and either end may vanish at any time. The shell tells a relay what
happened by calling its methods, one for each event, and reads afterwards what is to be done: ``to_client`` and
``to_upstream`` are bytes to write, ``wishes`` what else is wanted. It calls nothing back, holds no transport, clock or
pool, and never waits, so any order of events can be tried on it as values.

Rule 1: nothing leaves that the request's half has not admitted. Before ADMITTED the upstream gets what the gate lets
through, which is never the end of what must be proved, and the client nothing of an answer (KEPT). A relay whose
request has nothing to prove (``gate.is_free``) may relay at once.
Rule 2: an exchange ends once, in ``_end``, with one reason; what happens after that is not an exchange's. What its
client is told then is in ``then``.
Rule 3: an event that a state does not list in ``REQUEST_HEARS`` or ``ANSWER_HEARS`` is a bug of the shell, and raises.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from proxy.core.body import NO_BODY, BodyGate, Spill, gate_of
from proxy.core.causes import MAX_BODY_BYTES
from proxy.core.content import NOTHING, Passage
from proxy.core.delivery import NO_KEYS, Keys
from proxy.core.exchange import Admit, Reject
from proxy.core.forwarding import answer_head
from proxy.core.handshakes import HandshakeAnswer
from proxy.core.policy import Endpoint, Route
from proxy.core.record import Arrival, ExchangeRecord, delivery_keys, head_to_upstream, own_answer
from proxy.core.states import (
    ANSWER_HEARS,
    ANSWER_MOVES,
    REQUEST_HEARS,
    REQUEST_MOVES,
    AnswerState,
    Event,
    RequestState,
    Then,
)
from proxy.http1 import Framing, Piece, RequestHead, ResponseHead
from proxy.reasons import OBSERVABLE, Phase, Reason

# By names of their own: Python 3.11 takes ten times as long for one by its class, which is more than for a call.
RECEIVING, JUDGING, CLAIMING, ADMITTED, ENDED = RequestState
NONE, DIALING, SENDING, AWAITING, KEPT, RELAYING, STORING, OUTCOME, CLOSED = AnswerState
CONTENT, VERDICT, CLAIMED, CONNECTED, TAKES, ANSWERED, MORE, FAILED, RESOLVED, STORED = Event
OURS, GO_ON, CLOSE, CUT, GONE = Then
HEAD, BODY, CONNECT, ANSWER_HEAD, ANSWER_BODY, DONE = Phase
DELIVERED = Reason.DELIVERED
CHUNKED = Framing.CHUNKED
EOF = Framing.EOF

#: A body that must be judged in one piece is judged on the loop up to this size: the worst takes 2 ms.
ON_LOOP_BYTES = 16 * 1024

#: What a relay wants of the shell besides writing bytes; added up in ``wishes``.
DIAL = 1  # a connection to an upstream of the route: ``connected``
CLAIM = 2  # ask whether ``keys`` are of a duplicate: ``claimed`` or ``duplicate``
JUDGE = 4  # ``gate.finish`` beside the loop, where it would take too long: ``judged``


@dataclass(slots=True, eq=False)
class Relay:
    """One exchange; first comes ``refused``, ``answered_here`` or ``admitted``. ``now`` is monotonic, in seconds."""

    record: ExchangeRecord
    arrival: Arrival
    started: float

    head: RequestHead = field(init=False)
    admit: Admit = field(init=False)
    route: Route | None = None
    gate: BodyGate = NO_BODY

    # the two halves, and what lies between them
    request: RequestState = RECEIVING
    answer: AnswerState = NONE
    touched: float = 0.0  # when the upstream last did or got something
    _since: float = 0.0  # when it got the request
    _there: Passage = NOTHING  # of the request, what may leave
    spilled: Iterator[bytes] | None = None  # of the spill, what is still to be sent by ``upstream_takes``
    _reply: ResponseHead = field(init=False)  # as it came
    _back: Passage = NOTHING  # of the answer, what the client may see

    # what the shell is given
    to_client: list[Piece] = field(default_factory=list)
    to_upstream: list[Piece] = field(default_factory=list)
    wishes: int = 0
    may_wait: bool = False  # of DIAL: for as long as the route and the provider wait
    keys: Keys = NO_KEYS  # of CLAIM

    # at the end
    then: Then | None = None
    request_read: bool = False  # nothing of it is still to come
    own: HandshakeAnswer | None = None  # instead of the refusal for the record's reason
    reject: Reject | None = None  # what the refusal says besides that reason: methods, and when to come again
    suspect: Reason | None = None  # whose cause is to be looked for, for the operator alone
    _evidence: bytes | None = None  # for that: the body, where the gate has it no longer

    def __repr__(self) -> str:
        return f"<Relay {self.record.request_id}: request {self.request.value}, answer {self.answer.value}>"

    # -- the head

    def refused(self, head: RequestHead | None, reject: Reject) -> None:
        """The head is refused; None where the bytes were none."""
        self.record.refuse(reject.reason, reject.detail)
        self.record.status = reject.status or reject.reason.status or 400
        self.reject = reject
        if head is not None and reject.route is not None:
            self.head = head
            self.route = reject.route
            self.suspect = reject.reason
        if reject.fault is not None:
            self.record.explain(reject.fault.word, *reject.fault.sentences)
        self._end(reject.reason, OURS)

    def skipped(self, body: bytes) -> None:
        """The body of a refused head came along: the connection may stay."""
        self.request_read = True
        self._evidence = body

    def admitted(self, head: RequestHead, admit: Admit, spill: Spill | None) -> None:
        """The head holds. ``spill`` takes what does not fit the window, in HOLD alone."""
        self.head = head
        self.admit = admit
        self.route = admit.route
        self.gate = gate_of(head, admit, spill)
        self.record.phase = BODY
        if self.gate.is_free:
            self.record.admit(admit.observed)
        if admit.observed is not None:
            self.suspect = admit.observed

    def answered_here(self, answer: HandshakeAnswer) -> None:
        """An endpoint check that is right, or a delivery that is left out: we answer, and the upstream gets nothing."""
        self.own = answer
        self.request_read = True
        self._end(self.record.reason, OURS)

    # -- the request

    def whole(self, body: bytes) -> None:
        """All of the content at once, the common case; then comes ``content_ended``."""
        REQUEST_HEARS[self.request][CONTENT]
        self.gate.keep(body)

    def content(self, piece: Piece) -> None:
        """More of the content, in the order it came; a view only while SENDING, which keeps nothing of it but copies.
        Raises OSError where the spill does not take it.
        """
        REQUEST_HEARS[self.request][CONTENT]
        out = self.gate.feed(piece)
        if out:
            self._pass_on(out)

    def content_ended(self) -> None:
        """The framing of the content has ended without error: now there is a verdict (threats S10a)."""
        REQUEST_HEARS[self.request][CONTENT]
        self.request_read = True
        gate = self.gate
        if gate.received > ON_LOOP_BYTES and gate.wants_whole:
            self.request = REQUEST_MOVES[self.request][JUDGING]
            self.wishes |= JUDGE
        else:
            self._judge(gate.finish())

    def judged(self, verdict: str | Reason | None) -> None:
        """What JUDGE has given."""
        REQUEST_HEARS[self.request][VERDICT]
        self._judge(verdict)

    def claimed(self) -> None:
        """No other exchange delivers this."""
        REQUEST_HEARS[self.request][CLAIMED]
        self._deliver()

    def duplicate(self, reason: Reason, status: int) -> None:
        """It is a duplicate, or none can tell whether it is one (OVERLOADED); ``status`` is to be answered."""
        REQUEST_HEARS[self.request][CLAIMED]
        if self.admit.route.observe and reason is not Reason.INTERNAL_ERROR:
            self._deliver()
            self.record.admit(reason)
        else:
            if reason is Reason.DUPLICATE_DELIVERED:
                self.record.admit(self.admit.observed)
            self.refuse(reason, "duplicates_store" if reason is Reason.OVERLOADED else "", status=status)

    # -- the way to the upstream

    def connected(self, endpoint: Endpoint, name: str, now: float) -> None:
        """A connection to ``endpoint`` stands, which the log calls ``name``: it gets what may leave."""
        ANSWER_HEARS[self.answer][CONNECTED]
        self._since = self.touched = now
        record, head, gate, judged = self.record, self.head, self.gate, self.request is ADMITTED
        record.upstream = name
        record.phase = ANSWER_HEAD if judged else BODY
        # Its length was not known when it began to stream: it goes on in chunks of ours.
        chunked = gate.streaming and head.framing is CHUNKED
        length = None if chunked else gate.received if judged else head.content_length
        text = head_to_upstream(head, self.admit, record, self.arrival, endpoint=endpoint, length=length, judged=judged)
        self.to_upstream = self._there.begin(text, chunked=chunked)
        self.answer = ANSWER_MOVES[self.answer][AWAITING if self._there.ended else SENDING]

    def upstream_takes(self, now: float) -> None:
        """The upstream takes more of the request: give it the next piece of the spill, where there is one."""
        ANSWER_HEARS[self.answer][TAKES]
        self.touched = now
        if self.spilled is not None:
            piece = next(self.spilled, None)
            if piece is None:
                self.spilled = None
                self.answer = ANSWER_MOVES[self.answer][AWAITING]
            else:
                self.to_upstream.append(piece)

    # -- the answer

    def answered(self, head: ResponseHead, content: list[bytes], *, ended: bool, now: float) -> None:
        """The final head has come, with ``content``; ``ended`` where that was all. It waits for ``relay_kept``."""
        ANSWER_HEARS[self.answer][ANSWERED]
        self.touched = now
        self.record.upstream_duration_s = now - self._since
        self.spilled = None  # the upstream takes no more of the request
        self._reply = head
        self._back = Passage(content, ended=ended)
        self.answer = ANSWER_MOVES[self.answer][KEPT]

    def more(self, content: list[bytes], *, ended: bool, now: float) -> None:
        """More content of the answer; ``ended`` where that was all."""
        ANSWER_HEARS[self.answer][MORE]
        self.touched = now
        self._back.put(content, ended=ended)
        if self.answer is RELAYING:
            self._relay(self._back.take())

    def failed(self, reason: Reason, detail: str) -> None:
        """The connection to the upstream is gone, and the answer is not complete."""
        ANSWER_HEARS[self.answer][FAILED]
        self.refuse(reason, detail)

    @property
    def may_relay(self) -> bool:
        """Whether an answer is kept that the client may see."""
        return self.answer is KEPT and (self.request is ADMITTED or self.gate.is_free)

    def relay_kept(self, date: bytes, *, persists: bool) -> None:
        """Pass on the answer that is kept. ``persists`` says whether the client's connection may stay."""
        head, record = self._reply, self.record
        framing = head.framing
        if framing is CHUNKED or framing is EOF:
            framing = CHUNKED if self.head.minor else EOF
        # After an answer before the request's end the rest of the request is not read (threats R6, F12).
        record.keep_alive = persists and record.keep_alive and self.request is ADMITTED and framing is not EOF
        record.status = head.status
        record.phase = ANSWER_BODY
        self.answer = ANSWER_MOVES[self.answer][RELAYING]
        text = answer_head(head, framing, date, close=not record.keep_alive)
        self._relay(self._back.begin(text, chunked=framing is CHUNKED))

    def body_in_memory(self) -> bytes | None:
        """The body, to look for the cause of ``suspect`` in; None where it is large, or not here whole."""
        if self._evidence is not None:
            return self._evidence
        return self.gate.whole_body() if self.gate.held_bytes <= MAX_BODY_BYTES else None

    # -- an end before its time

    def refuse(self, reason: Reason, detail: str = "", *, status: int = 0) -> None:
        """End the exchange with ``reason``: by an answer where none was begun, else by cutting the connection."""
        self.record.refuse(reason, detail)
        begun = self.answer is RELAYING
        if not begun:
            demanded = self.admit.route.refusal_status if reason.status == 403 else None
            self.record.status = status or demanded or reason.status or 0
        self._end(reason, CUT if begun else OURS)

    def client_gone(self, reason: Reason, *, owns: bool) -> None:
        """The client's connection is closed, by itself or, for ``reason``, by us.

        ``owns`` says that this exchange has claimed the delivery. Where the upstream has all of it, its outcome still
        counts: the client will send it again.
        """
        self._end(reason, GONE, OUTCOME if owns and self.answer is AWAITING else CLOSED)

    def resolved(self) -> None:
        """That outcome is known, or never will be."""
        ANSWER_HEARS[self.answer][RESOLVED]
        self.answer = ANSWER_MOVES[self.answer][CLOSED]

    # -- inside

    def _judge(self, verdict: str | Reason | None) -> None:
        """The body has its verdict: the secret that matched, why none did, or None where nothing had to be proved."""
        admit, record = self.admit, self.record
        record.event = record.event or admit.event
        if isinstance(verdict, Reason):
            self.suspect = verdict
            if not (admit.route.observe and verdict in OBSERVABLE):
                self.refuse(verdict, self.gate.detail)
                return
            admit.observed = verdict
            # Kept until the exchange ends, beside the budget: a small one, which costs no more than its head.
            self._evidence = self.body_in_memory() if self.gate.held_bytes <= ON_LOOP_BYTES else None
        elif verdict is not None:
            record.secret_name = verdict
        if (answer := own_answer(self.head, admit, self.gate, record)) is not None:
            self.answered_here(answer)
            return
        if admit.route.duplicates is not None and admit.observed is None and not self.arrival.passes_duplicates:
            # Only now, so that a forged delivery can claim nothing.
            self.keys = delivery_keys(admit.route.duplicates, self.head, admit, record)
        if self.keys:
            self.request = REQUEST_MOVES[self.request][CLAIMING]
            self.wishes |= CLAIM
        else:
            self._deliver()

    def _deliver(self) -> None:
        """All that had to be proved is: everything may leave, its end included."""
        self.request = REQUEST_MOVES[self.request][ADMITTED]
        self.record.admit(self.admit.observed)
        if self.answer is SENDING:
            self.record.phase = ANSWER_HEAD
        self.spilled = self.gate.spilled()
        self._pass_on(self.gate.take())

    def _pass_on(self, pieces: Sequence[Piece]) -> None:
        """Content that may leave; what is admitted has its end with it, or behind what was spilled."""
        ended = self.request is ADMITTED and self.spilled is None
        if self.answer is NONE:
            self._there = Passage(pieces, ended=ended)
            self._dial()
        elif self.answer is DIALING:
            self._there.put(pieces, ended=ended)
        elif self.answer is SENDING:
            self._there.put(pieces, ended=ended)
            self.to_upstream += self._there.take()
            if ended:
                self.answer = ANSWER_MOVES[self.answer][AWAITING]
        # After an early answer the rest is read for its verdict alone.

    def _dial(self) -> None:
        admit = self.admit
        self.may_wait = self.request is ADMITTED and admit.route.hold_s > 0 and admit.observed is None
        self.record.phase = CONNECT
        self.wishes |= DIAL
        self.answer = ANSWER_MOVES[self.answer][DIALING]

    def _relay(self, pieces: list[Piece]) -> None:
        record, back = self.record, self._back
        self.to_client += pieces
        record.bytes_out = back.size
        if back.ended:
            record.phase = DONE
            self._end(DELIVERED, GO_ON if record.keep_alive else CLOSE)

    def _end(self, reason: Reason, then: Then, answer: AnswerState = CLOSED) -> None:
        """The only end."""
        self.record.reason = reason
        self.record.bytes_in = self.gate.received
        self.request = REQUEST_MOVES[self.request][ENDED]
        self.answer = ANSWER_MOVES[self.answer][answer]
        self.then = then
        self.wishes = 0
        # What is looked at later, for its cause, is no longer in the budget.
        self.spilled, self._there, self._back = None, NOTHING, NOTHING


# -- ``overdue``: whether an exchange has had its time, and whose fault it is (design: limits). Asked once a second of
# every exchange under way; it changes nothing. ``policy.Limits`` has the times.

#: The minimum rate of a body counts after this long (design: limits).
RATE_GRACE_S = 5.0
_AT_UPSTREAM = frozenset({SENDING, AWAITING, KEPT})


def overdue(relay: Relay, now: float, *, paused_s: float, read: bool, taken: bool) -> tuple[Reason, str] | None:
    """Why ``relay`` is over at ``now``, as reason and detail to refuse it with; None where there is time left.

    ``paused_s`` is how long we ourselves did not read the client, ``read`` says whether we read the upstream, and
    ``taken`` whether it takes what it is given.
    """
    limits = relay.admit.route.limits
    elapsed = now - relay.started
    if _is_slow(relay, elapsed - paused_s):
        return Reason.BODY_TIMEOUT, ""
    if elapsed > limits.request_timeout_s:
        return _whose_turn(relay, read=read, taken=taken), "request_timeout"
    awaited = relay.answer is RELAYING or (relay.answer in _AT_UPSTREAM and relay.request is ADMITTED)
    if awaited and read and now - relay.touched > limits.upstream_timeout_s:
        return Reason.UPSTREAM_TIMEOUT, ""
    return None


def _is_slow(relay: Relay, active_s: float) -> bool:
    """Whether the client is. One that has its answer need not send the rest."""
    if relay.request is not RECEIVING or relay.answer is RELAYING:
        return False
    limits = relay.admit.route.limits
    if active_s > limits.body_timeout_s:
        return True
    counted_s = active_s - RATE_GRACE_S
    return counted_s > 0 and relay.gate.received < limits.body_min_rate * counted_s


def _whose_turn(relay: Relay, *, read: bool, taken: bool) -> Reason:
    """Whose turn it is, as the reason why there was not enough time."""
    if relay.answer is RELAYING:
        return Reason.UPSTREAM_TIMEOUT if read else Reason.WRITE_TIMEOUT
    if relay.request is RECEIVING and relay.answer is not DIALING and taken:
        return Reason.BODY_TIMEOUT
    return Reason.UPSTREAM_TIMEOUT
