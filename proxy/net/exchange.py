"""One exchange: from an admitted head to the last byte of the answer.

It stands between a ``ClientConnection``, which reads content and writes answers, and an ``UpstreamConnection``, which
is borrowed from the pool. What may leave and when is the gate's to say (``core.body``); this module moves bytes, pauses
whichever side is ahead, and ends in exactly one place: ``_finish``.

Order that matters: the verdict comes after the framing has ended without error (threats S10a); the upstream's answer is
kept back until the verdict (S9b); a refused or broken request aborts the upstream connection, never ends it (S9a).
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum

from proxy.core.body import BodyGate
from proxy.core.budget import Reservation
from proxy.core.diagnosis import MAX_BODY_BYTES
from proxy.core.duplicates import DuplicateRule
from proxy.core.exchange import Admit, delivery_keys, own_answer, verified_value
from proxy.core.forwarding import Provenance, answer_head, upstream_head
from proxy.core.policy import BodyMode
from proxy.core.record import ExchangeRecord
from proxy.http1 import CONTINUE, LAST_CHUNK, Framing, RequestHead, ResponseHead, chunk
from proxy.net.duplicates import Ticket
from proxy.net.pool import Dial
from proxy.net.sender import Pause, Sender
from proxy.net.site import Site
from proxy.net.spill import SpillFile
from proxy.net.upstream import UpstreamConnection
from proxy.net.witness import leave_witness
from proxy.reasons import Ended, Phase, Reason

#: How long an exchange waits for its share of the buffer budget before it is answered 503.
BUDGET_WAIT_S = 15.0
#: The minimum rate of a body counts after this long (design: limits).
RATE_GRACE_S = 5.0
#: While a streamed body is under way it holds what is withheld and one write buffer, no longer a whole window.
STREAMING_BYTES = 160 * 1024
#: One read in more pieces than this came in tiny chunks: a copy is cheaper than hashing and writing each by itself.
MANY_PIECES = 16


class Answer(Enum):
    """Where the answer stands."""

    NONE = "none"
    KEPT = "kept"  # it came before the verdict
    RELAYING = "relaying"
    DONE = "done"


class Exchange:
    """One admitted request and its answer."""

    __slots__ = (
        "_admit",
        "_admitted",
        "_answer",
        "_answer_framing",
        "_body_ended",
        "_close",
        "_dial",
        "_gate",
        "_head",
        "_kept",
        "_pending",
        "_reservation",
        "_sender",
        "_site",
        "_spill",
        "_spilled",
        "_ticket",
        "_upstream",
        "_upstream_since",
        "_upstream_touched",
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
        self._spill = SpillFile() if mode is BodyMode.HOLD else None
        self._gate = BodyGate(mode, route.limits.hold_window, admit.verification, self._spill)
        self._spilled: Iterator[bytes] | None = None
        self._admitted = mode is BodyMode.FREE
        self._body_ended = False
        self._reservation: Reservation | None = None
        self._ticket: Ticket | None = None
        self._upstream: UpstreamConnection | None = None
        self._upstream_since = 0.0
        self._upstream_touched = 0.0
        self._dial: Dial | None = None
        self._pending: list[bytes] = []
        self._answer = Answer.NONE
        self._answer_framing = Framing.NONE
        self._kept: tuple[ResponseHead, list[bytes], bool] | None = None
        self._close = False

    # -- the sender's side

    def begin_whole(self, body: bytes) -> None:
        """The request came whole in one read: the common case, in one step."""
        self._body_ended = True
        self.record.phase = Phase.BODY
        self._judge(self._gate.whole(body))

    def begin(self) -> None:
        """The head is admitted, content is to come."""
        self.record.phase = Phase.BODY
        if self._admitted:
            self._tell_verdict()
            self._greet()
            return
        window = self._admit.route.limits.hold_window
        length = self._head.content_length
        size = window if length is None else min(length, window)
        self._reservation = self._site.budget.reserve(size, self._budget_granted)
        if self._reservation.granted:
            self._greet()
        else:
            self._sender.pause(Pause.BUDGET)

    def _budget_granted(self) -> None:
        self._greet()
        self._sender.resume(Pause.BUDGET)

    def _greet(self) -> None:
        if self._head.expect_continue:
            self._sender.write([CONTINUE])

    def content(self, pieces: list[bytes]) -> None:
        """Content of the request, in the order it came."""
        out: list[bytes] = []
        if len(pieces) > MANY_PIECES:
            pieces = [b"".join(pieces)]
        try:
            for piece in pieces:
                out += self._gate.feed(piece)
        except OSError:
            self.refuse(Reason.OVERLOADED, "spill")
            return
        if out:
            self._stream(out)

    def content_ended(self) -> None:
        """The content's framing ended without error: now there is a verdict."""
        self._body_ended = True
        self._judge(self._gate.finish())

    def sender_gone(self, reason: Reason) -> None:
        """The sender's connection is closed, by itself or, for ``reason``, by us."""
        if self._ticket is not None and self._upstream is not None and self._answer is Answer.NONE:
            limits = self._admit.route.limits
            late = min(self.started + limits.request_timeout_s, self._upstream_touched + limits.upstream_timeout_s)
            if leave_witness(self._site, self._upstream, self._ticket, late):
                self._upstream = self._ticket = None
        self._abandon()
        self._finish(reason)

    def sender_writable(self, *, writable: bool) -> None:
        """The sender takes the answer, or is slower than the upstream."""
        if self._upstream is not None and self._answer is Answer.RELAYING:
            if writable:
                self._upstream_touched = self._site.clock.now()
                self._upstream.resume_reading()
            else:
                self._upstream.pause_reading()

    def refuse(self, reason: Reason, detail: str = "", *, status: int = 0) -> None:
        """End the exchange with ``reason``: by an answer where none was begun, else by cutting the connection."""
        self._abandon()
        record = self.record
        record.detail = detail
        if reason.ended_by is not Ended.UPSTREAM:
            record.verdict = record.verdict or "refused"
        cut = self._answer is Answer.RELAYING
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
        waiting = self._reservation is not None and not self._reservation.granted
        if waiting and elapsed > BUDGET_WAIT_S:
            self.refuse(Reason.OVERLOADED, "buffer_budget")
        elif not waiting and self._body_late(elapsed - paused_s):
            self.refuse(Reason.BODY_TIMEOUT)
        elif elapsed > limits.request_timeout_s:
            self.refuse(self._late_one(), "request_timeout")
        elif self._upstream_late(now):
            self.refuse(Reason.UPSTREAM_TIMEOUT)

    def _late_one(self) -> Reason:
        """Whose turn it is, as the reason why there was not enough time."""
        upstream = self._upstream
        if self._answer is Answer.RELAYING:
            stalled = upstream is not None and upstream.reading_paused
            return Reason.WRITE_TIMEOUT if stalled else Reason.UPSTREAM_TIMEOUT
        waits = self._dial is not None if upstream is None else not upstream.writable
        return Reason.UPSTREAM_TIMEOUT if self._body_ended or waits else Reason.BODY_TIMEOUT

    def _body_late(self, active_s: float) -> bool:
        """Whether the sender is too slow. Who is answered early need not send the rest."""
        if self._body_ended or self._answer is Answer.RELAYING:
            return False
        limits = self._admit.route.limits
        if active_s > limits.body_timeout_s:
            return True
        counted_s = active_s - RATE_GRACE_S
        return counted_s > 0 and self._gate.received < limits.body_min_rate * counted_s

    def _upstream_late(self, now: float) -> bool:
        """The upstream has the whole request, or is answering, and is silent for too long."""
        if self._upstream is None or self._upstream.reading_paused:
            return False
        if not (self._body_ended and self._admitted) and self._answer is not Answer.RELAYING:
            return False
        return now - self._upstream_touched > self._admit.route.limits.upstream_timeout_s

    # -- the verdict

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
        self._admitted = True
        self._tell_verdict()
        self._deliver()

    def claim_refused(self, reason: Reason, status: int) -> None:
        """It is a duplicate, or nobody can say whether it is one."""
        if self._admit.route.observe and reason is not Reason.INTERNAL_ERROR:
            self._admitted = True
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

    # -- the upstream's side: the request

    def _stream(self, pieces: list[bytes]) -> None:
        """Content that may leave before the end has come."""
        if self._upstream is not None:
            self._upstream.send(self._framed(pieces), complete=False)
            self._shrink_reservation()
            return
        if self._answer is not Answer.NONE:
            return  # answered early and closed: the rest of the body is read for its verdict alone
        self._pending += pieces
        if self._dial is None:
            self._connect(patience_s=0.0)
        if self._upstream is None:
            self._sender.pause(Pause.CONNECT)

    def _deliver(self) -> None:
        """Everything that is left may leave, the end included."""
        self._pending += self._gate.take()
        if self._spill is not None and self._spill.size:
            self._spilled = self._spill.pieces()
        if self._upstream is not None:
            self._send_rest()
        elif self._kept is None and self._dial is None:
            self._connect(patience_s=self._admit.route.hold_s)
        if self._kept is not None:
            kept, self._kept = self._kept, None
            self._answer = Answer.NONE
            if self._upstream is not None:
                self._upstream.resume_reading()
            self._relay(*kept)

    def _connect(self, *, patience_s: float) -> None:
        self.record.phase = Phase.CONNECT
        endpoints = self._admit.route.upstream
        connection = self._site.pool.acquire(endpoints)
        if connection is not None:
            self._connected(connection)
            return
        self._dial = self._site.pool.dial(
            endpoints, patience_s=patience_s, ready=self._connected, failed=self._unreachable
        )

    def _unreachable(self) -> None:
        self._dial = None
        self.refuse(Reason.UPSTREAM_UNREACHABLE)

    def _connected(self, connection: UpstreamConnection) -> None:
        self._dial = None
        self._upstream = connection
        self._upstream_since = self._upstream_touched = self._site.clock.now()
        self.record.upstream = connection.endpoint_text
        if self.record.phase is Phase.CONNECT:
            self.record.phase = Phase.ANSWER_HEAD if self._body_ended else Phase.BODY
        complete = self._body_ended and self._spilled is None
        pieces = [self._upstream_head(), *self._framed(self._take_pending())]
        if complete and self._is_chunked:
            pieces.append(LAST_CHUNK)
        connection.start(self, self._head.method, pieces, complete=complete)
        self._sender.resume(Pause.CONNECT)
        if self._spilled is not None:
            self._send_spilled()

    @property
    def _is_chunked(self) -> bool:
        """Whether the request goes on in chunks of ours: its length was not known when it began to stream."""
        return self._gate.streaming and self._head.framing is Framing.CHUNKED

    def _framed(self, pieces: list[bytes]) -> list[bytes]:
        if not self._is_chunked:
            return pieces
        return [part for piece in pieces if piece for part in chunk(piece)]

    def _take_pending(self) -> list[bytes]:
        pending, self._pending = self._pending, []
        return pending

    def _send_rest(self) -> None:
        assert self._upstream is not None
        pieces = self._framed(self._take_pending())
        if self._is_chunked:
            pieces.append(LAST_CHUNK)
        self._upstream_touched = self._site.clock.now()
        if self._answer is Answer.NONE:
            self.record.phase = Phase.ANSWER_HEAD
        self._upstream.send(pieces, complete=True)

    def _send_spilled(self) -> None:
        """What lies in the temporary file, as fast as the upstream takes it."""
        assert self._spilled is not None
        while self._upstream is not None and self._upstream.writable:
            piece = next(self._spilled, None)
            if piece is None:
                self._spilled = None
                self._upstream.send([], complete=True)
                return
            self._upstream_touched = self._site.clock.now()
            self._upstream.send([piece], complete=False)

    def _upstream_head(self) -> bytes:
        admit, sender = self._admit, self._sender
        if self._is_chunked:
            length = None
        elif self._gate.streaming and not self._body_ended:
            length = self._head.content_length
        else:
            length = self._gate.received
        provenance = Provenance(
            client=sender.peer_text.encode("ascii"),
            scheme=b"https" if sender.secure else b"http",
            request_id=self.record.request_id.encode("ascii"),
            trusted=sender.peer_trusted,
            verified=verified_value(admit, self.record, judged=self._admitted),
        )
        assert self._upstream is not None
        authority = b"" if self._head.host else self._upstream.endpoint.authority.encode("ascii")
        return upstream_head(
            self._head, admit.target, provenance, length, admit.route.guarded_fields, authority=authority
        )

    def upstream_writable(self, *, writable: bool) -> None:
        """The upstream takes more of the request, or is slower than the sender."""
        if not writable:
            self._sender.pause(Pause.UPSTREAM)
            return
        self._upstream_touched = self._site.clock.now()
        self._sender.resume(Pause.UPSTREAM)
        if self._spilled is not None:
            self._send_spilled()

    def _shrink_reservation(self) -> None:
        if self._reservation is not None:
            assert self._upstream is not None
            self._reservation.shrink(max(STREAMING_BYTES, self._upstream.buffered_bytes))

    # -- the upstream's side: the answer

    def upstream_answer(self, head: ResponseHead, content: list[bytes], *, ended: bool) -> None:
        """The final head came; before the verdict it is kept back."""
        self._upstream_touched = self._site.clock.now()
        self.record.upstream_duration_s = self._upstream_touched - self._upstream_since
        if ended:
            self._upstream = None
        # It takes no more of the request, so there is nothing left to send or to wait for.
        self._spilled = None
        self._sender.resume(Pause.UPSTREAM)
        if self._admitted:
            self._relay(head, content, ended)
            return
        self._kept = (head, content, ended)
        self._answer = Answer.KEPT
        if self._upstream is not None:
            self._upstream.pause_reading()

    def upstream_content(self, content: list[bytes], *, ended: bool) -> None:
        """More of the answer."""
        self._upstream_touched = self._site.clock.now()
        if ended:
            self._upstream = None
        if self._kept is not None:
            head, before, _ = self._kept
            self._kept = (head, before + content, ended)
        else:
            self._write_answer([], content, ended)

    def upstream_failed(self, reason: Reason, detail: str) -> None:
        """The upstream connection is gone with the answer incomplete."""
        self._upstream = None
        self.refuse(reason, detail)

    def _relay(self, head: ResponseHead, content: list[bytes], ended: bool) -> None:  # noqa: FBT001
        framing = head.framing
        if framing is Framing.CHUNKED or framing is Framing.EOF:
            framing = Framing.CHUNKED if self._head.minor else Framing.EOF
        # An answer before the request's end: the rest of the request is not read (threats R6, F12).
        keeps = self.record.keep_alive and self._body_ended and framing is not Framing.EOF and not self._site.draining
        self._close = not keeps
        self._answer = Answer.RELAYING
        if self._ticket is not None and 200 <= head.status < 300:
            self._ticket.delivered(head.status)
        self._answer_framing = framing
        self.record.status = head.status
        self.record.phase = Phase.ANSWER_BODY
        date = self._site.clock.date
        self._write_answer([answer_head(head, framing, date, close=self._close)], content, ended)

    def _write_answer(self, pieces: list[bytes], content: list[bytes], ended: bool) -> None:  # noqa: FBT001
        for piece in content:
            self.record.bytes_out += len(piece)
        if self._answer_framing is Framing.CHUNKED:
            pieces += [part for piece in content if piece for part in chunk(piece)]
            if ended:
                pieces.append(LAST_CHUNK)
        else:
            pieces += content
        if pieces:
            self._sender.write(pieces)
        if ended:
            self._finish(Reason.DELIVERED)
            self._sender.exchange_ended(close=self._close)

    # -- the end

    def _abandon(self) -> None:
        """Nothing more goes to the upstream: what it has of the request must stay incomplete."""
        if self._dial is not None:
            self._dial.cancel()
            self._dial = None
        if self._upstream is not None:
            self._upstream.abort()
            self._upstream = None

    def _finish(self, reason: Reason) -> None:
        """The only exit: gives everything back and writes the one log line."""
        if self._ticket is not None:
            self._ticket.release()
        if self._reservation is not None:
            self._reservation.release()
            self._reservation = None
        if self._spill is not None:
            self._spill.close()
            self._spilled = None
        self._kept = None
        record = self.record
        record.reason = reason
        record.bytes_in = self._gate.received
        record.duration_s = self._site.clock.now() - self.started
        if reason is Reason.DELIVERED:
            record.phase = Phase.DONE
        self._answer = Answer.DONE
        self._site.exchanges -= 1
        self._site.finished(record)
