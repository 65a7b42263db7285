"""The metrics of all workers as one: what each says now, what those that are gone have counted, what the supervisor
counts itself.

Workers send their numbers every second, so that little is lost of one that is killed. A question gets them as they are:
every worker is asked, and one that does not answer in time is shown as it was last known. No counter ever goes back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import field

from proxy.core.metrics import Snapshot, lasting, merge
from proxy.values import mutable

#: Workers answer in milliseconds; one that is busy for longer is shown as it was.
ANSWER_S = 1.0
#: Of one worker, at a time. Each is a question to all the others.
MAX_QUESTIONS = 16
#: Series of workers that are gone. A worker that was taken over could invent others each time that it dies.
MAX_PAST_SERIES = 500_000

Answer = Callable[[Snapshot], None]


@mutable
class _Question:
    answer: Answer
    awaited: set[int]
    deadline: float
    asker: int


@mutable
class Tally:
    """The numbers. ``own`` gives the supervisor's, which hold for all; workers are known by their process id."""

    own: Callable[[], Snapshot]
    _known: dict[int, Snapshot] = field(default_factory=dict)
    _past: Snapshot = field(default_factory=dict)
    _questions: dict[int, _Question] = field(default_factory=dict)
    _asked: int = 0

    def heard(self, pid: int, snapshot: Snapshot) -> None:
        """What a worker counts now."""
        self._known[pid] = snapshot

    def gone(self, pid: int) -> None:
        """A worker has ended."""
        self._past = _bounded(merge([self._past, lasting(self._known.pop(pid, {}))]), self._past)
        for question in self._questions.values():
            question.awaited.discard(pid)
        self._answer_all()

    def ask(self, pids: Iterable[int], now: float, answer: Answer, *, asker: int = 0) -> int | None:
        """Begin a question; its number, or None where ``asker`` has too many. ``answer`` is called once."""
        if sum(question.asker == asker for question in self._questions.values()) >= MAX_QUESTIONS:
            return None
        self._asked += 1
        self._questions[self._asked] = _Question(answer, set(pids), now + ANSWER_S, asker)
        return self._asked

    def answered(self, number: int, pid: int, snapshot: Snapshot) -> None:
        """A worker has answered."""
        self.heard(pid, snapshot)
        if number in self._questions:
            self._questions[number].awaited.discard(pid)
        self._answer_all()

    def due(self, now: float) -> float | None:
        """In how many seconds the next question is to be answered anyway."""
        deadlines = [question.deadline for question in self._questions.values()]
        return max(0.0, min(deadlines) - now) if deadlines else None

    def look(self, now: float) -> None:
        """Answer what has waited for too long."""
        for question in self._questions.values():
            if question.deadline <= now:
                question.awaited.clear()
        self._answer_all()

    def total(self) -> Snapshot:
        """All numbers as they are known."""
        return {**merge([self._past, *self._known.values()]), **self.own()}

    def _answer_all(self) -> None:
        done = [number for number, question in self._questions.items() if not question.awaited]
        for number in done:
            self._questions.pop(number).answer(self.total())


def _bounded(merged: Snapshot, before: Snapshot) -> Snapshot:
    """The past with what has come to it, or without its new series where those are too many."""
    if sum(map(len, merged.values())) <= MAX_PAST_SERIES:
        return merged
    return {
        name: {labels: value for labels, value in samples.items() if labels in before.get(name, {})}
        for name, samples in merged.items()
    }
