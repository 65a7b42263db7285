"""How a route delivers: at once, or kept first; what is done about an application that does not take it, and how a
delivery that comes twice is told.

Values and the decisions that need nothing else. What keeps, waits and sends is the wing ``proxy.queue``; a route that
delivers directly has no rule at all, and one that passes on duplicates none about these.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable
from enum import Enum

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


# -- Which deliveries are under way and which have been delivered: their keys, and the table of one process.
#
# A delivery claims its keys after it has proved itself and before its end goes to the upstream, so a forged request can
# burn nothing. The claim ends as delivered, with the upstream's 2xx, or it is released: what failed may come again. All
# keys of a delivery are claimed or none. The table is bounded twice: what was delivered is forgotten after its time,
# and before that, the longest unasked first, where there are more than ``max_entries``. Claims are not counted there:
# there are never more of them than exchanges. Time comes in as an argument, in seconds; where it starts does not
# matter.


#: What is hashed here can only be chosen with the secret, so half of SHA-256 is as good as all of it.
KEY_BYTES = 16


class Found(Enum):
    """What a claim found."""

    NEW = "new"  # it is ours now
    IN_FLIGHT = "in_flight"
    DELIVERED = "delivered"


@frozen
class Claim:
    """The answer to a claim."""

    found: Found
    status: int = 0  # DELIVERED: what the upstream said when it took it
    owner: str = ""  # IN_FLIGHT: the exchange that has it
    learned: bool = False  # DELIVERED: known by its id, and its signature was not known yet; now it is


NEW = Claim(Found.NEW)


@frozen
class Keys:
    """What identifies one delivery. ``proven`` are those of ``every`` that only the provider could have made."""

    proven: tuple[bytes, ...]
    every: tuple[bytes, ...]

    def __bool__(self) -> bool:
        return bool(self.every)


NO_KEYS = Keys((), ())


@frozen
class DuplicateRule:
    """What a route does about duplicates; times in seconds."""

    remembers: bool  # False: only what is in flight counts
    window_s: float  # how long a delivery is remembered
    patience_s: float  # how long a duplicate waits for the answer of the first
    hold_s: float  # how long a claim outlives the process that made it
    by_id: bool = True
    by_signature: bool = True

    @property
    def keep_s(self) -> float:
        """How long the answer of a delivery is kept; where only what is in flight counts, for those that wait now."""
        return self.window_s if self.remembers else self.patience_s + 1.0


def keys_of(rule: DuplicateRule, route: str, path: bytes, delivery_id: str, marks: Iterable[bytes]) -> Keys:
    """The keys of a delivery: of its id, and of the ``marks`` that its verified signatures left. They tell nothing.

    Of where it goes as well, by ``path``: else a failed delivery, replayed to another path below the route where the
    application takes anything, would be known as delivered, and the provider's next try told so. A trailing slash and
    the case of letters tell no two places apart, because many applications do not. Nor does the query: what is not
    signed can be varied without end, and each variant would be a delivery that was never seen.

    By signatures as well as ids, because an id in a header that is not signed can be changed in a replay. By ids
    as well as signatures, because a provider that sends again signs again, with a new time.
    """
    place = hashlib.sha256(path.rstrip(b"/").lower()).digest()
    scope = hashlib.sha256(b"%b%b" % (place, route.encode("utf-8"))).digest()
    proven = tuple(dict.fromkeys(_key(scope, b"mark", mark) for mark in marks)) if rule.by_signature else ()
    if not (rule.by_id and delivery_id):
        return Keys(proven, proven)
    return Keys(proven, (*proven, _key(scope, b"id", delivery_id.encode("utf-8"))))


def _key(scope: bytes, kind: bytes, value: bytes) -> bytes:
    return hashlib.sha256(b"%b%b:%b" % (scope, kind, value)).digest()[:KEY_BYTES]


def recorded(status: int) -> int:
    """The status that duplicates of a delivery get: its own, but for those that speak of content we do not have."""
    return 200 if status in {205, 206} else status


class DuplicateTable:
    """The deliveries of one process. Every exchange claims under a name of its own."""

    __slots__ = ("_claims", "_delivered", "max_entries")

    def __init__(self, max_entries: int) -> None:
        self.max_entries = max_entries
        self._claims: dict[bytes, tuple[str, float]] = {}  # key -> owner, end
        self._delivered: OrderedDict[bytes, tuple[int, float]] = OrderedDict()  # key -> status, end

    def __len__(self) -> int:
        return len(self._claims) + len(self._delivered)

    def claim(self, keys: Keys, owner: str, now: float, *, hold_s: float, past: bool) -> Claim:
        """Claim ``keys`` for at most ``hold_s``. ``past`` says whether what was delivered counts."""
        if past:
            entry = self._look(keys, now)
            if entry is not None:
                return Claim(Found.DELIVERED, entry[0], learned=self._learn(keys, entry, now))
        for key in keys.every:
            held = self._claims.get(key)
            if held is not None and held[0] != owner and held[1] > now:
                return Claim(Found.IN_FLIGHT, owner=held[0])
        for key in keys.every:
            self._claims[key] = (owner, now + hold_s)
        return NEW

    def delivered(self, keys: Keys, owner: str, status: int, now: float, keep_s: float) -> None:
        """The upstream took it with ``status``: remember that for ``keep_s``, whatever was claimed meanwhile."""
        self.released(keys, owner)
        for key in keys.every:
            self._delivered[key] = (status, now + keep_s)
            self._delivered.move_to_end(key)
        self._trim(now)

    def released(self, keys: Keys, owner: str) -> None:
        """It was not delivered: the next one may try. Claims of others stay as they are."""
        for key in keys.every:
            held = self._claims.get(key)
            if held is not None and held[0] == owner:
                del self._claims[key]

    def forget(self, keys: Iterable[bytes]) -> None:
        """What was told to be delivered was not, in the end: it may come again."""
        for key in keys:
            self._delivered.pop(key, None)

    def _look(self, keys: Keys, now: float) -> tuple[int, float] | None:
        found: tuple[int, float] | None = None
        for key in keys.every:
            entry = self._delivered.get(key)
            if entry is None:
                continue
            if entry[1] <= now:
                del self._delivered[key]
            else:
                self._delivered.move_to_end(key)
                found = found or entry
        return found

    def _learn(self, keys: Keys, entry: tuple[int, float], now: float) -> bool:
        """A delivery that was sent again has a new signature: it must not pass under another id later.

        Never the other way round: a replayed signature could come with any id, and so use up that of another delivery.
        """
        fresh = [key for key in keys.proven if key not in self._delivered]
        for key in fresh:
            self._delivered[key] = entry
        self._trim(now)
        return bool(fresh)

    def _trim(self, now: float) -> None:
        delivered = self._delivered
        while delivered and (len(delivered) > self.max_entries or next(iter(delivered.values()))[1] <= now):
            delivered.popitem(last=False)
