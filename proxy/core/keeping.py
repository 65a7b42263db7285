"""``KeepingRelay``: the exchange of a route that keeps deliveries. It decides what is kept, and when that is told.

Rule 1: only what is proved is kept, and only as a whole: such a route holds its bodies. What is merely observed, an
endpoint check, and a request whose answer is what its sender wants (GET) go directly, whatever the route says.
Rule 2: the sender is told 2xx after ``stored``, which the shell calls when the delivery is on stable storage.
Rule 3: what has been sent may have arrived. It is kept only where the route says ``ambiguous``.
Rule 4: a copy is made of what is proved, whole and on its way, and of nothing else.
"""

from __future__ import annotations

from dataclasses import replace

from proxy.core.content import NOTHING
from proxy.core.delivery import Deliver, DeliveryRule
from proxy.core.exchange import Admit, forwarded_target
from proxy.core.policy import Route
from proxy.core.record import SAFE, head_to_upstream
from proxy.core.relay import ADMITTED, AWAITING, DIALING, SENDING, STORING, Relay
from proxy.core.states import ANSWER_HEARS, ANSWER_MOVES, Event, Then
from proxy.reasons import Phase, Reason

#: What an upstream may have, and has not answered.
_SENT = frozenset({SENDING, AWAITING})
QUEUE = Deliver.QUEUE
ANSWER_HEAD, DONE = Phase.ANSWER_HEAD, Phase.DONE
ACCEPTED, ANSWER = Reason.ACCEPTED, Then.ANSWER


class KeepingRelay(Relay):
    """One exchange of a route with a ``delivery``. Where ``answer`` is STORING, the shell keeps the delivery, and calls
    ``stored`` or ``not_stored``; the upstream is then no longer of use.
    """

    __slots__ = ()

    @property
    def body(self) -> bytes:
        """The body of what may be kept, where it is not in the spill."""
        return self._evidence or b""

    @property
    def rule(self) -> DeliveryRule:
        """How the route delivers."""
        rule = self.admit.route.delivery
        assert rule is not None
        return rule

    @property
    def may_be_kept(self) -> bool:
        """Whether the delivery is one that its route keeps."""
        return self.rule.keeps and self._is_proved

    @property
    def attempts(self) -> int:
        """Made before it is kept: one, where it was sent."""
        return int(self.record.phase is ANSWER_HEAD)

    @property
    def kept_head(self) -> bytes:
        """The head for the upstream, as it would have been sent to the first of the route."""
        return self._head_of(self.admit)

    def copies(self) -> list[tuple[Route, bytes]]:
        """The copies that are to be made of the delivery, each with its head."""
        route, body = self.admit.route, self.body
        if not route.copies or not self._is_proved:
            return []
        shown = body if len(body) == self.gate.received else None
        # What cannot be decided on is not copied.
        asked = [
            one for one in route.copies if one.payload is None or one.payload.judge(self.head, shown).reason is None
        ]
        admits = [replace(self.admit, route=one, target=forwarded_target(one, self.head.target)) for one in asked]
        return [(admit.route, self._head_of(admit)) for admit in admits]

    @property
    def _is_proved(self) -> bool:
        """Whether it is a delivery, with its verdict, and not a question."""
        admit = self.admit
        asks = admit.check is not None or self.head.method in SAFE
        return not asks and admit.observed is None and self.request is ADMITTED

    def _head_of(self, admit: Admit) -> bytes:
        endpoint, length = admit.route.upstream[0], self.gate.received
        return head_to_upstream(
            self.head, admit, self.record, self.arrival, endpoint=endpoint, length=length, judged=True
        )

    def _dial(self) -> None:
        if self._is_proved:
            self._evidence = self._there.waiting()
            if self.rule.deliver is QUEUE:
                self._store()
                return
        super()._dial()

    def failed(self, reason: Reason, detail: str) -> None:
        """The connection to the upstream is gone, and the answer is not complete."""
        if self.answer in _SENT:
            self.undelivered(reason, detail)
        else:
            super().failed(reason, detail)

    def undelivered(self, reason: Reason, detail: str) -> None:
        """The upstream cannot be had, or does not answer: keep the delivery where the route says so, else end it."""
        if self.answer is STORING:
            self.refuse(Reason.QUEUE_FAILED, "slow")
        elif self.may_be_kept and (self.answer is DIALING or (self.answer in _SENT and self.rule.ambiguous)):
            self._store()
        else:
            self.refuse(reason, detail)

    def stored(self) -> None:
        """It is on stable storage."""
        ANSWER_HEARS[self.answer][Event.STORED]
        self.record.status = self.rule.accepted_status
        self.record.phase = DONE
        self._end(ACCEPTED, ANSWER)

    def not_stored(self, reason: Reason, detail: str) -> None:
        """There was no room for it, or the store has failed."""
        ANSWER_HEARS[self.answer][Event.STORED]
        self.refuse(reason, detail)

    def _store(self) -> None:
        self.spilled = None
        self._there = NOTHING
        self.to_upstream = []
        self.answer = ANSWER_MOVES[self.answer][STORING]
