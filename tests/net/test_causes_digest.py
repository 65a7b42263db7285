"""One line for the first of a cause, one a minute for those behind it, and the addresses that came most."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from proxy.core.setup_faults import SetupFault
from proxy.net.causes import MAX_ADDRESSES, MAX_FAULTS, OTHERS, FaultDigest


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


def fault(said: str) -> SetupFault:
    return SetupFault("word", said, "mend it")


def digest():
    loop = Clockwork()
    lines: list[Any] = []
    return loop, lines, FaultDigest(loop, lines.append)


def test_the_first_at_once_with_its_mend_the_others_together():
    loop, lines, faults = digest()
    for said, address in (("a", "192.0.2.1"), ("b", "192.0.2.2"), ("a", "192.0.2.1"), ("a", "192.0.2.1")):
        faults.note(fault(said), address)
    assert lines == ["a (from 192.0.2.1): mend it", "b (from 192.0.2.2): mend it"]
    loop.minute()
    assert lines[2:] == ["a: 2 more within a minute, from 192.0.2.1 (2)"]


def test_what_goes_on_has_one_line_a_minute_and_what_stopped_begins_anew():
    loop, lines, faults = digest()
    for _ in range(3):
        faults.note(fault("a"), "192.0.2.1")
        faults.note(fault("a"), "192.0.2.1")
        loop.minute()
    assert lines[1:] == [f"a: {n} more within a minute, from 192.0.2.1 ({n})" for n in (1, 2, 2)]
    loop.minute()
    assert loop.due is None, "nothing happens, so nothing is awaited"
    faults.note(fault("a"), "192.0.2.1")
    assert lines[4:] == ["a (from 192.0.2.1): mend it"]


def test_the_three_addresses_that_came_most_are_named():
    loop, lines, faults = digest()
    for number, times in enumerate((2, 9, 1, 4, 3)):
        for _ in range(times):
            faults.note(fault("a"), f"192.0.2.{number}")
    loop.minute()
    named = "192.0.2.1 (9), 192.0.2.3 (4), 192.0.2.4 (3) and 2 other addresses"
    assert lines[1:] == [f"a: 18 more within a minute, from {named}"]


def test_causes_are_bounded():
    loop, lines, faults = digest()
    for number in range(3 * MAX_FAULTS):
        faults.note(fault(str(number)), "192.0.2.1")
    assert len(lines) == MAX_FAULTS + 1
    loop.minute()
    more = 2 * MAX_FAULTS - 1
    assert lines[-1] == f"{OTHERS.said}: {more} more within a minute, from 192.0.2.1 ({more})"
    assert len(lines) == MAX_FAULTS + 2


@given(st.lists(st.integers(0, 20_000), max_size=1500), st.integers(1, 9))
def test_addresses_are_bounded_and_what_comes_all_the_time_is_named(strangers: list[int], every: int):
    loop, lines, faults = digest()
    count = 0
    faults.note(fault("a"), "the first")
    for number, stranger in enumerate(strangers):
        faults.note(fault("a"), str(stranger))
        if number % every == 0:
            count += 1
            faults.note(fault("a"), "steady")
        [seen] = faults._seen.values()
        assert len(seen.addresses) <= MAX_ADDRESSES
    loop.minute()
    assert len(lines) == (2 if strangers else 1)
    if count > max(map(strangers.count, strangers), default=0):
        assert f"from steady ({count})" in lines[1]


def test_the_end_tells_what_was_counted():
    loop, lines, faults = digest()
    faults.note(fault("a"), "192.0.2.1")
    faults.note(fault("a"), "192.0.2.1")
    faults.close()
    assert lines[1:] == ["a: 1 more within a minute, from 192.0.2.1 (1)"]
    assert loop.due is None
    faults.close()
    assert len(lines) == 2
