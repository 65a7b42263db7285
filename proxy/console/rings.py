"""``Rings``: what one worker keeps of what came, admitted and refused apart, within a count and a number of bytes.

A scanner must not wash out what matters. So what was refused takes a quarter at most once there is more than room for,
and of that one address (an IPv6 /64 is one) no more than a few: its next one takes the place of its oldest. What is
dropped is counted. Adding one is a few operations on dictionaries; nothing here waits or locks.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator

from proxy.console.kept import KeptExchange
from proxy.core.addresses import Peer

#: Of what is kept, the part that refused deliveries have for certain, and beyond which they go first.
REFUSED_PART = 4
#: Of that part, what one address may have.
ADDRESS_PART = 10
_ADMITTED = frozenset({"admitted", "observed"})
LEAST_OF_ADDRESS = 4


class Rings:
    """Deliveries in the order in which they came; ``keep`` of them in ``keep_bytes`` at most."""

    def __init__(self, keep: int, keep_bytes: int) -> None:
        self._keep = keep
        self._keep_bytes = keep_bytes
        self._most_of_address = max(LEAST_OF_ADDRESS, keep // REFUSED_PART // ADDRESS_PART)
        self._all: dict[int, KeptExchange] = {}
        self._admitted: deque[int] = deque()
        self._refused: dict[int, str] = {}  # number -> address, in order
        self._by_address: dict[str, deque[int]] = {}
        self._refused_bytes = 0
        self.bytes = 0
        self.dropped: Counter[str] = Counter()  # why: "age" (older than what there was room for), "address"

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[KeptExchange]:
        """All that are kept, the newest first."""
        return reversed(list(self._all.values()))

    def get(self, number: int) -> KeptExchange | None:
        """The one of that number, while it is kept."""
        return self._all.get(number)

    def since(self, number: int) -> list[KeptExchange]:
        """Those after that number, the oldest first."""
        return [kept for kept in self._all.values() if kept.number > number]

    def add(self, kept: KeptExchange) -> None:
        """Keep one more."""
        number = kept.number
        self._all[number] = kept
        self.bytes += kept.size
        # What was not admitted is the strangers', also where they went away before a verdict.
        if kept.record.verdict not in _ADMITTED:
            self._refuse(kept)
        else:
            self._admitted.append(number)
        while len(self._all) > self._keep or self.bytes > self._keep_bytes:
            self._drop_oldest()

    def _refuse(self, kept: KeptExchange) -> None:
        address = group_of(kept.record.client)
        mine = self._by_address.setdefault(address, deque())
        mine.append(kept.number)
        self._refused[kept.number] = address
        self._refused_bytes += kept.size
        if len(mine) > self._most_of_address:
            self._drop_refused(mine[0], "address")

    def _drop_oldest(self) -> None:
        much = len(self._refused) * REFUSED_PART > self._keep or self._refused_bytes * REFUSED_PART > self._keep_bytes
        if self._refused and (much or not self._admitted):
            self._drop_refused(next(iter(self._refused)), "age")
        else:
            self._forget(self._admitted.popleft(), "age")

    def _drop_refused(self, number: int, why: str) -> None:
        address = self._refused.pop(number)
        mine = self._by_address[address]
        mine.popleft()  # they come and go in the same order
        if not mine:
            del self._by_address[address]
        self._refused_bytes -= self._all[number].size
        self._forget(number, why)

    def _forget(self, number: int, why: str) -> None:
        self.bytes -= self._all.pop(number).size
        self.dropped[why] += 1


def group_of(address: str) -> str:
    """What addresses are counted by: of IPv6, the /64 that one customer owns."""
    if ":" not in address:
        return address
    try:
        return str(Peer.of(address).group)
    except ValueError:
        return "unix:"
