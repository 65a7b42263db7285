"""Which worker processes there should be, and what follows from it. No process is touched here, and no clock read.

There is a post for each worker. A post whose process is gone gets another one, with growing pauses where that happens
again and again. A new plan (another configuration) is rolled out post by post: the new process first, and only when it
serves is the old one told to retire, and only when that one takes no more connections is it the next one's turn. So
there are never fewer workers than asked for, and the roll is over only when nobody works by the old plan any more.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Generic, Protocol, TypeVar

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


class Fate(Enum):
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
class Post(Generic[ProcessT]):
    """One worker's place."""

    serving: ProcessT | None = None
    starting: ProcessT | None = None
    failures: int = 0  # in a row
    retry_at: float = 0.0


class Roster(Generic[PlanT, ProcessT]):
    """All posts. ``fork`` makes the process of a post by a plan; ``retire`` tells one to leave."""

    def __init__(self, fork: Callable[[int, PlanT], ProcessT], retire: Callable[[ProcessT], None]) -> None:
        self._fork = fork
        self._retire = retire
        self._plan: PlanT | None = None
        self._count = 0
        self.posts: list[Post[ProcessT]] = []
        self.leaving: list[ProcessT] = []

    def employ(self, plan: PlanT, count: int) -> None:
        """``count`` workers are to work by ``plan``. What failed before has a new chance."""
        self._plan = plan
        self._count = count
        for post in self.posts:
            post.failures, post.retry_at = 0, 0.0
        self.posts += [Post() for _ in range(count - len(self.posts))]

    @property
    def complete(self) -> bool:
        """Whether all workers that there should be serve by the plan, and nobody works by another."""
        return (
            len(self.posts) == self._count
            and all(self._is_right(post) for post in self.posts)
            and not any(process.state is State.RETIRING for process in self.leaving)
        )

    @property
    def serving(self) -> list[ProcessT]:
        """Who takes connections."""
        return [post.serving for post in self.posts if post.serving is not None]

    @property
    def starting(self) -> list[ProcessT]:
        """Who is about to."""
        return [post.starting for post in self.posts if post.starting is not None]

    @property
    def failures(self) -> int:
        """How often in a row the most troubled post has failed."""
        return max((post.failures for post in self.posts), default=0)

    def due(self, now: float) -> float | None:
        """In how many seconds ``advance`` has something to do, if nothing happens before."""
        empty = [post.retry_at for post in self.posts if post.serving is None and post.starting is None]
        return max(0.0, min(empty) - now) if empty else None

    def advance(self, now: float) -> None:
        """Take the steps that are possible now."""
        plan = self._plan
        assert plan is not None, "employ comes first"
        for number, post in enumerate(self.posts[: self._count]):
            if post.serving is None and post.starting is None and now >= post.retry_at:
                post.starting = self._fork(number, plan)
        if self._changes_hands:
            return
        for number, post in enumerate(self.posts[: self._count]):
            if post.serving is not None and post.serving.plan is not plan:
                post.starting = self._fork(number, plan)
                return
        if all(self._is_right(post) for post in self.posts[: self._count]):
            self._dismiss_surplus()

    def ready(self, process: ProcessT) -> None:
        """A process serves."""
        post = self._post_of(process)
        if post is None or post.starting is not process:
            return
        process.state = State.SERVING
        before, post.serving, post.starting = post.serving, process, None
        if before is not None:
            self._let_go(before)

    def left(self, process: ProcessT) -> None:
        """A process takes no more connections; unasked, it is replaced at once."""
        post = self._post_of(process)
        if post is not None and post.serving is process:
            post.serving = None
            self.leaving.append(process)
        if process in self.leaving:
            process.state = State.LEAVING

    def exited(self, process: ProcessT, now: float) -> Fate:
        """A process has ended."""
        if process in self.leaving:
            self.leaving.remove(process)
            return Fate.LEFT
        post = self._post_of(process)
        if post is None:
            return Fate.LEFT
        fate = Fate.NEVER_SERVED if post.starting is process else Fate.DIED
        if post.starting is process:
            post.starting = None
        else:
            post.serving = None
            if now - process.started >= STEADY_S:
                post.failures = 0
        post.failures += 1
        post.retry_at = now + pause_after(post.failures)
        return fate

    # -- parts

    def _post_of(self, process: ProcessT) -> Post[ProcessT] | None:
        return next((post for post in self.posts if process in (post.serving, post.starting)), None)

    def _is_right(self, post: Post[ProcessT]) -> bool:
        return post.starting is None and post.serving is not None and post.serving.plan is self._plan

    @property
    def _changes_hands(self) -> bool:
        """Whether one post is being handed over; there is never more than one."""
        return any(post.serving and post.starting for post in self.posts) or any(
            process.state is State.RETIRING for process in self.leaving
        )

    def _dismiss_surplus(self) -> None:
        surplus, self.posts = self.posts[self._count :], self.posts[: self._count]
        for post in surplus:
            for process in (post.serving, post.starting):
                if process is not None:
                    self._let_go(process)

    def _let_go(self, process: ProcessT) -> None:
        process.state = State.RETIRING
        self.leaving.append(process)
        self._retire(process)


def pause_after(failures: int) -> float:
    """Seconds to wait after so many failures in a row."""
    return 0.0 if failures <= 1 else min(PAUSE_S * 2.0 ** min(failures - 2, 30), LONGEST_PAUSE_S)
