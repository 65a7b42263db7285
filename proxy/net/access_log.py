"""One line per exchange, batched: the records of one moment are rendered together and handed to the sink together. In a
row that costs half of what it costs between other work. This module never decides anything; ``log_formats`` has the
forms.

Refusals may have fewer: one in so many, and beyond a number from one address one line a minute that sums them up. A
scan or a client with a wrong secret must not be able to fill a disk or hide what matters. Deliveries, and the troubles
of upstreams and our own, always have their line. What is remembered of addresses is bounded.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import field

from proxy.core.record import ExchangeRecord
from proxy.net.log_formats import MAX_VALUE, LineForm, LogNote, printable
from proxy.net.log_sink import LogSink
from proxy.reasons import Ended, Reason
from proxy.values import mutable

#: Lines are gathered this long at most while traffic is dense: one wake-up of the sink's thread for all of them.
GATHER_S = 0.02

#: So many records are rendered at once at most: some 0.3 ms.
GATHER_RECORDS = 64


class AccessLog:
    """Writes a line per exchange to a sink, batched."""

    def __init__(
        self,
        sink: LogSink | None,
        formatter: LineForm,
        loop: asyncio.AbstractEventLoop,
        *,
        sample: int = 1,
        per_minute: int = 0,
    ) -> None:
        """Without a ``sink`` no line is written. ``sample`` and ``per_minute`` as in ``RefusalDigest``."""
        self._sink = sink
        self._format = formatter
        self._loop = loop
        self._gathered: list[ExchangeRecord | str] = []  # a text is a line that is no exchange
        self._flushed_at = 0.0
        self._told = 0
        self._newest = 0.0
        self._digest: RefusalDigest | None = None
        if sample > 1 or per_minute:
            self._digest = RefusalDigest(loop, self._sum_up, sample=sample, per_minute=per_minute)

    @property
    def withheld(self) -> int:
        """How many refusals were given no line since the start."""
        return 0 if self._digest is None else self._digest.withheld

    @property
    def dropped(self) -> int:
        """How many lines the sink did not take since the start."""
        return 0 if self._sink is None else self._sink.dropped

    def write(self, record: ExchangeRecord) -> None:
        """Log an exchange that has ended. Never blocks."""
        if self._sink is None or (self._digest is not None and not self._digest.takes(record)):
            return
        self._gather(record)

    def _gather(self, entry: ExchangeRecord | str) -> None:
        if not self._gathered:
            self._schedule()
        self._gathered.append(entry)
        if len(self._gathered) >= GATHER_RECORDS:
            self.flush()

    def _sum_up(self, summary: Summary) -> None:
        reasons = summary.reasons.most_common()
        words = ", ".join(f"{count} {word}" for word, count in reasons)
        note = LogNote(
            summary.newest,
            "hookward.refusals",
            {
                "client.address": summary.address[:MAX_VALUE],
                "hookward.refusals.count": summary.withheld,
                "hookward.refusals.reasons": dict(reasons),
            },
            f"{summary.withheld} more refusals from={printable(summary.address)}: {words}",
        )
        self._gather(self._format.note(note))

    def _schedule(self) -> None:
        # A lone line goes out in this iteration of the loop; in dense traffic they wait for each other.
        if self._loop.time() - self._flushed_at > GATHER_S:
            self._loop.call_soon(self.flush)
        else:
            self._loop.call_later(GATHER_S, self.flush)

    def flush(self) -> None:
        """Render what is gathered and hand it to the sink."""
        if not self._gathered or self._sink is None:
            return
        self._flushed_at = self._loop.time()
        gathered, self._gathered = self._gathered, []
        render = self._format
        lines = [entry if isinstance(entry, str) else render(entry) for entry in gathered]
        dropped = self._sink.dropped
        if dropped != self._told:
            self._told = dropped
            ends = [one.started + one.duration_s for one in gathered if not isinstance(one, str)]
            self._newest = max(ends, default=self._newest)
            text = f"{dropped} lines of this log were dropped since the start"
            note = LogNote(self._newest, "hookward.log_dropped", {"hookward.log.dropped": dropped}, text)
            lines.append(render.note(note))
        lines.append("")
        self._sink.write("\n".join(lines).encode("ascii", "replace"), len(lines) - 1)

    def reopen(self) -> None:
        """Write what is gathered to the old file, then open the path again (after a rotation)."""
        self.flush()
        if self._sink is not None:
            self._sink.reopen()

    def close(self, timeout_s: float = 2.0) -> None:
        """Write what is gathered and stop, after at most ``timeout_s`` seconds."""
        if self._digest is not None:
            self._digest.flush()
        self.flush()
        if self._sink is not None:
            self._sink.close(timeout_s)


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
