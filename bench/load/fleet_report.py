"""What became of the deliveries of ``bench.load.fleet``: which failures and copies a killed hookward explains."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

NAMES = ("hook1", "hook2", "hook3")
#: Between an event and its date in HAProxy's log, which is when HAProxy last looked at the clock.
SLACK_S = 1.0


@dataclass
class Attempt:
    """One time that a delivery was sent, over the connection from ``source`` that was ``opened`` then; status 0: it
    failed."""

    number: int
    source: str
    opened: float
    ended: float = 0.0
    status: int = 0
    duplicate: bool = False
    error: str = ""


@dataclass(frozen=True)
class Kill:
    """A hookward that was killed: by ``end`` it had no connection any more."""

    name: str
    begin: float
    end: float


@dataclass
class Story:
    """What happened."""

    attempts: list[Attempt] = field(default_factory=list)
    again: list[Attempt] = field(default_factory=list)  # redeliveries of what failed
    kills: list[Kill] = field(default_factory=list)
    times_ms: list[float] = field(default_factory=list)
    stops: int = 0  # of hookwards that were let finish: they explain no failure


def was_killed(attempt: Attempt, sessions: dict[str, list[tuple[float, str]]], kills: Sequence[Kill]) -> bool:
    """Whether the attempt's connection was in the hands of a hookward when that was killed."""
    carried = {
        name
        for accepted, name in sessions.get(attempt.source, [])
        if attempt.opened - SLACK_S <= accepted <= attempt.ended + SLACK_S
    }
    return any(kill.name in carried and attempt.opened <= kill.end and kill.begin <= attempt.ended for kill in kills)


def report(
    story: Story, arrived: Counter[str], sessions: Sequence[tuple[str, float, str]], *, store_failed: bool
) -> dict[str, Any]:
    """The figures; ``store_failed``: some hookward said that Redis was too slow, so 503 is an answer to be expected."""
    by_source: dict[str, list[tuple[float, str]]] = {}
    for source, accepted, name in sessions:
        by_source.setdefault(source, []).append((accepted, name))
    failed = [one for one in story.attempts if not one.status]
    killed = [one for one in failed if was_killed(one, by_source, story.kills)]
    touched = {one.number for one in killed}
    told_to_come_again = {one.number for one in story.attempts if one.status == 503}
    sent = Counter(one.number for one in story.attempts)
    answers = Counter(one.status for one in story.attempts if one.status)
    twice = {int(name.partition("-")[2]) for name, count in arrived.items() if count > 1}
    duplicates = Counter(one.number for one in story.attempts if one.duplicate)
    taken = {one.number for one in [*story.attempts, *story.again] if one.status == 200}
    story.times_ms.sort()
    return {
        "deliveries": len(sent),
        "sent_twice": sum(count == 2 for count in sent.values()),
        "answered_200": answers[200],
        "of_these_as_duplicates": duplicates.total(),
        "answered_else": {str(status): count for status, count in answers.items() if status != 200},
        "answered_else_unexplained": sum(
            one.status not in (0, 200)
            and not (one.status == 409 and one.number in touched)
            and not (one.status == 503 and store_failed)
            for one in story.attempts
        ),
        "failed_in_killed_hookwards": len(killed),
        "failed_unexplained": dict(Counter(one.error for one in failed if one not in killed)),
        "redelivered": len({one.number for one in story.again}),
        "arrived": len(arrived),
        "arrived_twice_of_killed": len(twice & touched),
        "arrived_twice_unexplained": len(twice - touched),
        "copies_that_were_no_duplicate": sum(
            count == 2 and duplicates[number] != 1 and number not in touched | told_to_come_again
            for number, count in sent.items()
        ),
        "told_200_and_not_arrived": sum(f"soak-{number}" not in arrived for number in taken),
        "lost": len(sent.keys() - taken),
        "hookwards_killed": len(story.kills),
        "hookwards_stopped": story.stops,
        "connections_carried": dict(sorted(Counter(name for *_, name in sessions).items())),
        "p50_ms": round(story.times_ms[len(story.times_ms) // 2], 1),
        "p99_ms": round(story.times_ms[int(len(story.times_ms) * 0.99)], 1),
        "max_ms": round(story.times_ms[-1], 1),
    }


#: What must be nothing, and what it means where it is not.
PROMISES = {
    "failed_unexplained": "deliveries failed outside killed hookwards",
    "answered_else_unexplained": "deliveries were answered with something else than 200",
    "arrived_twice_unexplained": "deliveries arrived twice outside killed hookwards",
    "copies_that_were_no_duplicate": "of two copies not just one was answered as a duplicate",
    "told_200_and_not_arrived": "a 200 was told that did not arrive",
    "lost": "deliveries were lost for good",
}


def verdict(found: dict[str, Any]) -> list[str]:
    """What was promised and not kept."""
    broken = [text for name, text in PROMISES.items() if found[name]]
    if not found["hookwards_killed"] + found["hookwards_stopped"]:
        broken.append("no hookward was killed or stopped")
    if not found["connections_carried"].keys() >= set(NAMES):
        broken.append("not every hookward had work")
    return broken
