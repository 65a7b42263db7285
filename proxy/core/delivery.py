"""How a route delivers: at once, or kept first; and what is done about an application that does not take it.

Values and the decisions that need nothing else. What keeps, waits and sends is the wing ``proxy.queue``; a route that
delivers directly has no rule at all.
"""

from __future__ import annotations

from collections.abc import Iterable

from proxy.core.payload import Pointer
from proxy.values import IdentityEnum, frozen


class Deliver(IdentityEnum):
    """When the sender is told that its delivery was taken."""

    DIRECT = "direct"  # by the application's answer
    FALLBACK = "fallback"  # by the application's answer; where it cannot be had, once the delivery is kept
    QUEUE = "queue"  # once the delivery is kept


class AttemptOutcome(IdentityEnum):
    """What came of one attempt."""

    DELIVERED = "delivered"
    AGAIN = "again"
    DEAD = "dead"


DELIVERED = AttemptOutcome.DELIVERED
#: Statuses that speak of the moment and not of the delivery (RFC 9110, RFC 6585, RFC 8470).
TRANSIENT = frozenset({408, 425, 429})
SERVER_ERRORS = 5
#: Timers of a busy loop are late by so much.
CATCH_UP_S = 0.05


@frozen
class RetryRule:
    """When a delivery is tried again; times in seconds."""

    first_s: float = 5.0
    most_s: float = 600.0
    for_s: float = 86400.0
    statuses: frozenset[int] = TRANSIENT
    classes: frozenset[int] = frozenset({SERVER_ERRORS})  # first digits: all statuses of them

    def judge(self, status: int) -> AttemptOutcome:
        """What an answer of ``status`` means; 0 is none: the upstream was not reached, or did not answer."""
        if 200 <= status < 300:
            return DELIVERED
        if not status or status in self.statuses or status // 100 in self.classes:
            return AttemptOutcome.AGAIN
        return AttemptOutcome.DEAD

    def wait_s(self, attempts: int, chance: float, asked_s: float = 0.0) -> float:
        """How long to wait after that many attempts: exponential, with full jitter, so that those that failed together
        do not come back together. ``chance`` is from 0 to 1; ``asked_s`` is what the application asked for.
        """
        most = min(self.first_s * 2.0 ** min(attempts - 1, 60), self.most_s)
        # Full jitter from zero would hammer; never less than a tenth of the first pause.
        return max(most * chance, self.first_s / 10, min(asked_s, self.for_s))

    def due(self, accepted: float, now: float, attempts: int, chance: float, asked_s: float = 0.0) -> float | None:
        """When to try again, or None where that would be later than ``for_s`` after it was accepted."""
        due = now + self.wait_s(attempts, chance, asked_s)
        return due if due <= accepted + self.for_s else None


@frozen
class DeliveryRule:
    """All of it, of one route."""

    deliver: Deliver = Deliver.DIRECT
    accepted_status: int = 202  # what the sender is told once the delivery is kept
    ambiguous: bool = False  # keep also what was sent and got no answer: the application may have it
    retry: RetryRule = RetryRule()
    concurrency: int = 4  # deliveries under way at once
    pace_per_s: float = 0.0  # deliveries in a second; 0 is any number
    strict: bool = False  # one after the other, in the order they came
    order_by: Pointer | None = None  # of ``strict``: each value of this field has an order of its own
    resign: bool = False  # sign again at each attempt, with the newest secret and the time of then
    coalesce: Pointer | None = None  # of those that wait and are equal in this field, only the last is delivered
    keeps_authorization: bool = False  # an ``Authorization`` that no guard reads is stored, and goes along

    @property
    def keeps(self) -> bool:
        """Whether deliveries of the route may be kept."""
        return self.deliver is not Deliver.DIRECT


@frozen
class TurnRule:
    """Exchanges of a route that its application has at once, and that begin in a second, in all; 0: any number."""

    concurrency: int = 0
    pace_per_s: float = 0.0
    workers: int = 1

    @property
    def at_once(self) -> int:
        """What one worker lets through at once: at least one."""
        return max(1, self.concurrency // self.workers) if self.concurrency else 0

    @property
    def per_s(self) -> float:
        """The pace of one worker."""
        return self.pace_per_s / self.workers


class Pace:
    """Spreads deliveries evenly over time, which comes in as an argument."""

    __slots__ = ("_next",)

    def __init__(self) -> None:
        self._next = 0.0

    def wait_s(self, per_s: float, now: float) -> float:
        """How long the next one must wait; 0 where it may go. ``per_s`` 0 is any number."""
        return max(0.0, self._next - now) if per_s else 0.0

    def went(self, per_s: float, now: float) -> None:
        """One has gone."""
        if per_s:
            # A timer that was late is made up for, within bounds.
            self._next = max(self._next, now - CATCH_UP_S) + 1.0 / per_s


def failures_of(words: Iterable[int | str]) -> tuple[frozenset[int], frozenset[int]]:
    """Statuses and classes of ``on = ["5xx", 429]``. ValueError where one is neither."""
    statuses, classes = set(), set()
    for word in words:
        text = str(word)
        if len(text) == 3 and text.endswith("xx") and text[0] in "345":
            classes.add(int(text[0]))
        elif text.isascii() and text.isdigit() and 300 <= int(text) <= 599:
            statuses.add(int(text))
        else:
            raise ValueError(f"{text[:20]!r} is no status of a failure")
    return frozenset(statuses), frozenset(classes)
