"""How often an address may call a route: token buckets, in bounded memory.

A bucket is one number, the moment at which it would be full again (GCRA, ITU-T I.371). A request moves it by the time
that one token takes, and is refused where it would lie further ahead than the burst allows. A bucket that is full need
not be kept, and one that is forgotten is full: so a flood of addresses costs the oldest of them their memory, never
ours. This module knows no clock and no route beyond its name.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable

from proxy.values import frozen

#: Buckets that are kept; an address that calls a route has one there. About 200 bytes each.
MAX_BUCKETS = 65536
#: What sums of seconds since 1970 are wrong by is no request too many.
ROUNDING_S = 1e-6


@frozen
class RateRule:
    """``per_s`` requests per second in the long run, and up to ``burst`` at once."""

    per_s: float
    burst: int


class RateLimiter:
    """The buckets of one worker. Times in seconds of any clock; one that jumps costs an address one burst at most."""

    __slots__ = ("_buckets", "_most")

    def __init__(self, most: int = MAX_BUCKETS) -> None:
        self._buckets: OrderedDict[Hashable, float] = OrderedDict()  # the one that was touched last comes last
        self._most = most

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, key: Hashable, rule: RateRule, now: float) -> float:
        """Take a token of the bucket ``key``: 0, or in how many seconds there will be one, and then none is taken."""
        interval = 1.0 / rule.per_s
        room = rule.burst * interval
        buckets = self._buckets
        full_at = max(buckets.get(key, 0.0), now)
        if full_at > now + room + ROUNDING_S:
            # No bucket is emptier than empty: the clock went back since.
            full_at = buckets[key] = now + room
        late = full_at + interval - now - room
        if late > ROUNDING_S:
            return late
        buckets[key] = full_at + interval
        buckets.move_to_end(key)
        if len(buckets) > self._most:
            buckets.popitem(last=False)
        return 0.0
