"""Numbers of all workers as one."""

from __future__ import annotations

import pytest

from proxy.core.metric_families import IN_FLIGHT, RELOADS, REQUEST_BYTES
from proxy.core.metrics import Snapshot
from proxy.ops import roster
from proxy.ops.roster import ANSWER_S, MAX_QUESTIONS, Tally


def numbers(total: int, in_flight: int = 0) -> Snapshot:
    return {REQUEST_BYTES.name: {("a",): total}, IN_FLIGHT.name: {(): in_flight}, RELOADS.name: {("done",): 99}}


class Asking:
    def __init__(self) -> None:
        self.tally = Tally(lambda: {RELOADS.name: {("done",): 1}})
        self.answers: list[tuple[float, float]] = []

    def ask(self, *pids: int, now: float = 0.0) -> int:
        number = self.tally.ask(pids, now, self.answer)
        assert number is not None
        return number

    def answer(self, total: Snapshot) -> None:
        assert total[RELOADS.name] == {("done",): 1}, "what the supervisor knows better"
        self.answers.append((total[REQUEST_BYTES.name]["a",], total[IN_FLIGHT.name][()]))


def test_all_are_asked_and_added():
    asking = Asking()
    number = asking.ask(11, 12)
    asking.tally.answered(number, 11, numbers(5, 1))
    assert asking.answers == []
    asking.tally.answered(number, 12, numbers(7, 2))
    assert asking.answers == [(12, 3)]
    assert asking.tally.due(0.0) is None


def test_one_that_does_not_answer_is_shown_as_it_was():
    asking = Asking()
    asking.tally.heard(11, numbers(5, 1))
    number = asking.ask(11, 12, now=100.0)
    asking.tally.answered(number, 12, numbers(7, 2))
    assert asking.tally.due(100.5) == ANSWER_S - 0.5
    asking.tally.look(100.5)
    assert asking.answers == []
    asking.tally.look(100.0 + ANSWER_S)
    assert asking.answers == [(12, 3)]
    asking.tally.answered(number, 11, numbers(6))


def test_of_those_that_are_gone_what_they_counted_stays():
    asking = Asking()
    asking.tally.heard(11, numbers(5, 1))
    number = asking.ask(11, 12)
    asking.tally.answered(number, 12, numbers(7, 2))
    asking.tally.gone(11)
    assert asking.answers == [(12, 2)]
    asking.tally.gone(12)
    asking.tally.gone(13)
    asking.tally.heard(14, numbers(1))
    asking.answer(asking.tally.total())
    assert asking.answers[-1] == (13, 0)


def test_two_who_ask_at_once():
    asking = Asking()
    one, two = asking.ask(11), asking.ask(11)
    asking.tally.answered(two, 11, numbers(5))
    asking.tally.answered(one, 11, numbers(6))
    assert asking.answers == [(5, 0), (6, 0)]


def test_one_that_asks_without_end_is_asked_for_no_more_than_a_few():
    """Each question is one to all workers. Others can still ask."""
    asking = Asking()
    numbers_ = [asking.tally.ask([11], 0.0, asking.answer, asker=7) for _ in range(MAX_QUESTIONS + 5)]
    assert numbers_.count(None) == 5
    assert asking.tally.ask([11], 0.0, asking.answer, asker=8) is not None
    asking.tally.heard(11, numbers(1))
    asking.tally.look(ANSWER_S)
    assert asking.tally.ask([11], 2.0, asking.answer, asker=7) is not None


def test_invented_series_of_the_gone_do_not_pile_up(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(roster, "MAX_PAST_SERIES", 10)
    asking = Asking()
    for pid in range(100):
        series: dict[tuple[str, ...], float | list[float]] = {(f"{pid}-{n}",): 1 for n in range(3)}
        asking.tally.heard(pid, {REQUEST_BYTES.name: series | {("a",): 1}})
        asking.tally.gone(pid)
    past = asking.tally.total()[REQUEST_BYTES.name]
    assert len(past) <= 10
    assert past["a",] == 100
