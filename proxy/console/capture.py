"""``Capture``: what a worker hands over of each exchange, and what looks on.

``relay`` is asked when an exchange begins and ``keep`` when it has ended; both are a handful of operations, wait for
nothing and fail at nothing. Those that look on (``Viewer``) have bounded queues: one that is slow misses deliveries and
is told how many, and pushes back on nobody. This module knows no request of a browser.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import Counter, deque
from collections.abc import Callable, Iterator

from proxy.config.settings import ConsoleSettings
from proxy.console.copies import DeliveryFile
from proxy.console.kept import OVERHEAD_BYTES, KeptExchange, Maskings
from proxy.core.addresses import Peer
from proxy.core.keeping import KeepingRelay
from proxy.core.policy import Route
from proxy.core.record import Arrival, ExchangeRecord
from proxy.core.relay import Relay
from proxy.core.tape import Ledger, TapedKeepingRelay, TapedRelay, head_bytes
from proxy.http1 import RequestHead
from proxy.net.site import EndedExchange, Site

#: Of what is kept, the part that refused deliveries have for certain, and beyond which they go first.
REFUSED_PART = 4
#: Of that part, what one address may have.
ADDRESS_PART = 10
ADMITTED = frozenset({"admitted", "observed"})
LEAST_OF_ADDRESS = 4


class Rings:
    """Deliveries as they came, admitted and refused apart; ``keep`` of them in ``keep_bytes`` at most.

    A scanner must not wash out what matters. So what was refused takes a quarter at most once there is more than room
    for, and of that one address (an IPv6 /64 is one) no more than a few: its next one takes the place of its oldest.
    What is dropped is counted. Adding one is a few operations; nothing here waits or locks.
    """

    def __init__(self, keep: int, keep_bytes: int) -> None:
        self._keep = keep
        self._keep_bytes = keep_bytes
        self._most_of_address = max(LEAST_OF_ADDRESS, keep // REFUSED_PART // ADDRESS_PART)
        self._admitted: deque[KeptExchange] = deque()
        self._refused: dict[int, KeptExchange] = {}  # by number
        self._by_address: dict[str, deque[int]] = {}
        self._refused_bytes = 0
        self.bytes = 0
        self.dropped: Counter[str] = Counter()  # why: "age" (older than what there was room for), "address"

    def __len__(self) -> int:
        return len(self._admitted) + len(self._refused)

    def __iter__(self) -> Iterator[KeptExchange]:
        """All that are kept, the newest first; what comes meanwhile changes nothing."""
        newest = (reversed(list(self._admitted)), reversed(list(self._refused.values())))
        return heapq.merge(*newest, key=lambda kept: -kept.number)

    def get(self, number: int) -> KeptExchange | None:
        """The one of that number, while it is kept."""
        found = self._refused.get(number)
        return found or next((kept for kept in self._admitted if kept.number == number), None)

    def since(self, number: int) -> list[KeptExchange]:
        """Those after that number, the oldest first."""
        return [kept for kept in self if kept.number > number][::-1]

    def add(self, kept: KeptExchange) -> None:
        """Keep one more."""
        self.bytes += kept.size
        # What was not admitted is the strangers', also where they went away before a verdict.
        if kept.record.verdict in ADMITTED:
            self._admitted.append(kept)
        else:
            self._refuse(kept)
        if self.bytes > self._keep_bytes or len(self._admitted) + len(self._refused) > self._keep:
            self._make_room()

    def _refuse(self, kept: KeptExchange) -> None:
        mine = self._by_address.setdefault(group_of(kept.record.client), deque())
        mine.append(kept.number)
        self._refused[kept.number] = kept
        self._refused_bytes += kept.size
        if len(mine) > self._most_of_address:
            self._drop_refused(mine[0], "address")

    def _make_room(self) -> None:
        """Drop the oldest, of those that have more than their part."""
        while self.bytes > self._keep_bytes or len(self) > self._keep:
            much = len(self._refused) * REFUSED_PART > self._keep
            much = much or self._refused_bytes * REFUSED_PART > self._keep_bytes
            if self._refused and (much or not self._admitted):
                self._drop_refused(next(iter(self._refused)), "age")
            else:
                self.bytes -= self._admitted.popleft().size
                self.dropped["age"] += 1

    def _drop_refused(self, number: int, why: str) -> None:
        kept = self._refused.pop(number)
        address = group_of(kept.record.client)
        mine = self._by_address[address]
        mine.popleft()  # they come and go in the same order
        if not mine:
            del self._by_address[address]
        self._refused_bytes -= kept.size
        self.bytes -= kept.size
        self.dropped[why] += 1


def group_of(address: str) -> str:
    """What addresses are counted by: of IPv6, the /64 that one customer owns."""
    if ":" not in address:
        return address
    try:
        return str(Peer.of(address).group)
    except ValueError:
        return "unix:"


#: Of ``keep_bytes``, what exchanges under way may take; and what one delivery may take.
UNDER_WAY_PART = 4
ONE_PART = 8
#: What is kept is not pushed out in less than so many seconds; but so many a second are kept in any case.
TURN_S, LEAST_RATE = 5.0, 100.0
#: A burst is kept whole so often; else one that comes again and again would cost as much as the flood that it is.
BURST_S = 60.0
#: With room for fewer than so many those that may be kept begin one after the other.
FEW = 8
#: What one that looks on may be behind.
MAX_BEHIND = 1000
MAX_VIEWERS = 32
#: Of bytes that are no head.
MAX_BAD_BYTES = 16 * 1024


class Viewer:
    """One that looks on. ``wants`` says which deliveries; those that are kept and that it misses are counted in
    ``missed``, and those that are not kept in the capture's ``skipped``, once for all that look on.
    """

    def __init__(self, wants: Callable[[KeptExchange], bool]) -> None:
        self._wants = wants
        self._waiting: deque[KeptExchange] = deque()
        self._awake = asyncio.Event()
        self.missed = 0

    def tell(self, kept: KeptExchange) -> None:
        """There is one more."""
        if len(self._waiting) >= MAX_BEHIND:
            self.missed += 1
        else:
            self._waiting.append(kept)
        self._awake.set()

    async def next(self, most: int) -> list[KeptExchange]:
        """Wait until there is any, and give at most so many of those that are looked at; which may be none."""
        await self._awake.wait()
        batch = [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]
        if not self._waiting:
            self._awake.clear()
        return [kept for kept in batch if self._wants(kept)]

    def take_missed(self) -> int:
        """How many were missed since this was asked last."""
        missed, self.missed = self.missed, 0
        return missed


class IntakePace:
    """How many are kept: so many at once, of which most come back within ``BURST_S``, and ``LEAST_RATE`` or a fifth of
    them a second. To keep all of a flood would cost most where nobody can look at it: each pushes another one out
    within moments.
    """

    def __init__(self, most: int) -> None:
        self._rate = max(most / TURN_S, LEAST_RATE)  # a second, and as many at once
        self._reserve = max(most - self._rate, 0.0)  # at once, besides
        self._steady, self._burst = self._rate, self._reserve
        self._at = 0.0
        self.closed_until = 0.0  # in monotonic seconds: what begins before is not kept

    def begins(self, now: float) -> bool:
        """Whether what begins at ``now``, in monotonic seconds, may be one that is kept."""
        if now < self.closed_until:
            return False
        room = self._burst + self._steady + (now - self._at) * self._rate
        if room < FEW:
            # A crowd may be under way before this one ends, and there is room for hardly one of them.
            self.closed_until = now + 1 / (self._rate * max(room, 1.0))
        return True

    def takes(self, now: float) -> bool:
        """Whether one more is kept, at ``now`` in monotonic seconds."""
        gone_s, self._at = now - self._at, now
        steady = min(self._rate, self._steady + gone_s * self._rate)
        burst = min(self._reserve, self._burst + gone_s * self._reserve / BURST_S)
        takes = True
        if steady >= 1:
            steady -= 1
        elif burst >= 1:
            burst -= 1
        else:
            takes = False
        self._steady, self._burst = steady, burst
        if steady < 1 and burst < 1:
            self.closed_until = now + (1 - steady) / self._rate
        return takes


class Capture:
    """What one worker keeps."""

    def __init__(self, settings: ConsoleSettings, site: Site) -> None:
        self._site = site
        self.tag = site.instance  # tells it from other workers, of this start and all before
        # What is under way is another's part: else nothing could be taken once the rings are full.
        under_way = settings.keep_bytes // UNDER_WAY_PART
        self._ledger = Ledger(under_way, settings.keep_bytes // ONE_PART)
        self.rings = Rings(settings.keep, settings.keep_bytes - under_way)
        self.maskings = Maskings()
        self.viewers: set[Viewer] = set()
        self.store: DeliveryFile | None = None  # where deliveries outlive the process
        self._admitted = IntakePace(settings.keep)
        self._refused = IntakePace(max(settings.keep // REFUSED_PART, 1))
        self._begun = site.clock.now()
        self.seen = 0
        self.skipped = 0  # too many came at once
        self.cut = 0  # of which not all was kept

    @property
    def has_room(self) -> bool:
        """Whether one more may look on."""
        return len(self.viewers) < MAX_VIEWERS

    def relay(
        self,
        record: ExchangeRecord,
        arrival: Arrival,
        now: float,
        head: RequestHead | None,
        data: bytes = b"",
        *,
        keeps: bool = False,
    ) -> Relay:
        """The relay of an exchange that begins with a head, or with ``data`` that is none."""
        if not self._admitted.begins(now) and head is not None and not arrival.replay:
            # A flood: most of it is not kept, and nothing is taken of it that would be thrown away.
            plain = (KeepingRelay if keeps else Relay)(record, arrival, now)
            plain.head = head
            return plain
        relay = (TapedKeepingRelay if keeps else TapedRelay)(record, arrival, now)
        relay.tape = KeptExchange(self._ledger)
        if head is not None:
            relay.head = head
        else:
            relay.tape.take(bytes(data[:MAX_BAD_BYTES]))
        return relay

    def wants(self, now: float) -> bool:
        """Whether one that begins at ``now`` may be kept."""
        return now >= self._admitted.closed_until

    def keep(self, over: EndedExchange) -> None:
        """An exchange has ended."""
        if over.started < self._begun:
            return  # it was under way before anything looked on: none is missed
        self.seen += 1
        record = over.record
        is_admitted = record.verdict in ADMITTED
        if isinstance(over, TapedRelay):
            over.tape.wind_up()
        elif is_admitted:
            self.skipped += 1  # as most of a flood, with no more work than this
            return
        pace = self._admitted if is_admitted else self._refused
        if pace.takes(over.started + record.duration_s) or over.arrival.replay:
            self._keep(over)
        else:
            self.skipped += 1

    def _keep(self, over: EndedExchange) -> None:
        kept = over.tape if isinstance(over, TapedRelay) else self._untaped(over)
        assert isinstance(kept, KeptExchange)
        kept.tag, kept.number = self.tag, self.seen
        kept.record = over.record
        kept.route = over.route or self._route(over.record.route)
        kept.replay_of = over.arrival.replay.decode()
        head: RequestHead | None = getattr(over, "head", None)  # bytes that were none have none
        kept.raw = b"" if head is None else head_bytes(head)
        kept.size = OVERHEAD_BYTES + kept.taken + len(kept.raw)
        if kept.cut:
            self.cut += 1
        self.rings.add(kept)
        for viewer in self.viewers:
            viewer.tell(kept)
        if self.store is not None:
            self.store.add(kept)

    def _untaped(self, over: EndedExchange) -> KeptExchange:
        """What is left of a refused one that had no tape: its body, while it is in memory."""
        kept = KeptExchange(self._ledger)
        if body := over.body_in_memory():
            kept.take(body)
            kept.wind_up()
        return kept

    def _route(self, name: str) -> Route | None:
        """The route of that name: its relay does not know it where we answered the head."""
        return next((route for route in self._site.policy.routes if route.name == name), None) if name else None
