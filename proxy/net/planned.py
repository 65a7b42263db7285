"""``PlannedExchange``: a delivery that goes the way of those before it, from its head to its record.

The common case, and no other: a small body that came whole, with a head for which there is a ``DeliveryPlan``, an idle
connection to the upstream, and an answer that comes in one piece; or a signature that is wrong. Where anything else
happens it becomes an ``Exchange`` in the state that it has reached, which is told what happened.

Its verdict, its sending and its answer are steps of their own. All that came in one turn are judged in a row, then all
are sent, and so each step finds the processor's caches as the one before has left them: in one step of all three a
delivery costs a quarter more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from proxy.core.addresses import Peer
from proxy.core.causes import MAX_BODY_BYTES
from proxy.core.exchange import Reject
from proxy.core.forwarding import answer_head
from proxy.core.handshakes import HandshakeAnswer
from proxy.core.policy import Route
from proxy.core.record import Arrival, ExchangeRecord
from proxy.core.recurring import DeliveryPlan, KnownVerdict
from proxy.core.relay import BODY, CHUNKED, CLOSE, DELIVERED, DONE, EOF, GO_ON, OURS, Relay
from proxy.core.signing.proof import Verification
from proxy.core.states import Then
from proxy.http1 import RequestHead, ResponseHead
from proxy.net.clock import Ready
from proxy.net.exchange import Exchange
from proxy.net.flow import Reading, Writing
from proxy.net.site import Site
from proxy.net.upstream import UpstreamConnection
from proxy.reasons import Reason


@dataclass(slots=True, eq=False, repr=False)
class PlannedExchange:
    """One such delivery; the sink of its upstream's connection."""

    _site: Site
    _client: Ready  # is stepped when there is something to do
    _flow: tuple[Reading, Writing]
    _sender: tuple[Peer, Arrival]
    _plan: DeliveryPlan
    record: ExchangeRecord
    head: RequestHead
    _verification: Verification | None  # None once it is made, and right
    _body: bytes  # until it is sent, or to the end where it is refused
    started: float  # in monotonic seconds
    _upstream: UpstreamConnection | None = None  # to which it was sent
    _since: float = 0.0  # when
    _reply: tuple[ResponseHead, list[bytes]] | None = None  # whole, its content in one piece; to be passed on
    exchange: Exchange | None = None  # what it has become
    then: Then | None = None  # set when it is over
    suspect: Reason | None = None
    own: ClassVar[HandshakeAnswer | None] = None
    reject: ClassVar[Reject | None] = None
    request_read: ClassVar[bool] = True

    def __post_init__(self) -> None:
        self._site.exchanges += 1

    def step(self) -> PlannedExchange | Relay | None:
        """Judge the body, send it, or pass on the answer: one of them. Gives what tells of the exchange at its end."""
        if self.exchange is not None:
            return self.exchange.step()
        if self._verification is not None:
            self._judge(self._verification)
        elif self.then is not None:
            return self
        elif self._upstream is None:
            self._send()
        elif self._reply is not None:
            self._pass_on(*self._reply)
            return self
        return None

    def _judge(self, verification: Verification) -> None:
        verdict = verification.verify(self._body)
        self._verification = None
        if isinstance(verdict, Reason):
            self._refuse(verdict)
        else:
            self.record.secret_name = verdict
        self._site.turn.go_on(self._client)

    def _refuse(self, reason: Reason) -> None:
        record, route = self.record, self._plan.route
        self._site.exchanges -= 1
        record.verdict = "refused"
        record.reason = self.suspect = reason
        demanded = route.refusal_status if reason.status == 403 else None
        record.status = demanded or reason.status or 0
        record.phase = BODY
        record.bytes_in = len(self._body)
        self.then = OURS

    def _send(self) -> None:
        site, record, route = self._site, self.record, self._plan.route
        connection = site.pool.acquire(route.upstream, waits=route.hold_s > 0)
        if connection is None:
            self._become(KnownVerdict(record.secret_name))
            site.turn.go_on(self._client)
            return
        body, self._body = self._body, b""
        size = record.bytes_in = len(body)
        record.upstream = connection.endpoint_text
        self._upstream = connection
        self._since = site.clock.now()
        text = self._plan.upstream_head(self.head, record, self._sender[1], size)
        connection.start(self, self.head.method, [text, body], complete=True)

    def _pass_on(self, head: ResponseHead, content: list[bytes]) -> None:
        site, record = self._site, self.record
        keep_alive = record.keep_alive = record.keep_alive and not site.ends(self._sender[1].kind)
        text = answer_head(head, head.framing, site.clock.date, close=not keep_alive)
        site.exchanges -= 1
        self.then = GO_ON if keep_alive else CLOSE
        record.status = head.status
        record.reason = DELIVERED
        record.phase = DONE
        record.verdict = "admitted"
        if content:
            record.bytes_out = len(content[0])
        self._flow[1].write([text, *content])

    # -- the upstream's calls

    def upstream_answer(self, head: ResponseHead, content: list[bytes], *, ended: bool) -> None:
        """The final head has come, with ``content``; ``ended`` where that was all."""
        if ended and head.status != 503 and head.framing is not CHUNKED and head.framing is not EOF:
            self.record.upstream_duration_s = self._site.clock.now() - self._since
            self._reply = head, content
            self._site.turn.go_on(self._client)
        else:
            self._hand_over(is_open=not ended).upstream_answer(head, content, ended=ended)

    def upstream_content(self, content: list[bytes], *, ended: bool) -> None:
        """More content: behind a head that this has not passed on."""
        self.general().upstream_content(content, ended=ended)

    def upstream_failed(self, reason: Reason, detail: str) -> None:
        """The connection is gone, and the answer is not complete."""
        self._hand_over(is_open=False).upstream_failed(reason, detail)

    def upstream_writable(self, *, writable: bool) -> None:
        """The upstream takes more of the request, or is slow."""
        self.general().upstream_writable(writable=writable)

    # -- the client's calls

    @property
    def relay(self) -> Relay:
        """That of the exchange that it is from now on."""
        return self.general().relay

    def client_writable(self, *, writable: bool) -> None:
        """The client takes the answer, or is slower than the upstream."""
        if self.then is None:
            self.general().client_writable(writable=writable)

    def client_gone(self, reason: Reason) -> None:
        """The client's connection is closed, by itself or, for ``reason``, by us."""
        if self.then is None:
            self.general().client_gone(reason)

    def refuse(self, reason: Reason, detail: str = "") -> None:
        """End it, if it has not ended."""
        if self.then is None:
            self.general().refuse(reason, detail)

    def check(self, now: float) -> None:
        """Judge the deadlines; called once a second."""
        if self.then is None:
            self.general().check(now)

    # -- at the end

    @property
    def over(self) -> Relay | PlannedExchange:
        """What tells of it once it has ended."""
        return self if self.then is not None else self.relay

    @property
    def route(self) -> Route:
        """That of the plan."""
        return self._plan.route

    @property
    def arrival(self) -> Arrival:
        """How it has come."""
        return self._sender[1]

    def body_in_memory(self) -> bytes | None:
        """The body, to look for the cause of ``suspect`` in; None where it is large."""
        return self._body if len(self._body) <= MAX_BODY_BYTES else None

    # -- what it becomes

    def general(self) -> Exchange:
        """The exchange that it is from now on."""
        if self.exchange is not None:
            return self.exchange
        if self._upstream is None:
            return self._become(self._verification or KnownVerdict(self.record.secret_name))
        exchange = self._hand_over(is_open=self._reply is None)
        if self._reply is not None:
            head, content = self._reply
            exchange.upstream_answer(head, content, ended=True)
        return exchange

    def _hand_over(self, *, is_open: bool) -> Exchange:
        """``is_open``: the upstream's connection is lent to this still."""
        assert self._upstream is not None
        exchange = self._become(KnownVerdict(self.record.secret_name))
        # What happened is told to its relay again; what that wants by then is done.
        relay, upstream = exchange.relay, self._upstream
        relay.whole(b"")
        relay.content_ended()
        relay.gate.received = self.record.bytes_in
        relay.connected(upstream.endpoint, upstream.endpoint_text, self._since)
        relay.wishes, relay.to_upstream = 0, []
        exchange.adopt(upstream)
        if is_open:
            upstream.hand_over(exchange)
        return exchange

    def _become(self, verification: Verification) -> Exchange:
        self._site.exchanges -= 1  # it is counted anew
        peer, arrival = self._sender
        relay = Relay(self.record, arrival, self.started)
        admit = self._plan.admit(peer, verification)
        reading, writing = self._flow
        self.exchange = Exchange(self._site, self._client, reading, writing, relay, self.head, admit, self._body)
        return self.exchange
