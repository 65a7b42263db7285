"""Fewer lines for refusals: one in so many, and beyond a number from one address one line a minute that sums them up.

A scan or a client with a wrong secret must not be able to fill a disk or hide what matters. Deliveries, and the
troubles of upstreams and our own, always have their line. What is remembered of addresses is bounded.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import field

from proxy.core.record import ExchangeRecord
from proxy.reasons import Ended, Reason
from proxy.values import mutable

MINUTE_S = 60.0
#: Addresses that are told apart within a minute; those beyond are summed up together.
MAX_ADDRESSES = 1000
OTHERS = "others"

_NEVER_LESS = frozenset(
    {
        *(Reason.DELIVERED, Reason.ACCEPTED, Reason.FILTERED, Reason.DUPLICATE_DELIVERED),
        *(Reason.INTERNAL_ERROR, Reason.OVERLOADED, Reason.QUEUE_FULL, Reason.QUEUE_FAILED),
    }
)


@mutable
class Summary:
    """What one address was refused in one minute, beyond what has lines of its own."""

    address: str
    reasons: Counter[str] = field(default_factory=Counter)
    seen: int = 0
    newest: float = 0.0  # seconds since the epoch

    @property
    def withheld(self) -> int:
        """How many refusals have no line."""
        return sum(self.reasons.values())


class RefusalDigest:
    """Says which refusals have a line. ``tell`` gets the summaries when their minute is over."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, tell: Callable[[Summary], None], *, sample: int = 1, per_minute: int = 0
    ) -> None:
        """``sample``: one refusal in so many has a line. ``per_minute``: from one address; 0 is any number."""
        self._loop = loop
        self._tell = tell
        self._sample = sample
        self._per_minute = per_minute
        self._refusals = 0
        self._addresses: dict[str, Summary] = {}
        self._timer: asyncio.TimerHandle | None = None
        self.withheld = 0

    def takes(self, record: ExchangeRecord) -> bool:
        """Whether the exchange has a line of its own."""
        reason = record.reason
        if reason.status is None or reason.ended_by is Ended.UPSTREAM or reason in _NEVER_LESS:
            return True
        if self._per_minute and not self._counts(record):
            self.withheld += 1
            return False
        self._refusals += 1
        if (self._refusals - 1) % self._sample:
            self.withheld += 1
            return False
        return True

    def _counts(self, record: ExchangeRecord) -> bool:
        summary = self._addresses.get(record.client)
        if summary is None:
            name = record.client if len(self._addresses) < MAX_ADDRESSES else OTHERS
            summary = self._addresses.setdefault(name, Summary(name))
            if self._timer is None:
                self._timer = self._loop.call_later(MINUTE_S, self.flush)
        summary.seen += 1
        if summary.seen <= self._per_minute:
            return True
        summary.reasons[record.reason.word] += 1
        summary.newest = record.started + record.duration_s
        return False

    def flush(self) -> None:
        """Tell what was withheld, and begin another minute."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        over, self._addresses = self._addresses, {}
        for summary in over.values():
            if summary.reasons:
                self._tell(summary)
