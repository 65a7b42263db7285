"""What becomes of a head: ``HeadJudge`` decides, and a ``PlannedExchange`` goes the way of the deliveries before it.

The judge takes the heads of one connection off what the client has sent, knows what the connection has shown of itself
(its address, its certificate, how many requests it has sent) and asks ``core.exchange.decide`` with it. What it gives
is the relay of an exchange, which has ended where the head was refused, or is answered by us. It holds no transport and
answers nothing: that is the connection's.

A plan is for the common case, and no other: a small body that came whole, with a head for which there is a
``DeliveryPlan``, a right signature, an idle connection to the upstream, and an answer that comes in one piece. Where
anything else happens the delivery becomes an ``Exchange`` in the state that it has reached, which is told what
happened: every decision has one place, and the plan makes none. Its verdict, its sending and its answer are steps of
their own: all that came in one turn are judged in a row, then all are sent, and so each step finds the processor's
caches as the one before has left them. In one step of all three a delivery costs a quarter more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from proxy.core.addresses import Peer
from proxy.core.exchange import Admit, Reject, decide, lets_in
from proxy.core.forwarding import answer_head, clean_request_id
from proxy.core.keeping import KeepingRelay
from proxy.core.policy import Policy, Route
from proxy.core.record import Arrival, ExchangeRecord, note_decision
from proxy.core.recurring import DeliveryPlan, KnownVerdict, RequestStream, plan_of
from proxy.core.relay import CHUNKED, CLOSE, DELIVERED, DONE, EOF, GO_ON, Relay
from proxy.core.setup_faults import plain_fault
from proxy.core.signing import Verification
from proxy.core.states import Then
from proxy.errors import ProtocolError
from proxy.http1 import RequestHead, ResponseHead
from proxy.net.beyond_ssl import NO_NAMES
from proxy.net.clock import Ready
from proxy.net.exchange import Exchange
from proxy.net.flow import Reading, Writing
from proxy.net.keeping import exchange_for
from proxy.net.site import Site
from proxy.net.upstream import UpstreamConnection
from proxy.reasons import Reason


class HeadJudge:
    """The judge of one connection's heads."""

    __slots__ = (
        "_judged_by",
        "_let_in",
        "_named",
        "_peer",
        "_secure",
        "_site",
        "_unread",
        "arrival",
        "names",
        "served",
    )

    def __init__(self, site: Site, peer: Peer, unread: RequestStream, *, secure: bool, named: bool, kind: int) -> None:
        """As ``ClientConnection`` is told; ``unread`` is what was sent and not used yet."""
        self._site = site
        self._peer = peer
        self._unread = unread
        self._secure = secure
        self._named = named
        self._judged_by: Policy | None = None
        self._let_in: Route | None = None  # of that policy: the one that has let the address in
        self.arrival = Arrival(peer.text, secure=secure, kind=kind)
        self.names = NO_NAMES  # of the client's verified certificate
        self.served = 0  # requests that were judged

    def read(self) -> Relay | None:
        """Take a head off, where it is whole: the relay of what is none, or None."""
        try:
            self._unread.read_head(self._site.heads)
        except ProtocolError as error:
            return self.refuse(error)
        return None

    def follow(self, client: Ready, flow: tuple[Reading, Writing]) -> PlannedExchange | Exchange | None:
        """The exchange of the head that was taken off, where that has a plan and its body is here; else None, and the
        head is to be judged.
        """
        site, unread, arrival = self._site, self._unread, self.arrival
        head, data = unread.head, unread.data
        assert head is not None
        plan, size = head.plan, head.content_length
        if not isinstance(plan, DeliveryPlan) or size is None or len(data) < size or not self._may_follow(plan):
            return None
        wall = site.clock.wall()
        verification = plan.begin(head, wall)
        if verification is None:
            return None
        self.served += 1
        record = plan.record(site.new_request_id(), wall, arrival, self._peer.text, head)
        record.keep_alive = head.keep_alive and self.served < plan.policy.server.max_requests_per_connection
        unread.head, unread.data = None, data[size:]
        body, now = data[:size], site.clock.now()
        if plan.is_direct and (site.capture is None or not site.capture.wants(now)):
            sender = self._peer, arrival
            return PlannedExchange(site, client, flow, sender, plan, record, head, verification, body, now)
        relay, admit = self._relay(record, head, plan.route), plan.admit(self._peer, verification)
        return exchange_for(plan.route)(site, client, *flow, relay, head, admit, body)

    def _may_follow(self, plan: DeliveryPlan) -> bool:
        """Whether this connection, and the moment, are ones for which ``plan`` is."""
        site, arrival = self._site, self.arrival
        self._meet(site.policy)
        if arrival.trusted or plan.policy is not site.policy or site.lacks(plan.route, arrival.kind):
            return False
        if self._let_in is not plan.route:
            if not lets_in(plan.route, self._peer):
                return False
            self._let_in = plan.route
        return True

    def _meet(self, policy: Policy) -> None:
        """Heads are judged by ``policy`` from now on."""
        if policy is not self._judged_by:
            self._judged_by = policy
            self._let_in = None
            self.arrival.trusted = not self._named and self._peer in policy.trusted_proxies

    def judge(self) -> tuple[Relay, RequestHead, Admit | None]:
        """What was decided about the head that was taken off: where it is not admitted, its exchange is over."""
        site, arrival = self._site, self.arrival
        head, self._unread.head = self._unread.head, None
        assert head is not None
        policy = site.policy
        wall = site.clock.wall()
        self.served += 1
        self._meet(policy)
        decision = decide(
            head, self._peer, policy, site.table, wall, trusted=arrival.trusted, names=self.names, rates=site.rates
        )
        if isinstance(decision, Admit):
            if lacking := site.lacks(decision.route, arrival.kind):
                decision = Reject(Reason.OVERLOADED, decision.client, decision.route, detail=lacking)
            elif not head.again:
                self._learn(policy, head, decision)
        elif decision.fault is not None:
            site.note(decision.fault, decision.client.text)
        given = clean_request_id(head.values.get(b"x-request-id")) if arrival.trusted else None
        record = self._record(wall, given)
        record.client = decision.client.text
        record.keep_alive = head.keep_alive and self.served < policy.server.max_requests_per_connection
        note_decision(record, head, decision)
        relay = self._relay(record, head, decision.route)
        if isinstance(decision, Reject):
            self._turn_away(relay, head, decision)
        elif decision.answer is not None:
            relay.answered_here(decision.answer)
        else:
            return relay, head, decision
        return relay, head, None

    def _relay(self, record: ExchangeRecord, head: RequestHead, route: Route | None) -> Relay:
        site, now, keeps = self._site, self._site.clock.now(), route is not None and route.delivery is not None
        if site.capture is not None:
            return site.capture.relay(record, self.arrival, now, head, keeps=keeps)
        return (KeepingRelay if keeps else Relay)(record, self.arrival, now)

    def _learn(self, policy: Policy, head: RequestHead, admit: Admit) -> None:
        form = self._site.heads.learn(head, admit.route.path)
        if form is not None and not self.arrival.trusted:
            form.plan = plan_of(policy, admit, head)

    def _turn_away(self, relay: Relay, head: RequestHead, reject: Reject) -> None:
        relay.refused(head, reject)
        # A client in doubt about its own words is not heard again on this connection.
        if reject.reason is not Reason.BAD_REQUEST and (body := self._unread.whole_body(head)) is not None:
            relay.skipped(body)

    def refuse(self, error: ProtocolError) -> Relay:
        """The relay of what was sent, and is no head that we take, refused; nothing that follows is parsed."""
        site = self._site
        data, self._unread.data = self._unread.data, b""
        fault = None if self._secure or error.reason is not Reason.BAD_REQUEST else plain_fault(data)
        record = self._record(site.clock.wall())
        if site.capture is None:
            relay = Relay(record, self.arrival, site.clock.now())
        else:
            relay = site.capture.relay(record, self.arrival, site.clock.now(), None, data)
        allow = (b"POST",) if error.reason is Reason.METHOD_NOT_ALLOWED else ()
        detail = error.detail if fault is None else fault.word
        relay.refused(None, Reject(error.reason, self._peer, allow=allow, detail=detail, fault=fault))
        if fault is not None:
            site.note(fault, self._peer.text)
        return relay

    def _record(self, wall: float, request_id: bytes | None = None) -> ExchangeRecord:
        return self._site.new_record(wall, self._peer.text, secure=self._secure, request_id=request_id)


@dataclass(slots=True, eq=False, repr=False)
class PlannedExchange:
    """One such delivery; the sink of its upstream's connection."""

    _site: Site
    _client: Ready  # is stepped when there is something to do
    _flow: tuple[Reading, Writing]
    _sender: tuple[Peer, Arrival]
    _plan: DeliveryPlan
    record: ExchangeRecord
    _head: RequestHead
    _verification: Verification | None  # None once it is made, and right
    _body: bytes  # until it is sent
    started: float  # in monotonic seconds
    _upstream: UpstreamConnection | None = None  # to which it was sent
    _since: float = 0.0  # when
    _reply: tuple[ResponseHead, list[bytes]] | None = None  # whole, its content in one piece; to be passed on
    exchange: Exchange | None = None  # what it has become
    then: Then | None = None  # set when it is over
    suspect: ClassVar[Reason | None] = None
    request_read: ClassVar[bool] = True

    def __post_init__(self) -> None:
        self._site.exchanges += 1

    def step(self) -> PlannedExchange | Relay | None:
        """Judge the body, send it, or pass on the answer: one of them. Gives what tells of the exchange at its end."""
        if self.exchange is not None:
            return self.exchange.step()
        if self._verification is not None:
            self._judge(self._verification)
        elif self._upstream is None:
            self._send()
        elif self._reply is not None:
            self._pass_on(*self._reply)
            return self
        return None

    def _judge(self, verification: Verification) -> None:
        verdict = verification.verify(self._body)
        if isinstance(verdict, Reason):
            self._become(KnownVerdict(verdict))
        else:
            self.record.secret_name = verdict
            self._verification = None
        self._site.turn.go_on(self._client)

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
        text = self._plan.upstream_head(self._head, record, self._sender[1], size)
        connection.start(self, self._head.method, [text, body], complete=True)

    def _pass_on(self, head: ResponseHead, content: list[bytes]) -> None:
        site, record = self._site, self.record
        site.exchanges -= 1
        keep_alive = record.keep_alive = record.keep_alive and not site.ends(self._sender[1].kind)
        self.then = GO_ON if keep_alive else CLOSE
        record.status = head.status
        record.reason = DELIVERED
        record.phase = DONE
        record.verdict = "admitted"
        if content:
            record.bytes_out = len(content[0])
        text = answer_head(head, head.framing, site.clock.date, close=not keep_alive)
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
        self.general().client_writable(writable=writable)

    def client_gone(self, reason: Reason) -> None:
        """The client's connection is closed, by itself or, for ``reason``, by us."""
        self.general().client_gone(reason)

    def refuse(self, reason: Reason, detail: str = "") -> None:
        """End it, if it has not ended."""
        self.general().refuse(reason, detail)

    def check(self, now: float) -> None:
        """Judge the deadlines; called once a second."""
        self.general().check(now)

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
        self.exchange = Exchange(self._site, self._client, reading, writing, relay, self._head, admit, self._body)
        return self.exchange
