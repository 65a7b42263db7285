"""One line for the first of a cause, one a minute for those behind it."""

from __future__ import annotations

from typing import Any

from proxy.net.cause_digest import MAX_CAUSES, OTHERS, CauseDigest


class Clockwork:
    """A loop with one timer, which the test lets ring."""

    def __init__(self) -> None:
        self.due = None

    def call_later(self, delay, callback):
        assert delay == 60.0
        self.due = callback
        return self

    def cancel(self) -> None:
        self.due = None

    def minute(self) -> None:
        due, self.due = self.due, None
        due()


def digest():
    loop = Clockwork()
    lines: list[Any] = []
    return loop, lines, CauseDigest(loop, lines.append, "it failed")


def test_the_first_at_once_the_others_together():
    loop, lines, causes = digest()
    for cause in ("a", "b", "a", "a"):
        causes.note(cause)
    assert lines == ["it failed: a", "it failed: b"]
    loop.minute()
    assert lines[2:] == ["it failed: a, 2 more within a minute"]


def test_what_goes_on_has_one_line_a_minute_and_what_stopped_begins_anew():
    loop, lines, causes = digest()
    for _ in range(3):
        causes.note("a")
        causes.note("a")
        loop.minute()
    assert lines == ["it failed: a", *(f"it failed: a, {n} more within a minute" for n in (1, 2, 2))]
    loop.minute()
    assert loop.due is None, "nothing happens, so nothing is awaited"
    causes.note("a")
    assert lines[4:] == ["it failed: a"]


def test_causes_are_bounded():
    loop, lines, causes = digest()
    for number in range(3 * MAX_CAUSES):
        causes.note(str(number))
    assert len(lines) == MAX_CAUSES + 1
    loop.minute()
    assert lines[-1] == f"it failed: {OTHERS}, {2 * MAX_CAUSES - 1} more within a minute"
    assert len(lines) == MAX_CAUSES + 2


def test_the_end_tells_what_was_counted():
    loop, lines, causes = digest()
    causes.note("a")
    causes.note("a")
    causes.close()
    assert lines[1:] == ["it failed: a, 1 more within a minute"]
    assert loop.due is None
    causes.close()
    assert len(lines) == 2
