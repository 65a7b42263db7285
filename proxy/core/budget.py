"""What an address may take of ours: buffered bytes (``BufferBudget``), and requests in a time (``RateLimiter``).

Theory of the budget of bytes, which is one for all exchanges together (design: promise 5, bounded). Bytes are counted
as they come: what a head announces costs nothing. An exchange that finds no room waits, first come first served, and
its client is not read meanwhile. Three bounds hold at once:

* all together have ``limit``; of it, other addresses leave to listed ones what ``reserved_share`` says;
* a group of addresses (``Peer.group``) has an eighth of it, so that no few of them can fill it;
* within each of these bounds one window is kept for the exchange whose *turn* it is: the first that found no room. It
  may grow to its end, and gives its place to the next. Without turns many half-filled windows would each wait for the
  others for ever.

So there are two lines to stand in: that of the group, and behind it that of all. This module knows no clock, no route
beyond its name, and never pauses a transport; it calls back those that wait.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable

from proxy.values import frozen

#: One group of addresses may hold so much of a budget: one in eight.
GROUP_SHARE = 8

Group = tuple[int, int]


@frozen
class Party:
    """Whose bytes they are. ``group`` is None for what speaks for many: a unix socket, a trusted proxy."""

    group: Group | None = None
    listed: bool = True  # of an ``allow`` list: may use the reserved share


ANYBODY = Party()


class _Line:
    """What waits for the same room, in order; whose turn it is; and for a group what it holds."""

    __slots__ = ("group", "turn", "used", "waiting")

    def __init__(self, group: Group | None = None) -> None:
        self.group = group
        self.used = 0
        self.turn: Reservation | None = None
        # Ordered and left in O(1): peers that come and go while the first one waits must not pile up here.
        self.waiting: OrderedDict[Reservation, None] = OrderedDict()

    def is_next(self, one: Reservation) -> bool:
        """Whether nothing stands before ``one``."""
        return not self.waiting or next(iter(self.waiting)) is one

    def leave(self, one: Reservation) -> None:
        self.waiting.pop(one, None)
        if self.turn is one:
            self.turn = None


class Reservation:
    """Bytes that one exchange holds: ``size`` are counted. Not ``granted``: it waits for those it asked for."""

    __slots__ = ("_budget", "_on_grant", "granted", "group_size", "party", "size", "wanted")

    def __init__(self, budget: BufferBudget, party: Party, on_grant: Callable[[], None]) -> None:
        self._budget = budget
        self._on_grant = on_grant
        self.party = party
        self.size = self.group_size = self.wanted = 0
        self.granted = True

    def hold(self, size: int) -> bool:
        """Hold ``size`` bytes in all. True where they are counted; else it waits, and is called when they are."""
        if not self.granted:
            return False
        if size <= self.size:
            self.shrink(size)
            return True
        self.wanted = size
        self.granted = self._budget.ask(self)
        return self.granted

    def shrink(self, size: int) -> None:
        """Hold no more than ``size`` bytes; the turn, where it has it, goes to the next."""
        if self.granted and size < self.size:
            self._budget.give(self, size)

    def grow(self, size: int) -> bool:
        """Take up to ``size`` bytes in all where there is plenty: nothing waits, and half of the budget stays free.
        Whether there is; what was taken before is kept either way.
        """
        budget = self._budget
        if not self.granted or budget.waiting or budget.used + max(0, size - self.size) > budget.limit // 2:
            return False
        return size <= self.size or budget.add(self, size)

    def release(self) -> None:
        """Give everything back, or leave the line. Calling it twice does no harm."""
        self._budget.give(self, 0)
        self.granted = True

    def grant(self) -> None:
        """The budget's call: the bytes are counted now."""
        self.granted = True
        self._on_grant()


class BufferBudget:
    """``limit`` bytes for all; ``used`` of them are held now."""

    __slots__ = (
        "_group_most",
        "_groups",
        "_kept",
        "_lines",
        "_most",
        "_pending",
        "_serving",
        "limit",
        "used",
        "waiting",
    )

    def __init__(self, limit: int, *, strangers: int | None = None, window: int = 0) -> None:
        """``strangers`` is what all that is not listed may hold, ``window`` the most that one exchange asks for."""
        self.used = 0
        self.waiting = 0
        self._groups: dict[Group, _Line] = {}
        self._lines = {True: _Line(), False: _Line()}
        self._pending: list[_Line] = []
        self._serving = False
        self.use(limit, strangers=strangers, window=window)

    def use(self, limit: int, *, strangers: int | None = None, window: int = 0) -> None:
        """Other bounds, of a reload: larger ones serve what waits, smaller ones take nothing back."""
        self.limit = limit
        kept = self._kept = min(window, limit)
        most = limit if strangers is None else min(strangers, limit)
        if most < limit:
            most = max(min(most, limit - kept), min(most, kept))  # a listed one has its turn whatever strangers hold
        self._most = {True: limit, False: most}
        share = limit // GROUP_SHARE
        self._group_most = max(share - kept, share // 2)
        self._pending += self._groups.values()
        self._serve()

    def reserve(self, party: Party, on_grant: Callable[[], None]) -> Reservation:
        """A reservation that holds nothing yet; ``on_grant`` is called when it waited and its bytes are counted."""
        return Reservation(self, party, on_grant)

    # -- the reservations' calls

    def ask(self, one: Reservation) -> bool:
        """Count what ``one`` wants, or let it stand in line."""
        one.wanted = min(one.wanted, self._most[one.party.listed])
        if one.wanted <= one.size:
            return True
        group = self._group_of(one)
        line = self._lines[one.party.listed]
        if group is not None and not self._passes_group(group, one):
            group.waiting[one] = None
        elif self._passes(line, one):
            return True
        else:
            line.waiting[one] = None
            if line.turn is one:
                line.waiting.move_to_end(one, last=False)
        self.waiting += 1
        return False

    def add(self, one: Reservation, size: int) -> bool:
        """Count ``size`` bytes for ``one`` where they fit without a turn."""
        group = self._group_of(one)
        more = size - one.size
        if group is not None and group.used + more > self._group_most:
            return False
        self._count(one, group, size)
        return True

    def give(self, one: Reservation, size: int) -> None:
        """Count no more than ``size`` bytes for ``one``, which waits no longer; what does is served."""
        group = None if one.party.group is None else self._groups.get(one.party.group)
        line = self._lines[one.party.listed]
        self.waiting -= not one.granted
        line.leave(one)
        if group is not None:
            group.leave(one)
            group.used -= one.group_size - size
        self.used -= one.size - size
        one.size = one.group_size = size
        if group is not None:
            self._pending.append(group)
        self._serve()

    # -- room

    def _group_of(self, one: Reservation) -> _Line | None:
        name = one.party.group
        if name is None:
            return None
        group = self._groups.get(name)
        if group is None:
            group = self._groups[name] = _Line(name)
        return group

    def _passes_group(self, group: _Line, one: Reservation) -> bool:
        more = one.wanted - one.group_size
        if one is not group.turn and one is not self._lines[one.party.listed].turn:
            if not group.is_next(one):
                return False
            if group.used - (group.turn.group_size if group.turn else 0) + more > self._group_most:
                if group.turn is not None:
                    return False
                group.turn = one
        group.used += more
        one.group_size = one.wanted
        return True

    def _passes(self, line: _Line, one: Reservation) -> bool:
        most, after = self._most[one.party.listed], self.used + one.wanted - one.size
        if line.turn is not one:
            if not line.is_next(one):
                return False
            if after - (line.turn.size if line.turn else 0) > most - self._kept:
                if line.turn is not None:
                    return False
                line.turn = one
        if after > most:
            return False
        self.used = after
        one.size = one.wanted
        return True

    def _count(self, one: Reservation, group: _Line | None, size: int) -> None:
        self.used += size - one.size
        if group is not None:
            group.used += size - one.group_size
        one.size = one.group_size = size

    # -- lines

    def _serve(self) -> None:
        """Give what has become free to what waits, in order."""
        # One that is granted may end at once and free its bytes from within: the loop below goes on with them. A call
        # inside the call would nest as deep as the line is long.
        if self._serving:
            return
        self._serving = True
        try:
            while True:
                while self._pending:
                    self._serve_group(self._pending.pop())
                if not (self._serve_first(self._lines[True]) or self._serve_first(self._lines[False])):
                    return
        finally:
            self._serving = False

    def _serve_group(self, group: _Line) -> None:
        """Move those for which their group has room to the line of all."""
        while group.waiting:
            first = next(iter(group.waiting))
            if not self._passes_group(group, first):
                return
            del group.waiting[first]
            self._lines[first.party.listed].waiting[first] = None
        if not group.used and group.turn is None and group.group is not None:
            self._groups.pop(group.group, None)

    def _serve_first(self, line: _Line) -> bool:
        if not line.waiting:
            return False
        first = next(iter(line.waiting))
        # A reload may have lowered the bound below what was asked for.
        first.wanted = max(first.size, min(first.wanted, self._most[first.party.listed]))
        if not self._passes(line, first):
            return False
        del line.waiting[first]
        self.waiting -= 1
        first.grant()
        return True


# -- How often an address may call a route: token buckets, in bounded memory.
#
# A bucket is one number, the moment at which it would be full again (GCRA, ITU-T I.371). A request moves it by the time
# that one token takes, and is refused where it would lie further ahead than the burst allows. A bucket that is full
# need not be kept, and one that is forgotten is full: so a flood of addresses costs the oldest of them their memory,
# never ours.


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
