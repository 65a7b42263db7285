"""Why connections failed, in few lines: the first of a cause at once, those that follow as one line a minute.

A scan can then neither fill the journal nor go unseen. Causes come from closed lists; should there be more of them
than expected, the others are counted together.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

MINUTE_S = 60.0
#: Causes that are told apart within a minute; OpenSSL knows some hundred, of which few are common.
MAX_CAUSES = 50
OTHERS = "other causes"


class CauseDigest:
    """Counts causes, and tells them. ``tell`` is given a line for the journal, which begins with ``what``."""

    def __init__(self, loop: asyncio.AbstractEventLoop, tell: Callable[[str], None], what: str) -> None:
        self._loop = loop
        self._tell = tell
        self._what = what
        self._counts: dict[str, int] = {}  # beyond the first, whose line is written
        self._timer: asyncio.TimerHandle | None = None

    def note(self, cause: str) -> None:
        """It happened once more."""
        counts = self._counts
        if cause not in counts and len(counts) >= MAX_CAUSES:
            cause = OTHERS
        if cause in counts:
            counts[cause] += 1
            return
        counts[cause] = 0
        self._tell(f"{self._what}: {cause}")
        if self._timer is None:
            self._timer = self._loop.call_later(MINUTE_S, self._minute_over)

    def close(self) -> None:
        """Tell what was counted, and stop."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._sum_up()
        self._counts.clear()

    def _minute_over(self) -> None:
        self._sum_up()
        # What still happens goes on without a line of its own.
        self._counts = {cause: 0 for cause, count in self._counts.items() if count}
        self._timer = self._loop.call_later(MINUTE_S, self._minute_over) if self._counts else None

    def _sum_up(self) -> None:
        for cause, count in self._counts.items():
            if count:
                self._tell(f"{self._what}: {cause}, {count} more within a minute")
