"""What one relay needs of its worker: room for the body, a ticket among duplicates, a connection to the upstream, time.

``core.relay`` says what is wanted; here it is got, and what came of it is told to the relay. Nothing is decided. Each
event ends in ``_settle``, which does what the relay wants by then, and gives everything back once it is over; its
client's connection is stepped afterwards, and writes the record.
"""

from __future__ import annotations

from dataclasses import InitVar, dataclass, field

from proxy.core.content import ContentReader
from proxy.core.exchange import Admit
from proxy.core.policy import BodyMode
from proxy.core.proxy_protocol import header_for
from proxy.core.relay import AWAITING, CLAIM, DIAL, JUDGE, KEPT, OUTCOME, RECEIVING, RELAYING, SENDING, Relay, overdue
from proxy.errors import ProtocolError
from proxy.http1 import CONTINUE, Piece, RequestHead, ResponseHead
from proxy.net.clock import Ready
from proxy.net.duplicates import Ticket
from proxy.net.flow import LARGE_READ_BYTES, IncomingBody, Pause, Reading, Writing
from proxy.net.pool import RETRY_S, Dial
from proxy.net.site import Site
from proxy.net.upstream import UpstreamConnection
from proxy.reasons import Reason

# -- ``AwaitedOutcome``: what becomes of a delivery whose client has gone, and which its upstream has whole.
#
# Senders have less patience than applications: they hang up, and send again. Where duplicates are looked for, hanging
# up must not make the first try count as failed while the application is still at it.

#: Outcomes that are awaited at once: each keeps a connection to an upstream.
MAX_OUTCOMES = 1000


class AwaitedOutcome:
    """The sink of an upstream's answer in the place of an exchange that has ended: only its status counts."""

    __slots__ = ("_relay", "_site", "_ticket", "_upstream", "deadline")

    def __init__(self, site: Site, relay: Relay, ticket: Ticket, upstream: UpstreamConnection) -> None:
        """Wait for what ``upstream`` answers for as long as the exchange would have; ``ticket`` is its claim."""
        self._site = site
        self._relay = relay
        self._ticket = ticket
        self._upstream = upstream
        limits = relay.admit.route.limits
        self.deadline = min(relay.started + limits.request_timeout_s, relay.touched + limits.upstream_timeout_s)
        site.outcomes.add(self)
        site.clock.watch(self)
        upstream.hand_over(self)

    def upstream_answer(self, head: ResponseHead, content: list[bytes], *, ended: bool) -> None:
        """The delivery is known to be done, or that it is not."""
        del content
        if head.status == 503:
            self._site.pool.endpoints.unavailable(self._upstream.endpoint)
        if 200 <= head.status < 300:
            self._ticket.delivered(head.status)
        self._forget(abort=not ended)

    def upstream_content(self, content: list[bytes], *, ended: bool) -> None:
        """Nothing is read of it."""

    def upstream_failed(self, reason: Reason, detail: str) -> None:
        """It will never be known: a client that sends again is believed."""
        del reason, detail
        self._forget(abort=False)

    def upstream_writable(self, *, writable: bool) -> None:
        """Nothing is to be written."""

    def deadline_passed(self, now: float) -> None:
        """The clock's call, and the worker's at the end."""
        del now
        self._forget(abort=True)

    def _forget(self, *, abort: bool) -> None:
        """``abort`` where the connection is still ours."""
        self._relay.resolved()
        self._site.outcomes.discard(self)
        self._site.clock.unwatch(self)
        self._ticket.release()
        if abort:
            self._upstream.abort()


@dataclass(slots=True, eq=False, repr=False)
class Exchange:
    """One admitted request and its answer; the sink of its upstream's connection."""

    _site: Site
    _client: Ready  # is stepped when there is something to do, at the end as well
    _reading: Reading
    _writing: Writing
    relay: Relay
    head: InitVar[RequestHead]
    admit: InitVar[Admit]
    _whole: bytes | None  # a body that came whole with the head, and is not judged yet; None where it is to come

    _content: ContentReader | None = field(init=False, default=None)  # of a body that is not
    _incoming: IncomingBody | None = field(init=False, default=None)
    _ticket: Ticket | None = field(init=False, default=None)
    _dial: Dial | None = field(init=False, default=None)
    _upstream: UpstreamConnection | None = field(init=False, default=None)
    _released: bool = field(init=False, default=False)

    def __post_init__(self, head: RequestHead, admit: Admit) -> None:
        self._site.exchanges += 1
        whole, route = self._whole is not None, admit.route
        spill = None if whole or route.body is not BodyMode.HOLD else self._site.new_spill(route)
        self.relay.admitted(head, admit, spill)
        if not whole:
            self._content = ContentReader(head, route.limits.max_body)
            self._incoming = IncomingBody(self._site, self._client, self._reading, self.relay, spill)

    # -- the client's side

    def begin(self) -> None:
        """Its body is to come, by ``take``. (One that came whole is judged by the next ``step``, the common case.)"""
        if self._incoming is not None and not self.relay.gate.is_free:
            self._incoming.reserve()
        if self.relay.head.expect_continue:
            self._writing.write([CONTINUE])
        self._settle()

    def adopt(self, upstream: UpstreamConnection) -> None:
        """``upstream`` is lent to this, and its relay knows what that has."""
        self._whole, self._upstream = None, upstream

    def take(self, data: Piece) -> bytes:
        """What comes behind the head; gives back what lies behind the content. The exchange may be over by then."""
        relay, content = self.relay, self._content
        assert content is not None
        if relay.then is not None:
            return b""  # the step that ends it is on its way
        if len(data) == LARGE_READ_BYTES:
            self._reading.let_others()
        try:
            piece = content.feed(data)
            if piece:
                relay.content(piece if relay.answer is SENDING else bytes(piece))
        except ProtocolError as error:
            relay.refuse(error.reason, error.detail)
        except OSError:
            relay.refuse(Reason.OVERLOADED, "spill")
        if content.ended and relay.then is None:
            relay.content_ended()
        self._settle()
        if self._incoming is not None:  # it is not over
            self._incoming.count(0 if self._upstream is None else self._upstream.buffered_bytes)
        return content.rest

    def client_writable(self, *, writable: bool) -> None:
        """The client takes the answer, or is slower than the upstream."""
        relay, upstream = self.relay, self._upstream
        if upstream is not None and relay.answer is RELAYING:
            relay.touched = self._site.clock.now()
            upstream.resume_reading() if writable else upstream.pause_reading()

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
        upstream, incoming = self._upstream, self._incoming
        if incoming is not None and (lacking := incoming.lacks(now)):
            self.refuse(Reason.OVERLOADED, lacking)
        elif not self._reading.reasons & Pause.BUDGET:
            read, taken = upstream is not None and not upstream.reading_paused, upstream is None or upstream.writable
            over = overdue(self.relay, now, paused_s=self._reading.paused_s(now), read=read, taken=taken)
            if over is not None:
                self.refuse(*over)

    # -- the turn

    def step(self) -> Relay | None:
        """Judge what is here whole, tell the relay of a verdict or pass on an answer, and do what it wants by then.
        Gives the relay where the exchange is over.
        """
        relay, whole, incoming = self.relay, self._whole, self._incoming
        if relay.then is not None:
            return relay
        if whole is not None:
            # A step of its own: between two parts of one exchange a hash would leave no cache as it was.
            self._whole = None
            relay.whole(whole)
            self._site.turn.go_on(self._client)
        elif self._content is None and not relay.request_read:
            relay.content_ended()
        elif incoming is not None and incoming.verdict is not None:
            (verdict,), incoming.verdict = incoming.verdict, None
            relay.judged(verdict)
        elif relay.may_relay:
            if self._upstream is not None:
                self._upstream.resume_reading()
            relay.relay_kept(self._site.clock.date, persists=not self._site.ends(relay.arrival.kind))
            if self._ticket is not None and 200 <= relay.record.status < 300:
                self._ticket.delivered(relay.record.status)
        self._settle()
        return None

    def _settle(self) -> None:
        """Do what the relay wants after an event, until it wants no more. A ticket may answer within."""
        relay = self.relay
        while relay.wishes and relay.then is None:
            wishes, relay.wishes = relay.wishes, 0
            if wishes & JUDGE and not self._room().judge():
                relay.refuse(Reason.OVERLOADED, "buffer_budget")
            if wishes & CLAIM:
                self._claim()
            if wishes & DIAL and relay.then is None:  # a ticket has not ended it
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
        incoming, dial, ticket, upstream = self._incoming, self._dial, self._ticket, self._upstream
        # What calls back is let go of as well: each would keep the other until the collector looks.
        self._incoming = self._dial = self._ticket = self._upstream = None
        if incoming is not None:
            incoming.release()
        if dial is not None:
            dial.cancel()
        if ticket is not None and upstream is not None and self.relay.answer is OUTCOME:
            AwaitedOutcome(site, self.relay, ticket, upstream)
            return
        if ticket is not None:
            ticket.release()
        if upstream is not None:
            upstream.abort()

    def _room(self) -> IncomingBody:
        """What holds the body while it waits, or is judged by a thread."""
        if self._incoming is None:
            self._incoming = IncomingBody(self._site, self._client, self._reading, self.relay)
        return self._incoming

    # -- duplicates

    def _claim(self) -> None:
        relay, rule = self.relay, self.relay.admit.route.duplicates
        assert rule is not None
        # The record's id will not do: that of a trusted proxy may come twice, and one owner may claim again and again.
        owner, until = self._site.new_request_id(), relay.started + rule.patience_s
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
        preface = header_for(relay.admit.client, self._writing.local_address) if route.sends_proxy else b""
        wait_s = max(route.patience_s(site.clock.now() - relay.started), RETRY_S) if relay.may_wait else 0.0
        dial = Dial(route.upstream, patience_s=wait_s, ready=self._dialled, failed=self._unreachable, preface=preface)
        self._dial = site.pool.dial(dial)
        if relay.request is RECEIVING:
            self._reading.pause(Pause.CONNECT)
        elif route.hold_s and not self._room().hold():
            # What came with the last read is not counted; where it is to wait for the upstream, it must be.
            relay.refuse(Reason.OVERLOADED, "buffer_budget")

    def _dialled(self, connection: UpstreamConnection) -> None:
        self._dial = None
        self._connected(connection)
        self._reading.resume(Pause.CONNECT)
        self._settle()

    def _unreachable(self) -> None:
        route = self.relay.admit.route
        self.relay.record.upstream = ", ".join(map(str, route.upstream))  # all were tried
        self.refuse(*self._site.pool.why_unreached(route.upstream, waited=route.hold_s > 0))

    def _connected(self, connection: UpstreamConnection) -> None:
        self._upstream = connection
        relay = self.relay
        relay.connected(connection.endpoint, connection.endpoint_text, self._site.clock.now())
        pieces, relay.to_upstream = relay.to_upstream, []
        connection.start(self, relay.head.method, pieces, complete=relay.answer is AWAITING)
        if relay.spilled is not None:
            self._send_spilled()

    def _send(self) -> None:
        pieces, self.relay.to_upstream = self.relay.to_upstream, []
        if self._upstream is not None:
            self._upstream.send(pieces, complete=self.relay.answer is AWAITING)

    def _send_spilled(self) -> None:
        """What lies in the spill, as fast as the upstream takes it."""
        relay = self.relay
        while relay.spilled is not None and self._upstream is not None and self._upstream.writable:
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
