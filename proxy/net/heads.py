"""``HeadJudge``: what becomes of the heads of one client's connection. It decides about each, and opens its record.

It takes them off what the client has sent, knows what the connection has shown of itself (its address, its certificate,
how many requests it has sent) and asks ``core.exchange.decide`` with it, or follows the plan of heads like this one.
What it gives is an exchange, or the relay of one that has ended: where the head was refused, or is answered by us. It
holds no transport and answers nothing: that is the connection's.
"""

from __future__ import annotations

from proxy.core.addresses import Peer
from proxy.core.exchange import Admit, Reject, decide, lets_in
from proxy.core.forwarding import clean_request_id
from proxy.core.keeping import KeepingRelay
from proxy.core.policy import Policy, Route
from proxy.core.record import Arrival, ExchangeRecord, note_decision
from proxy.core.recurring import DeliveryPlan, RequestStream, plan_of
from proxy.core.relay import Relay
from proxy.core.setup_faults import plain_fault
from proxy.errors import ProtocolError
from proxy.http1 import RequestHead
from proxy.net.beyond_ssl import NO_NAMES
from proxy.net.clock import Ready
from proxy.net.exchange import Exchange
from proxy.net.flow import Reading, Writing
from proxy.net.keeping import exchange_for
from proxy.net.planned import PlannedExchange
from proxy.net.site import Site
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
        if site.policy is not self._judged_by:
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
        if policy is not self._judged_by:
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
