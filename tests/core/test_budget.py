"""The budget is never exceeded, turns are kept, and nobody waits where there is room."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from proxy.core.budget import BufferBudget, Reservation
from tests.examples import examples


def never() -> None:
    raise AssertionError("nobody asked to be called")


@pytest.fixture
def calls() -> list[str]:
    return []


def test_what_is_free_is_granted_at_once_without_a_call():
    budget = BufferBudget(100)
    first = budget.reserve(60, never)
    second = budget.reserve(40, never)
    assert first.granted
    assert second.granted
    assert (budget.used, budget.waiting) == (100, 0)


def test_who_finds_nothing_waits_for_the_turn(calls):
    budget = BufferBudget(100)
    first = budget.reserve(100, never)
    second = budget.reserve(50, lambda: calls.append("second"))
    third = budget.reserve(50, lambda: calls.append("third"))
    assert not second.granted
    assert budget.waiting == 2
    first.release()
    assert calls == ["second", "third"]
    assert second.granted
    assert third.granted
    assert (budget.used, budget.waiting) == (100, 0)


def test_a_small_request_does_not_overtake_a_large_one(calls):
    budget = BufferBudget(100)
    holder = budget.reserve(60, never)
    budget.reserve(80, lambda: calls.append("large"))
    small = budget.reserve(10, lambda: calls.append("small"))
    assert not small.granted
    holder.release()
    assert calls == ["large", "small"]


def test_shrinking_serves_who_waits(calls):
    budget = BufferBudget(100)
    holder = budget.reserve(100, never)
    budget.reserve(30, lambda: calls.append("next"))
    holder.shrink(71)
    assert calls == []
    holder.shrink(70)
    assert calls == ["next"]
    holder.shrink(90)
    assert (holder.size, budget.used) == (70, 100)


def test_who_waits_may_ask_for_less(calls):
    budget = BufferBudget(100)
    budget.reserve(80, never)
    waiting = budget.reserve(50, lambda: calls.append("smaller"))
    waiting.shrink(20)
    assert calls == ["smaller"]
    assert budget.used == 100


def test_who_leaves_the_queue_lets_the_next_one_in(calls):
    budget = BufferBudget(100)
    budget.reserve(60, never)
    large = budget.reserve(50, never)
    budget.reserve(30, lambda: calls.append("small"))
    large.release()
    assert calls == ["small"]
    assert (budget.used, budget.waiting) == (90, 0)


def test_releasing_twice_does_no_harm(calls):
    budget = BufferBudget(100)
    first, second = budget.reserve(40, never), budget.reserve(60, never)
    waiting = budget.reserve(60, lambda: calls.append("waiting"))
    for _ in range(2):
        first.release()
    assert (first.granted, first.size, budget.used) == (False, 0, 60)
    for _ in range(2):
        waiting.release()
        second.release()
    assert (budget.used, budget.waiting, calls) == (0, 0, [])


def test_more_than_everything_is_everything(calls):
    budget = BufferBudget(100)
    assert budget.reserve(1000, never).size == 100
    assert budget.used == 100


def test_those_who_come_and_go_while_one_waits_leave_nothing_behind():
    budget = BufferBudget(100)
    budget.reserve(60, never)
    budget.reserve(100, never)
    for _ in range(1000):
        budget.reserve(10, never).release()
    assert budget.waiting == len(budget._waiting) == 1


def test_grants_that_end_at_once_do_not_nest():
    budget = BufferBudget(10)
    holder = budget.reserve(10, never)
    waiting: list[Reservation] = []
    for number in range(5000):
        waiting.append(budget.reserve(10, lambda number=number: waiting[number].release()))
    holder.release()
    assert (budget.used, budget.waiting) == (0, 0)


def test_a_reload_that_raises_the_limit_serves_who_waits(calls):
    budget = BufferBudget(100)
    budget.reserve(100, never)
    budget.reserve(50, lambda: calls.append("next"))
    budget.limit = 150
    assert calls == ["next"]
    assert (budget.limit, budget.used) == (150, 150)


def test_a_reload_that_lowers_the_limit_leaves_nobody_waiting_for_ever(calls):
    budget = BufferBudget(100)
    holder = budget.reserve(100, never)
    waiting = budget.reserve(100, lambda: calls.append("next"))
    budget.limit = 40
    assert not waiting.granted
    holder.release()
    assert calls == ["next"]
    assert (waiting.size, budget.used) == (40, 40)


def test_a_call_that_fails_does_not_stop_the_budget(calls):
    budget = BufferBudget(100)
    holder = budget.reserve(100, never)
    broken = budget.reserve(50, never)
    budget.reserve(60, lambda: calls.append("next"))
    with pytest.raises(AssertionError):
        holder.release()
    broken.release()
    assert calls == ["next"]


def test_more_is_taken_only_where_there_is_plenty(calls):
    budget = BufferBudget(100)
    first = budget.reserve(20, never)
    assert first.grow(40)
    assert (first.size, budget.used) == (40, 40)
    assert first.grow(10)
    assert first.size == 40
    second = budget.reserve(11, never)
    assert not first.grow(40)
    assert not second.grow(20)
    assert (first.size, second.size, budget.used) == (40, 11, 51)
    second.shrink(10)
    assert first.grow(40)
    waiting = budget.reserve(60, lambda: calls.append("next"))
    assert not first.grow(40)
    assert not waiting.grow(60)
    first.release()
    assert calls == ["next"]
    assert (waiting.size, budget.used) == (60, 70)


class BudgetMachine(RuleBasedStateMachine):
    """Any order of reserving, shrinking and leaving."""

    def __init__(self) -> None:
        super().__init__()
        self.budget = BufferBudget(100)
        self.order: list[int] = []
        self.alive: dict[int, Reservation] = {}
        self.number = 0

    @rule(size=st.integers(0, 130))
    def reserve(self, size: int) -> None:
        number = self.number = self.number + 1
        self.alive[number] = self.budget.reserve(size, lambda: self.order.append(number))

    @rule(data=st.data(), size=st.integers(0, 100))
    def shrink(self, data: st.DataObject, size: int) -> None:
        if self.alive:
            self.alive[data.draw(st.sampled_from(sorted(self.alive)))].shrink(size)

    @rule(data=st.data(), size=st.integers(0, 100))
    def grow(self, data: st.DataObject, size: int) -> None:
        if self.alive:
            waited, one = self.budget.waiting, self.alive[data.draw(st.sampled_from(sorted(self.alive)))]
            if one.grow(size):
                assert not waited
                assert one.size >= size
                assert self.budget.used <= self.budget.limit // 2

    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        if self.alive:
            self.alive.pop(data.draw(st.sampled_from(sorted(self.alive)))).release()

    @rule(limit=st.integers(0, 200))
    def reload(self, limit: int) -> None:
        self.budget.limit = limit

    @invariant()
    def used_is_what_is_granted(self) -> None:
        assert self.budget.used == sum(one.size for one in self.alive.values() if one.granted)

    @invariant()
    def turns_are_kept(self) -> None:
        assert self.order == sorted(self.order)

    @invariant()
    def nobody_waits_where_there_is_room(self) -> None:
        waiting = [one for one in self.alive.values() if not one.granted]
        assert len(waiting) == self.budget.waiting
        if waiting:
            assert self.budget.used + min(waiting[0].size, self.budget.limit) > self.budget.limit


TestBudgetMachine = BudgetMachine.TestCase
TestBudgetMachine.settings = examples(30)
