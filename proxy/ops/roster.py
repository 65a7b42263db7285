"""Which worker processes there should be, and what all of them have counted. No process is touched here, and no clock
read.

Each worker has a slot. A slot whose process is gone gets another one, with growing pauses where that happens
again and again. A new plan (another configuration) is rolled out slot by slot: the new process first, and only when it
serves is the old one told to retire, and only when that one takes no more connections is it the next slot's turn. So
there are never fewer workers than asked for, and the roll is over only when no process works by the old plan any more.

The metrics are one sum (``Tally``): what each worker says now, what those that are gone have counted, what the
supervisor counts itself. Workers send their numbers every second, so that little is lost of one that is killed. A
question gets them as they are: every worker is asked, and one that does not answer in time is shown as it was last
known. No counter ever goes back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import field
from enum import Enum
from typing import Generic, Protocol, TypeVar

from proxy.core.metrics import Snapshot, lasting, merge
from proxy.values import mutable

#: A process that has served for so long was no failure, whatever ended it.
STEADY_S = 10.0
#: The pause before the second restart in a row; it doubles. The first one is at once.
PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0


class State(Enum):
    """What a process does."""

    STARTING = "starting"
    SERVING = "serving"
    RETIRING = "retiring"  # told to leave, and not known to take no more
    LEAVING = "leaving"  # it takes no more connections


class ExitKind(Enum):
    """What it means that a process has ended."""

    LEFT = "left"
    NEVER_SERVED = "never_served"
    DIED = "died"


PlanT = TypeVar("PlanT")


class Process(Protocol[PlanT]):
    """A worker process, as far as the roster knows it. Times in seconds."""

    number: int
    plan: PlanT
    started: float
    state: State


ProcessT = TypeVar("ProcessT", bound=Process)  # type: ignore[type-arg]  # a bound cannot name PlanT


@mutable
class WorkerSlot(Generic[ProcessT]):
    """One worker, whichever process it is."""

    serving: ProcessT | None = None
    starting: ProcessT | None = None
    failures: int = 0  # in a row
    retry_at: float = 0.0


class Roster(Generic[PlanT, ProcessT]):
    """All slots. ``fork`` makes the process of a slot by a plan; ``retire`` tells one to leave."""

    def __init__(self, fork: Callable[[int, PlanT], ProcessT], retire: Callable[[ProcessT], None]) -> None:
        self._fork = fork
        self._retire = retire
        self._plan: PlanT | None = None
        self._count = 0
        self.slots: list[WorkerSlot[ProcessT]] = []
        self.leaving: list[ProcessT] = []

    def assign(self, plan: PlanT, count: int) -> None:
        """``count`` workers are to work by ``plan``. What failed before has a new chance."""
        self._plan = plan
        self._count = count
        for slot in self.slots:
            slot.failures, slot.retry_at = 0, 0.0
        self.slots += [WorkerSlot() for _ in range(count - len(self.slots))]

    @property
    def complete(self) -> bool:
        """Whether all workers that there should be serve by the plan, and none by another."""
        return (
            len(self.slots) == self._count
            and all(self._is_right(slot) for slot in self.slots)
            and not any(process.state is State.RETIRING for process in self.leaving)
        )

    @property
    def serving(self) -> list[ProcessT]:
        """The processes that take connections."""
        return [slot.serving for slot in self.slots if slot.serving is not None]

    @property
    def starting(self) -> list[ProcessT]:
        """Those that are about to."""
        return [slot.starting for slot in self.slots if slot.starting is not None]

    @property
    def failures(self) -> int:
        """How often in a row a slot has failed, at most."""
        return max((slot.failures for slot in self.slots), default=0)

    def due(self, now: float) -> float | None:
        """In how many seconds ``advance`` has something to do, if nothing happens before."""
        empty = [slot.retry_at for slot in self.slots if slot.serving is None and slot.starting is None]
        return max(0.0, min(empty) - now) if empty else None

    def advance(self, now: float) -> None:
        """Take the steps that are possible now."""
        plan = self._plan
        assert plan is not None, "assign comes first"
        slots = self.slots[: self._count]
        for number, slot in enumerate(slots):
            if slot.serving is None and slot.starting is None and now >= slot.retry_at:
                slot.starting = self._fork(number, plan)
        if self._changes_hands:
            return
        outdated = [n for n, slot in enumerate(slots) if slot.serving is not None and slot.serving.plan is not plan]
        if outdated:
            slots[outdated[0]].starting = self._fork(outdated[0], plan)
        elif all(map(self._is_right, slots)):
            self._retire_surplus()

    def ready(self, process: ProcessT) -> None:
        """A process serves."""
        slot = self._slot_of(process)
        if slot is None or slot.starting is not process:
            return
        process.state = State.SERVING
        before, slot.serving, slot.starting = slot.serving, process, None
        if before is not None:
            self._let_go(before)

    def left(self, process: ProcessT) -> None:
        """A process takes no more connections; unasked, it is replaced at once."""
        slot = self._slot_of(process)
        if slot is not None and slot.serving is process:
            slot.serving = None
            self.leaving.append(process)
        if process in self.leaving:
            process.state = State.LEAVING

    def exited(self, process: ProcessT, now: float) -> ExitKind:
        """A process has ended."""
        if process in self.leaving:
            self.leaving.remove(process)
            return ExitKind.LEFT
        slot = self._slot_of(process)
        if slot is None:
            return ExitKind.LEFT
        kind = ExitKind.NEVER_SERVED if slot.starting is process else ExitKind.DIED
        if slot.starting is process:
            slot.starting = None
        else:
            slot.serving = None
            if now - process.started >= STEADY_S:
                slot.failures = 0
        slot.failures += 1
        slot.retry_at = now + pause_after(slot.failures)
        return kind

    # -- parts

    def _slot_of(self, process: ProcessT) -> WorkerSlot[ProcessT] | None:
        return next((slot for slot in self.slots if process in (slot.serving, slot.starting)), None)

    def _is_right(self, slot: WorkerSlot[ProcessT]) -> bool:
        return slot.starting is None and slot.serving is not None and slot.serving.plan is self._plan

    @property
    def _changes_hands(self) -> bool:
        """Whether one slot is being handed over; there is never more than one."""
        return any(slot.serving and slot.starting for slot in self.slots) or any(
            process.state is State.RETIRING for process in self.leaving
        )

    def _retire_surplus(self) -> None:
        surplus, self.slots = self.slots[self._count :], self.slots[: self._count]
        for slot in surplus:
            for process in (slot.serving, slot.starting):
                if process is not None:
                    self._let_go(process)

    def _let_go(self, process: ProcessT) -> None:
        process.state = State.RETIRING
        self.leaving.append(process)
        self._retire(process)


def pause_after(failures: int) -> float:
    """Seconds to wait after so many failures in a row."""
    return 0.0 if failures <= 1 else min(PAUSE_S * 2.0 ** min(failures - 2, 30), LONGEST_PAUSE_S)


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
