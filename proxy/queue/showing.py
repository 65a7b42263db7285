"""Kept deliveries for people and for programs: as records that search words are asked of, as lines, and as JSON.

All that a sender chose is made visible (``config.host.visible``) before it is printed.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import UTC, datetime

from proxy.config.host import visible
from proxy.config.notation import about_size, about_time
from proxy.config.problems import Note
from proxy.core.policy import Policy
from proxy.core.record import agent_of
from proxy.queue.records import Condition, Kept, LaneCount, Try

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
