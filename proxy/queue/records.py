"""What is kept of a delivery, as values, what is known of those that are kept, and what a store of them promises; and
how they are shown: as records that search words are asked of, as lines, and as JSON.

A delivery that was told 2xx is in one of four conditions. WAITING: its time is in ``due``. TAKEN: a courier has it,
and it may have been sent. BEHIND: an earlier one of the same order is not done. DEAD: nothing more is tried by itself.
What was delivered is gone. This module knows no clock; times are in seconds since the epoch.

What is made for each delivery is a named tuple: six of them are, and a frozen dataclass takes three times as long. All
that a sender chose is made visible (``config.host.visible``) before it is printed.
"""

from __future__ import annotations

import shlex
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import IntEnum
from typing import NamedTuple, Protocol

from proxy.config.host import visible
from proxy.config.notation import about_size, about_time
from proxy.config.problems import Note
from proxy.core.delivery import KEY_BYTES
from proxy.core.policy import Policy
from proxy.core.record import agent_of
from proxy.net.large_bodies import SharedSpill, SpillFile
from proxy.values import frozen

#: Bodies up to this size are stored with the record: one sync for all. Larger ones have a place of their own.
INLINE_BYTES = 64 * 1024
#: What a record costs beside what is in it: its other columns, and its places in the indexes.
OVERHEAD_BYTES = 1024


class Condition(IntEnum):
    """Where a kept delivery stands; the numbers are those of the stores."""

    WAITING = 0
    TAKEN = 1
    BEHIND = 2
    DEAD = 3


class QueueError(Exception):
    """The store did not do it. The text says why, for the log."""

    @classmethod
    def of(cls, error: Exception) -> QueueError:
        """``error``, of the disk or the database, as one of the queue."""
        if isinstance(error, OSError):
            return cls(error.strerror or type(error).__name__)
        return error if isinstance(error, QueueError) else cls(str(error))


class QueueFullError(QueueError):
    """It holds as much as it may."""


class Parcel(NamedTuple):
    """A delivery to be kept: all that is needed to send it, days later, by another process.

    ``head`` is the head for the upstream without credentials (``queue.parcels``), ``facts`` what people look for, as
    texts. ``body`` is the content, or None where it is elsewhere: in ``spill``, or with the store.
    """

    id: str
    lane: str  # the route, or one of its copies: what is delivered side by side
    accepted: float
    head: bytes
    body: bytes | None
    size: int  # of the body
    facts: Mapping[str, str] = {}
    order: str = ""  # of equal ones, one goes after the other
    same: str = ""  # of equal ones that wait, the last counts
    keys: tuple[bytes, ...] = ()  # by which duplicates of it are told
    attempts: int = 0  # made before it was kept
    spill: SpillFile | SharedSpill | None = None  # the body, where it is on a disk already

    def __repr__(self) -> str:
        return f"Parcel(id={self.id!r}, lane={self.lane!r}, size={self.size})"

    def pieces(self) -> Iterator[bytes]:
        """The content, in order, where it is not with the store."""
        if self.body is None:
            return iter(()) if self.spill is None else self.spill.pieces()
        return iter((self.body,) if self.body else ())

    @property
    def cost(self) -> int:
        """What it counts against ``max_bytes``."""
        return OVERHEAD_BYTES + len(self.head) + self.size


def split_keys(joined: bytes) -> tuple[bytes, ...]:
    """The keys of a parcel, which stores keep one after the other."""
    return tuple(joined[at : at + KEY_BYTES] for at in range(0, len(joined), KEY_BYTES))


class Taken(NamedTuple):
    """A parcel that a courier has; ``number`` is its place in the order of the store."""

    number: int
    parcel: Parcel
    attempts: int  # before this one
    begun: float  # since when it is tried: when it was accepted, or replayed


class Try(NamedTuple):
    """One attempt that has ended."""

    at: float
    status: int  # 0: none
    word: str  # a reason, "delivered", or "interrupted"
    detail: str = ""
    lasted_s: float = 0.0
    upstream: str = ""  # which one had it, or was to have it; "" where none was reached


class Settlement(NamedTuple):
    """What becomes of a taken one after a ``Try``: ``due`` again, or dead; where it was delivered, it goes."""

    number: int
    condition: Condition | None  # None: delivered
    last: Try
    due: float = 0.0


@frozen
class Kept:
    """One kept delivery, for people."""

    number: int
    parcel: Parcel
    condition: Condition
    due: float
    attempts: int
    tries: tuple[Try, ...] = ()


@frozen
class LaneCount:
    """What a lane holds, and what has become of what it held."""

    lane: str
    live: int = 0
    dead: int = 0
    bytes: int = 0
    accepted: int = 0
    delivered: int = 0
    died: int = 0
    dropped: int = 0  # by people, by age, or by a later one that counts in its place
    paused: bool = False
    oldest: float | None = None  # when the oldest live one was accepted
    next_due: float | None = None


@frozen
class Counted:
    """What each lane held when the store was asked, at ``at`` of this process's own clock."""

    at: float = 0.0
    lanes: Mapping[str, LaneCount] = field(default_factory=dict)


@frozen
class Choice:
    """Which kept deliveries are meant: by id, or by condition; what is not said counts for any."""

    ids: tuple[str, ...] = ()
    conditions: tuple[Condition, ...] = ()
    content: bool = False  # with their bodies


@dataclass(slots=True)
class CommitStatistics:
    """What a store has written; its thread counts and others read, so each figure is written at once."""

    commits: int = 0
    jobs: int = 0
    failures: int = 0
    failing: bool = False  # the last commit failed
    durations: deque[float] = field(default_factory=lambda: deque(maxlen=10_000))  # seconds, not yet shown
    sizes: deque[float] = field(default_factory=lambda: deque(maxlen=10_000))

    def committed(self, jobs: int, lasted_s: float) -> None:
        """So many changes are on stable storage."""
        self.commits += 1
        self.jobs += jobs
        self.failing = False
        self.durations.append(lasted_s)
        self.sizes.append(jobs)

    def failed(self) -> None:
        """A commit was not done."""
        self.failures += 1
        self.failing = True


class QueueStore(Protocol):
    """What a store of kept deliveries promises, whatever it is made of (``tests/queue/conformance.py`` holds it to it).

    What ``append`` has returned from is on stable storage, whole, and is given to a courier until it is settled. All
    that a store knows survives the death of every process at any moment; a power failure loses nothing that was
    appended. Every call but ``close`` may raise QueueError: then nothing of it has happened, but for what was TAKEN,
    which may be taken again later.
    """

    max_bytes: int
    is_durable: bool  # whether what it has acknowledged survives a power failure, as far as it can be asked
    statistics: CommitStatistics

    def append(self, parcels: Sequence[Parcel]) -> Awaitable[object]:
        """Keep ``parcels``, all or none. Raises QueueFullError where there is no room."""

    def append_taken(self, parcel: Parcel) -> Awaitable[Taken | None]:
        """``append`` and ``take`` in one, for a courier of this process that has nothing else to do; None where the
        store cannot do both at once: then it waits to be taken.
        """

    async def take(self, wanted: Mapping[str, int], now: float) -> list[Taken]:
        """Give the courier up to so many of each lane that are due, the longest due first."""

    def pieces(self, parcel: Parcel) -> Iterator[bytes]:
        """The body of a taken one, in order and in pieces. May raise QueueError, but only as one is asked for."""

    def holds(self, number: int) -> bool:
        """Whether a taken one is still this courier's: to be asked just before it is sent."""

    async def settle(self, settlements: Sequence[Settlement]) -> None:
        """What has become of taken ones."""

    async def give_back(self, numbers: Sequence[int]) -> None:
        """Taken ones that were not sent."""

    async def recover(self, now: float) -> int:
        """Put back what a courier had that is no more, as one attempt that was interrupted; gives how many."""

    async def counts(self) -> list[LaneCount]:
        """Each lane that holds anything, or ever did."""

    def find(self, choice: Choice) -> AsyncIterator[Kept]:
        """Those that are meant, the oldest first."""

    async def replay(self, numbers: Sequence[int], now: float) -> int:
        """Try these again now, with a new life; gives how many there are still."""

    async def drop(self, numbers: Sequence[int]) -> int:
        """Remove these for good, but for what is TAKEN; gives how many."""

    async def pause(self, lane: str, *, paused: bool) -> None:
        """Whether nothing of a lane is taken."""

    async def expire(self, before: float) -> int:
        """Remove what was accepted before that, but for what is TAKEN; gives how many."""

    async def close(self) -> None:
        """Give everything back."""


Json = dict[str, object]
#: Facts whose names are others for people: an agent is a hookward.
_NAMES = {"agent": "user_agent"}


def searched_of(kept: Kept) -> Json:
    """What the search words are asked of (``core.search``)."""
    facts, last = kept.parcel.facts, kept.tries[-1] if kept.tries else None
    return {
        "route": kept.parcel.lane,
        **{name: facts.get(name, "") for name in ("provider", "event", "method", "path", "host", "secret")},
        "reason": last.word if last is not None else "accepted",
        "verdict": "admitted",
        "id": kept.parcel.id,
        "agent": agent_through(kept),
        "status": last.status if last is not None else 0,
        "ip": facts.get("client", ""),
        "duration_s": last.lasted_s if last is not None else 0.0,
        "size": kept.parcel.size,
        "time": kept.parcel.accepted,
        "delivery_id": facts.get("delivery_id", ""),
        "condition": kept.condition.name.lower(),
    }


def agent_through(kept: Kept) -> str:
    """The agent that had it last; "" where none had it."""
    return next((agent for each in reversed(kept.tries) if (agent := agent_of(each.upstream))), "")


def line_of(kept: Kept, now: float) -> str:
    """One line of a list."""
    record = searched_of(kept)
    words = [
        kept.parcel.id,
        f"{record['condition']}",
        f"{kept.parcel.lane}",
        f"{record['event'] or '-'}",
        about_size(kept.parcel.size),
        f"{about_time(now - kept.parcel.accepted)} old",
        f"{kept.attempts} attempts" if kept.attempts != 1 else "1 attempt",
    ]
    if kept.tries:
        words.append(said(kept.tries[-1].word, kept.tries[-1].status))
    if agent := agent_through(kept):
        words.append(f"agent {agent}")
    if kept.condition is Condition.WAITING and kept.due > now:
        words.append(f"again in {about_time(kept.due - now)}")
    return one_line("  ".join(words))


def json_of(kept: Kept) -> Json:
    """All of it but the body."""
    return {
        **searched_of(kept),
        "request_id": kept.parcel.facts.get("request_id", kept.parcel.id),
        "user_agent": kept.parcel.facts.get("agent", ""),
        "accepted": instant(kept.parcel.accepted),
        "due": instant(kept.due) if kept.condition is Condition.WAITING else None,
        "attempts": [_attempt(each) for each in kept.tries],
        "attempts_made": kept.attempts,
        "head": kept.parcel.head.decode("latin-1"),
    }


def _attempt(each: Try) -> Json:
    told: Json = {"at": instant(each.at), "status": each.status, "reason": each.word, "detail": each.detail}
    return {**told, "seconds": round(each.lasted_s, 6), "upstream": each.upstream}


def page_of(kept: Kept, now: float) -> list[str]:
    """All of it but the body, for people."""
    facts = kept.parcel.facts
    due = f", tried again in {about_time(kept.due - now)}" if kept.condition is Condition.WAITING else ""
    lines = [
        f"{kept.parcel.id}: {kept.condition.name.lower()}{due}",
        f"    route {kept.parcel.lane}, accepted {instant(kept.parcel.accepted)}, {about_size(kept.parcel.size)}",
        *(f"    {_NAMES.get(name, name)} {value}" for name, value in facts.items() if name not in {"peer", "scheme"}),
        "attempts:" if kept.tries else "no attempt yet",
    ]
    for number, each in enumerate(kept.tries, 1 + kept.attempts - len(kept.tries)):
        detail = f" ({each.detail})" if each.detail else ""
        through = f", by {each.upstream}" if each.upstream else ""
        said_so = f"{said(each.word, each.status)}{detail}, {each.lasted_s:.3f} s{through}"
        lines.append(f"    {number}  {instant(each.at)}  {said_so}")
    lines += ["head:", *(f"    {line}" for line in kept.parcel.head.decode("latin-1").splitlines() if line)]
    return [one_line(line) for line in lines]


def said(word: str, status: int) -> str:
    """What an attempt came to."""
    return f"answered {status}" if status else word


def table_of(
    counts: Sequence[LaneCount], before: Sequence[LaneCount], seconds: float, now: float, known: Collection[str] = ()
) -> list[str]:
    """A line for each lane; rates are of the ``seconds`` since ``before``. ``known``: what is configured."""
    earlier = {count.lane: count for count in before}
    rows = [("ROUTE", "WAITING", "DEAD", "OLDEST", "IN/S", "OUT/S", "SIZE", "")]
    for count in counts:
        first = earlier.get(count.lane, count)
        oldest = about_time(None if count.oldest is None else now - count.oldest)
        came = f"{(count.accepted - first.accepted) / seconds:.1f}"
        went = f"{(count.delivered - first.delivered) / seconds:.1f}"
        note = "no route any more" if known and count.lane not in known else "paused" * count.paused
        held = str(count.live), str(count.dead), oldest
        rows.append((count.lane, *held, came, went, about_size(count.bytes), note))
    return list(_columns(rows))


def count_json(count: LaneCount, before: LaneCount, seconds: float, now: float) -> Json:
    """One lane, for programs."""
    return {
        "route": count.lane,
        "waiting": count.live,
        "dead": count.dead,
        "bytes": count.bytes,
        "oldest_s": None if count.oldest is None else round(now - count.oldest, 3),
        "accepted": count.accepted,
        "delivered": count.delivered,
        "died": count.died,
        "dropped": count.dropped,
        "accepted_per_s": round((count.accepted - before.accepted) / seconds, 3),
        "delivered_per_s": round((count.delivered - before.delivered) / seconds, 3),
        "paused": count.paused,
    }


def instant(seconds: float) -> str:
    """Seconds since the epoch as RFC 3339, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def one_line(text: str) -> str:
    """``text`` as it may be printed: what a sender wrote begins no line."""
    return visible(text).replace("\n", "\\n")


def _columns(rows: Sequence[tuple[str, ...]]) -> Iterable[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for name, *numbers in rows:
        right = [text.rjust(width) for text, width in zip(numbers, widths[1:], strict=True)]
        yield one_line("  ".join([name.ljust(widths[0]), *right]).rstrip())


def stray_notes(counts: Iterable[LaneCount], policy: Policy, config: str | None) -> Iterator[Note]:
    """What is to be said of lanes whose route keeps no more; ``config`` is the path of the configuration."""
    keeping, names = policy.lanes(), {route.name for route in policy.routes}
    command = "hookward queue" if config is None else f"hookward queue -c {shlex.quote(config)}"
    for one in counts:
        if one.lane in keeping or not one.live + one.dead:
            continue
        search = shlex.quote(f'route:"{one.lane}"')
        held = f"{one.live} waiting and {one.dead} dead"
        if one.lane in names:
            becomes = "those that wait are delivered" if one.live else "dead letters stay until they are replayed"
            text = f"route {one.lane!r} keeps no more and has {held}: {becomes}; `{command} list {search}` shows them"
            yield Note("H602", text)
        else:
            text = f"{held} of {one.lane!r} have no route any more: name a route so again, or remove them: "
            yield Note("H601", f"{text}`{command} drop --search {search} --yes`")
