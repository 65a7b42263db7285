"""One exchange: from an admitted head to the last byte of the answer.

It stands between a ``ClientConnection``, which reads content and writes answers, and a ``Delivery``, which moves what
may leave. What that is and when is the gate's to say (``core.body``); here is the order: content, verdict, own answer
or claim, delivery. It ends in exactly one place: ``_finish``.

Rule: whatever is called may end the exchange, or has ended it already. So a call that lets the delivery or the sender
go on is the last thing that a method does with ``self``, and whoever comes late finds it ``_over``.

The verdict comes after the framing has ended without error (threats S10a), and a duplicate is looked for after the
verdict, so that a forged delivery can claim nothing.
"""

from __future__ import annotations

from functools import partial

from proxy.core.body import BodyGate
from proxy.core.budget import Reservation
from proxy.core.diagnosis import MAX_BODY_BYTES
from proxy.core.duplicates import DuplicateRule
from proxy.core.exchange import Admit, delivery_keys, own_answer
from proxy.core.policy import BodyMode
from proxy.core.record import ExchangeRecord
from proxy.http1 import CONTINUE, RequestHead
from proxy.net.apart import ON_LOOP_BYTES, Job
from proxy.net.delivery import Answer, Delivery
from proxy.net.duplicates import Ticket
from proxy.net.sender import Pause, Sender
from proxy.net.site import Site
from proxy.net.spill import SpillFile
from proxy.net.turn import DELIVERY, VERDICT
from proxy.net.witness import leave_witness
from proxy.reasons import Ended, Phase, Reason

#: How long an exchange waits for its share of the buffer budget before it is answered 503.
BUDGET_WAIT_S = 15.0
#: The minimum rate of a body counts after this long (design: limits).
RATE_GRACE_S = 5.0
#: While a streamed body is under way it holds what is withheld and one write buffer, no longer a whole window.
STREAMING_BYTES = 160 * 1024
#: The same where there is plenty, and reads are large: up to one of them is withheld, another in the write buffer.
GENEROUS_BYTES = 640 * 1024


class Exchange:
    """One admitted request and its answer."""

    __slots__ = (
        "_admit",
        "_body_ended",
        "_delivery",
        "_gate",
        "_head",
        "_job",
        "_over",
        "_reservation",
        "_sender",
        "_site",
        "_spill",
        "_streams",
        "_ticket",
        "_waits_since",
        "record",
        "started",
    )

    def __init__(self, sender: Sender, site: Site, head: RequestHead, admit: Admit, record: ExchangeRecord) -> None:
        route = admit.route
        mode = route.body
        if mode is not BodyMode.HOLD:
            # What streams freely is what has nothing (or, observed past the head, nothing more) to prove. What may be a
            # duplicate keeps its end here until it is known to be none.
            settled = admit.verification is None and (route.duplicates is None or admit.observed is not None)
            mode = BodyMode.FREE if settled else BodyMode.TAIL
        self._sender = sender
        self._site = site
        self._head = head
        self._admit = admit
        self.record = record
        self.started = site.clock.now()
        site.exchanges += 1
        self._spill = SpillFile(site.spill_space) if mode is BodyMode.HOLD else None
        self._gate = BodyGate(mode, route.limits.hold_window, admit.verification, self._spill)
        self._streams = mode is BodyMode.FREE  # nothing is to be proved by the body
        self._body_ended = False
        self._over = False
        self._job: Job | None = None
        self._reservation: Reservation | None = None
        self._ticket: Ticket | None = None
        self._delivery = Delivery(
            self, sender, site, head=head, admit=admit, record=record, gate=self._gate, free=self._streams
        )

    # -- the sender's side

    def begin_whole(self, body: bytes) -> None:
        """The request came whole in one read: the common case, in one step."""
        self._body_ended = True
        self.record.phase = Phase.BODY
        if len(body) > ON_LOOP_BYTES and self._gate.wants_whole:
            self._gate.keep(body)
            if self._reserve().hold(len(body)):
                self._judge_apart()
            else:
                self.refuse(Reason.OVERLOADED, "buffer_budget")
            return
        self._judge(self._gate.whole(body))

    def begin(self) -> None:
        """The head is admitted, content is to come."""
        self.record.phase = Phase.BODY
        if self._streams:
            self._tell_verdict()
            self._greet()
            return
        party = self._reserve().party
        if self._spill is not None:
            self._spill.party = party
        self._greet()

    def _reserve(self) -> Reservation:
        party = self._site.party_of(self._admit.client)
        self._reservation = self._site.budget.reserve(party, self._budget_granted)
        return self._reservation

    def _budget_granted(self) -> None:
        self._sender.resume(Pause.BUDGET)

    def _greet(self) -> None:
        if self._head.expect_continue:
            self._sender.write([CONTINUE])

    def content(self, piece: bytes) -> None:
        """Content of the request, in the order it came."""
        try:
            out = self._gate.feed(piece)
        except OSError:
            self.refuse(Reason.OVERLOADED, "spill")
            return
        if out:
            self._delivery.stream(out)
        if self._reservation is not None:
            if out or self._gate.spilling:
                self._resize(self._reservation)
            elif not self._reservation.hold(self._gate.held_bytes):
                self._waits_since = self._site.clock.now()
                self._sender.pause(Pause.BUDGET)

    def _resize(self, reservation: Reservation) -> None:
        """A body under way holds less than a window, or reads faster where memory is plenty."""
        gate = self._gate
        generous = gate.streaming and gate.takes_large_pieces and reservation.grow(GENEROUS_BYTES)
        if not generous:
            least = STREAMING_BYTES if gate.streaming else 0
            reservation.shrink(max(least, self._delivery.buffered_bytes + gate.held_bytes))
        self._sender.read_more(generous=generous)

    def content_ended(self) -> None:
        """The content's framing ended without error: now there is a verdict."""
        self._body_ended = True
        if self._gate.received > ON_LOOP_BYTES and self._gate.wants_whole:
            self._judge_apart()
        else:
            self._judge(self._gate.finish())

    def sender_gone(self, reason: Reason) -> None:
        """The sender's connection is closed, by itself or, for ``reason``, by us."""
        if self._over:
            return
        awaited = self._delivery.awaited()
        if self._ticket is not None and awaited is not None:
            limits = self._admit.route.limits
            late = min(self.started + limits.request_timeout_s, self._delivery.touched + limits.upstream_timeout_s)
            if leave_witness(self._site, awaited, self._ticket, late):
                self._delivery.let_go()
                self._ticket = None
        self._delivery.abandon()
        self._finish(reason)

    def sender_writable(self, *, writable: bool) -> None:
        """The sender takes the answer, or is slower than the upstream."""
        self._delivery.sender_writable(writable=writable)

    def refuse(self, reason: Reason, detail: str = "", *, status: int = 0) -> None:
        """End the exchange with ``reason``: by an answer where none was begun, else by cutting the connection."""
        if self._over:
            return
        cut = self._delivery.answer is Answer.RELAYING
        self._delivery.abandon()
        record = self.record
        record.detail = detail
        if reason.ended_by is not Ended.UPSTREAM:
            record.verdict = record.verdict or "refused"
        if not cut:
            demanded = self._admit.route.refusal_status if reason.status == 403 else None
            record.status = status or demanded or reason.status or 0
        self._finish(reason)
        if cut:
            self._sender.cut()
        else:
            self._sender.answer_refusal(record, body_read=self._body_ended)

    def check(self, now: float, *, paused_s: float) -> None:
        """Judge the deadlines; called once a second. ``paused_s`` is how long we ourselves did not read the sender."""
        limits = self._admit.route.limits
        elapsed = now - self.started
        waiting = self._reservation is not None and not self._reservation.granted and not self._body_ended
        if waiting and now - self._waits_since > BUDGET_WAIT_S:
            self.refuse(Reason.OVERLOADED, "buffer_budget")
        elif not waiting and self._body_late(elapsed - paused_s):
            self.refuse(Reason.BODY_TIMEOUT)
        elif self._job is not None and not self._job.started and now - self._waits_since > BUDGET_WAIT_S:
            self.refuse(Reason.OVERLOADED, "verification")
        elif elapsed > limits.request_timeout_s:
            self.refuse(self._delivery.whose_turn(body_ended=self._body_ended), "request_timeout")
        elif self._delivery.late(now):
            self.refuse(Reason.UPSTREAM_TIMEOUT)

    def _body_late(self, active_s: float) -> bool:
        """Whether the sender is too slow. Who is answered early need not send the rest."""
        if self._body_ended or self._delivery.answer is Answer.RELAYING:
            return False
        limits = self._admit.route.limits
        if active_s > limits.body_timeout_s:
            return True
        counted_s = active_s - RATE_GRACE_S
        return counted_s > 0 and self._gate.received < limits.body_min_rate * counted_s

    # -- the verdict

    def _judge_apart(self) -> None:
        """A large body that is judged in one piece takes too long for the loop."""
        self._waits_since = self._site.clock.now()
        party = self._site.party_of(self._admit.client)
        self._job = self._site.apart.submit(party, self._gate.finish, self._judged, self._not_judged)

    def _judged(self, verdict: str | Reason | None) -> None:
        self._job = None
        self._site.turn.go_on(VERDICT, partial(self._judge, verdict), self._sender.failed)

    def _not_judged(self, bug: Exception) -> None:
        self._job = None
        self._sender.failed(bug)

    def _judge(self, verdict: str | Reason | None) -> None:
        admit, record = self._admit, self.record
        if isinstance(verdict, Reason):
            if not admit.route.observe:
                self.refuse(verdict)
                self._find_cause(verdict)
                return
            self._find_cause(verdict)
            admit.observed = verdict
        elif verdict is not None:
            record.secret_name = verdict
        answer = own_answer(self._head, admit, self._gate, record.secret_name)
        if answer is not None:
            self._tell_verdict()
            record.answer_handshake(answer.status, len(answer.content))
            self._finish(Reason.HANDSHAKE_ANSWERED)
            self._sender.answer_handshake(record, answer)
        elif admit.route.duplicates is None or admit.observed is not None:
            self.claim_granted()
        else:
            self._claim(admit.route.duplicates)

    def _claim(self, rule: DuplicateRule) -> None:
        """Ask whether this delivery was here before: only now, so that a forged one can claim nothing."""
        keys = delivery_keys(rule, self._head, self._admit, self.record)
        if not keys:
            self.claim_granted()
            return
        until = self.started + rule.patience_s
        # The record's id will not do: that of a trusted proxy may come twice, and one owner may claim again and again.
        owner = self._site.new_request_id()
        self._ticket = Ticket(self._site.duplicates, rule, keys, self, owner=owner, until=until)
        self._ticket.ask()

    def claim_granted(self) -> None:
        """Everything that had to be proved is, and nobody else delivers it."""
        self._tell_verdict()
        self._site.turn.go_on(DELIVERY, self._deliver, self._sender.failed)

    def _deliver(self) -> None:
        if self._over:
            return
        waits = self._delivery.deliver(self._spill, since=self.started)
        if waits and self._admit.route.hold_s:
            self._reserve_held()

    def _reserve_held(self) -> None:
        """What came with the last read is not counted; where it is to wait for the upstream, it must be."""
        spilled = 0 if self._spill is None else self._spill.size
        reservation = self._reservation or self._reserve()
        if not reservation.hold(self._gate.received - spilled):
            self.refuse(Reason.OVERLOADED, "buffer_budget")

    def claim_refused(self, reason: Reason, status: int) -> None:
        """It is a duplicate, or nobody can say whether it is one."""
        if self._admit.route.observe and reason is not Reason.INTERNAL_ERROR:
            self.record.verdict, self.record.observed = "observed", reason
            self._deliver()
            return
        if reason is Reason.DUPLICATE_DELIVERED:
            self._tell_verdict()
        self.refuse(reason, "duplicates_store" if reason is Reason.OVERLOADED else "", status=status)

    def _find_cause(self, reason: Reason) -> None:
        gate = self._gate
        self._site.find_cause(
            reason,
            self._head,
            self._admit.route,
            self.record.request_id,
            lambda: gate.whole_body() if gate.held_bytes <= MAX_BODY_BYTES else None,
        )

    def _tell_verdict(self) -> None:
        observed = self._admit.observed
        self.record.verdict = "admitted" if observed is None else "observed"
        self.record.observed = observed

    # -- the delivery's calls

    def answer_begun(self, status: int) -> None:
        """The upstream has answered: a 2xx makes the delivery one that is known (promise 7)."""
        if self._ticket is not None and 200 <= status < 300:
            self._ticket.delivered(status)

    def delivered(self, *, close: bool) -> None:
        """The answer is written whole."""
        self._finish(Reason.DELIVERED)
        self._sender.exchange_ended(close=close)

    # -- the end

    def _finish(self, reason: Reason) -> None:
        """The only exit: gives everything back and writes the one log line."""
        self._over = True
        try:
            self._give_back()
        finally:
            self._note(reason)

    def _give_back(self) -> None:
        if self._ticket is not None:
            self._ticket.release()
        if self._job is None:
            self._let_go()
        else:
            self._site.apart.abandon(self._job, self._let_go)  # a thread may be reading the body

    def _let_go(self) -> None:
        if self._reservation is not None:
            self._reservation.release()
            self._reservation = None
        if self._spill is not None:
            self._spill.close()

    def _note(self, reason: Reason) -> None:
        record = self.record
        record.reason = reason
        record.bytes_in = self._gate.received
        record.duration_s = self._site.clock.now() - self.started
        if reason is Reason.DELIVERED:
            record.phase = Phase.DONE
        # Each knows the other: parted, both are freed at once with the body they hold, and none has to be found later.
        del self._delivery
        self._site.exchanges -= 1
        self._site.finished(record)
