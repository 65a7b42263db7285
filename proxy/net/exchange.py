"""What one relay needs of its worker: room for the body, a ticket among duplicates, a connection to the upstream, time.

``core.relay`` says what is wanted; here it is got, and what came of it is told to the relay. Nothing is decided. Each
event ends in ``_settle``, which does what the relay wants by then, and gives everything back once it is over; its
client's connection is stepped afterwards, and writes the record.
"""

from __future__ import annotations

from proxy.core.budget import Reservation
from proxy.core.exchange import Admit
from proxy.core.overdue import overdue
from proxy.core.policy import BodyMode
from proxy.core.proxy_protocol import header_for
from proxy.core.relay import AWAITING, CLAIM, DIAL, EXPLAIN, JUDGE, KEPT, OUTCOME, RECEIVING, RELAYING, Relay
from proxy.http1 import CONTINUE, RequestHead, ResponseHead
from proxy.net.apart import Job
from proxy.net.duplicates import Ticket
from proxy.net.flow import BUFFER, LARGE_BUFFER, Pause, Reading, Writing
from proxy.net.outcomes import MAX_OUTCOMES, AwaitedOutcome
from proxy.net.pool import RETRY_S, Dial
from proxy.net.site import Site
from proxy.net.spill import SpillFile
from proxy.net.turn import Ready
from proxy.net.upstream import UpstreamConnection
from proxy.reasons import Reason

#: How long an exchange waits for its share of the buffer budget before it is answered 503.
BUDGET_WAIT_S = 15.0
#: While a streamed body is under way it holds what is withheld and one write buffer, no longer a whole window.
STREAMING_BYTES = 160 * 1024
#: The same where there is plenty, and reads are large: up to one of them is withheld, another in the write buffer.
GENEROUS_BYTES = 640 * 1024


class Exchange:
    """One admitted request and its answer; the sink of its upstream's connection."""

    __slots__ = (
        "_body",
        "_client",
        "_dial",
        "_job",
        "_reading",
        "_released",
        "_reservation",
        "_site",
        "_spill",
        "_ticket",
        "_upstream",
        "_verdict",
        "_waits_since",
        "_writing",
        "relay",
    )

    def __init__(
        self,
        site: Site,
        client: Ready,
        reading: Reading,
        writing: Writing,
        *,
        relay: Relay,
        head: RequestHead,
        admit: Admit,
    ) -> None:
        """``client`` is stepped when there is something to do, at the end as well."""
        self._site = site
        self._client = client
        self._reading = reading
        self._writing = writing
        self.relay = relay
        self._spill = SpillFile(site.spill_space) if admit.route.body is BodyMode.HOLD else None
        self._body: bytes | None = None  # here whole, and not judged yet
        self._reservation: Reservation | None = None
        self._job: Job | None = None
        self._verdict: tuple[str | Reason | None] | None = None  # of the job, and not told yet
        self._waits_since = 0.0  # for its share of the budget
        self._ticket: Ticket | None = None
        self._dial: Dial | None = None
        self._upstream: UpstreamConnection | None = None
        self._released = False
        site.exchanges += 1
        relay.admitted(head, admit, self._spill)

    # -- the client's side

    def begin_whole(self, body: bytes) -> None:
        """The request came whole in one read, the common case: the next ``step`` judges it."""
        self._body = body

    def begin(self) -> None:
        """Content is to come."""
        if not self.relay.is_free:
            party = self._reserve().party
            if self._spill is not None:
                self._spill.party = party
        if self.relay.head.expect_continue:
            self._writing.write([CONTINUE])
        self._settle()

    def _reserve(self) -> Reservation:
        party = self._site.party_of(self.relay.admit.client)
        self._reservation = self._site.budget.reserve(party, self._budget_granted)
        return self._reservation

    def _budget_granted(self) -> None:
        if self._reading.resume(Pause.BUDGET):
            self._site.turn.go_on(self._client)

    def content(self, piece: bytes) -> None:
        """Content of the request, in the order it came."""
        relay = self.relay
        try:
            relay.content(piece)
        except OSError:
            relay.refuse(Reason.OVERLOADED, "spill")
        self._settle()
        if self._reservation is not None and relay.then is None:
            self._count(self._reservation)

    def _count(self, reservation: Reservation) -> None:
        """A body under way holds what is held back of it, or reads faster where memory is plenty."""
        gate = self.relay.gate
        if not (gate.streaming or gate.spilling):
            if not reservation.hold(gate.held_bytes):
                self._waits_since = self._site.clock.now()
                self._reading.pause(Pause.BUDGET)
            return
        generous = gate.streaming and gate.takes_large_pieces and reservation.grow(GENEROUS_BYTES)
        if not generous:
            unsent = 0 if self._upstream is None else self._upstream.buffered_bytes
            reservation.shrink(max(STREAMING_BYTES if gate.streaming else 0, unsent + gate.held_bytes))
        self._reading.buffer = LARGE_BUFFER if generous else BUFFER

    def content_ended(self) -> None:
        """The framing of the content has ended without error."""
        self.relay.content_ended()
        self._settle()

    def client_writable(self, *, writable: bool) -> None:
        """The client takes the answer, or is slower than the upstream."""
        relay, upstream = self.relay, self._upstream
        if upstream is None or relay.answer is not RELAYING:
            return
        if writable:
            relay.touched = self._site.clock.now()
            upstream.resume_reading()
        else:
            upstream.pause_reading()

    def client_gone(self, reason: Reason) -> None:
        """The client's connection is closed, by itself or, for ``reason``, by us."""
        if self.relay.then is None:
            owns = self._ticket is not None and self._ticket.is_held and len(self._site.outcomes) < MAX_OUTCOMES
            self.relay.client_gone(reason, owns=owns)
            self._settle()

    def refuse(self, reason: Reason, detail: str = "") -> None:
        """End it, if it has not ended."""
        if self.relay.then is None:
            self.relay.refuse(reason, detail)
            self._settle()

    def check(self, now: float) -> None:
        """Judge the deadlines; called once a second."""
        relay, upstream = self.relay, self._upstream
        if relay.then is not None:
            return
        if self._reading.reasons & Pause.BUDGET:
            if now - self._waits_since > BUDGET_WAIT_S:
                self.refuse(Reason.OVERLOADED, "buffer_budget")
            return
        if self._job is not None and not self._job.started and now - self._waits_since > BUDGET_WAIT_S:
            self.refuse(Reason.OVERLOADED, "verification")
            return
        read = upstream is not None and not upstream.reading_paused
        taken = upstream is None or upstream.writable
        over = overdue(relay, now, paused_s=self._reading.paused_s(now), read=read, taken=taken)
        if over is not None:
            self.refuse(*over)

    # -- the turn

    def step(self) -> None:
        """Judge what is here whole, tell the relay of a verdict or pass on an answer, and do what it wants by then."""
        relay = self.relay
        if self._body is not None:
            body, self._body = self._body, None
            relay.whole(body)
        elif self._verdict is not None:
            (verdict,), self._verdict = self._verdict, None
            relay.judged(verdict)
        elif relay.may_relay:
            if self._upstream is not None:
                self._upstream.resume_reading()
            relay.relay_kept(self._site.clock.date, persists=not self._site.ends(relay.arrival.kind))
            if self._ticket is not None and 200 <= relay.record.status < 300:
                self._ticket.delivered(relay.record.status)
        self._settle()

    def _settle(self) -> None:
        """Do what the relay wants after an event, until it wants no more. A ticket may answer within."""
        relay = self.relay
        while relay.wishes and relay.then is None:
            wishes, relay.wishes = relay.wishes, 0
            if wishes & EXPLAIN:
                self._site.explain(relay)
            if wishes & JUDGE:
                self._judge_apart()
            if wishes & CLAIM:
                self._claim()
            if wishes & DIAL:
                self._connect()
        if relay.to_upstream:
            self._send()
        if relay.to_client:
            pieces, relay.to_client = relay.to_client, []
            self._writing.write(pieces)
        if relay.then is not None:
            self.release()
        elif relay.answer is not KEPT or not relay.may_relay:
            return
        self._site.turn.go_on(self._client)

    def release(self) -> None:
        """Give everything back, once; of what the upstream has, nothing must look complete (threats S9a)."""
        if self._released:
            return
        self._released = True
        site = self._site
        site.exchanges -= 1
        # What calls back is let go of as well: each would keep the other, and the body, until the collector looks.
        job, self._job = self._job, None
        if job is not None:
            site.apart.abandon(job, self._give_back)  # a thread may be reading the body
        elif self._reservation is not None or self._spill is not None:
            self._give_back()
        dial, self._dial = self._dial, None
        if dial is not None:
            dial.cancel()
        ticket, self._ticket = self._ticket, None
        upstream, self._upstream = self._upstream, None
        if ticket is not None and upstream is not None and self.relay.answer is OUTCOME:
            AwaitedOutcome(site, self.relay, ticket, upstream)
            return
        if ticket is not None:
            ticket.release()
        if upstream is not None:
            upstream.abort()

    def _give_back(self) -> None:
        reservation, self._reservation = self._reservation, None
        if reservation is not None:
            reservation.release()
        if self._spill is not None:
            self._spill.close()

    # -- the verdict, where it is made beside the loop

    def _judge_apart(self) -> None:
        relay, site = self.relay, self._site
        self._waits_since = site.clock.now()
        reservation = self._reservation or self._reserve()
        if relay.gate.spilling or reservation.hold(relay.gate.held_bytes):
            self._job = site.apart.submit(reservation.party, relay.gate.finish, self._judged, self._not_judged)
        else:
            relay.refuse(Reason.OVERLOADED, "buffer_budget")

    def _judged(self, verdict: str | Reason | None) -> None:
        self._job = None
        self._verdict = (verdict,)
        self._site.turn.go_on(self._client)

    def _not_judged(self, bug: Exception) -> None:
        self._job = None
        self._client.failed(bug)

    # -- duplicates

    def _claim(self) -> None:
        relay = self.relay
        rule = relay.admit.route.duplicates
        assert rule is not None
        # The record's id will not do: that of a trusted proxy may come twice, and one owner may claim again and again.
        owner = self._site.new_request_id()
        until = relay.started + rule.patience_s
        self._ticket = Ticket(self._site.duplicates, rule, relay.keys, self._claim_told, owner=owner, until=until)
        self._ticket.ask()

    def _claim_told(self, reason: Reason | None, status: int) -> None:
        if reason is None:
            self.relay.claimed()
        else:
            self.relay.duplicate(reason, status)
        self._settle()

    # -- the way to the upstream

    def _connect(self) -> None:
        relay, site = self.relay, self._site
        route = relay.admit.route
        connection = site.pool.acquire(route.upstream, waits=relay.may_wait)
        if connection is not None:
            self._connected(connection)
            return
        waited_s = site.clock.now() - relay.started
        preface = header_for(relay.admit.client, self._writing.local_address) if route.sends_proxy else b""
        patience_s = max(route.patience_s(waited_s), RETRY_S) if relay.may_wait else 0.0
        dial = Dial(
            route.upstream, patience_s=patience_s, ready=self._dialled, failed=self._unreachable, preface=preface
        )
        self._dial = site.pool.dial(dial)
        if relay.request is RECEIVING:
            self._reading.pause(Pause.CONNECT)
        elif route.hold_s:
            # What came with the last read is not counted; where it is to wait for the upstream, it must be.
            spilled = 0 if self._spill is None else self._spill.size
            reservation = self._reservation or self._reserve()
            if not reservation.hold(relay.gate.received - spilled):
                relay.refuse(Reason.OVERLOADED, "buffer_budget")

    def _dialled(self, connection: UpstreamConnection) -> None:
        self._dial = None
        self._connected(connection)
        self._reading.resume(Pause.CONNECT)
        self._settle()

    def _unreachable(self) -> None:
        route = self.relay.admit.route
        not_ready = route.hold_s > 0 and not self._site.pool.endpoints.ready(route.upstream)
        self.refuse(Reason.UPSTREAM_UNREACHABLE, "not_ready" if not_ready else "")

    def _connected(self, connection: UpstreamConnection) -> None:
        self._upstream = connection
        relay = self.relay
        relay.connected(connection.endpoint, connection.endpoint_text, self._site.clock.now())
        pieces, relay.to_upstream = relay.to_upstream, []
        connection.start(self, relay.head.method, pieces, complete=relay.answer is AWAITING)
        if relay.has_more:
            self._send_spilled()

    def _send(self) -> None:
        relay = self.relay
        pieces, relay.to_upstream = relay.to_upstream, []
        if self._upstream is not None:
            self._upstream.send(pieces, complete=relay.answer is AWAITING)

    def _send_spilled(self) -> None:
        """What lies in the spill, as fast as the upstream takes it."""
        relay = self.relay
        while relay.has_more and self._upstream is not None and self._upstream.writable:
            relay.upstream_takes(self._site.clock.now())
            self._send()

    def upstream_writable(self, *, writable: bool) -> None:
        """The upstream takes more of the request, or is slower than the client."""
        if not writable:
            self._reading.pause(Pause.UPSTREAM)
            return
        self.relay.touched = self._site.clock.now()
        self._reading.resume(Pause.UPSTREAM)
        self._send_spilled()

    # -- the answer

    def upstream_answer(self, head: ResponseHead, content: list[bytes], *, ended: bool) -> None:
        """The final head has come, with ``content``; ``ended`` where that was all."""
        relay, upstream = self.relay, self._upstream
        if head.status == 503 and upstream is not None:
            self._site.pool.endpoints.unavailable(upstream.endpoint)
        if ended:
            self._upstream = None
        relay.answered(head, content, ended=ended, now=self._site.clock.now())
        if self._reading.reasons:
            self._reading.resume(Pause.UPSTREAM)
        if relay.may_relay:
            self._site.turn.go_on(self._client)
        elif upstream is not None and not ended:
            upstream.pause_reading()

    def upstream_content(self, content: list[bytes], *, ended: bool) -> None:
        """More of the answer."""
        if ended:
            self._upstream = None
        self.relay.more(content, ended=ended, now=self._site.clock.now())
        self._settle()

    def upstream_failed(self, reason: Reason, detail: str) -> None:
        """The connection is gone, and the answer is not complete."""
        self._upstream = None
        self.relay.failed(reason, detail)
        self._settle()
