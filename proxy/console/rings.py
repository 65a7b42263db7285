"""``Rings``: what one worker keeps of what came, admitted and refused apart, within a count and a number of bytes.

A scanner must not wash out what matters. So what was refused takes a quarter at most once there is more than room for,
and of that one address (an IPv6 /64 is one) no more than a few: its next one takes the place of its oldest. What is
dropped is counted. Adding one is a few operations; nothing here waits or locks.
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Iterator

from proxy.console.kept import KeptExchange
from proxy.core.addresses import Peer

#: Of what is kept, the part that refused deliveries have for certain, and beyond which they go first.
REFUSED_PART = 4
#: Of that part, what one address may have.
ADDRESS_PART = 10
ADMITTED = frozenset({"admitted", "observed"})
LEAST_OF_ADDRESS = 4


class Rings:
    """Deliveries in the order in which they came; ``keep`` of them in ``keep_bytes`` at most."""

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
