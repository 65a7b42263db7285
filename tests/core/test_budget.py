"""The budget is never exceeded, turns are kept, no group has more than its share, and all come to their end."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from proxy.core.budget import ANYBODY, GROUP_SHARE, BufferBudget, Party, Reservation
from tests.examples import examples

STRANGER = Party(None, listed=False)


def never() -> None:
    raise AssertionError("nobody asked to be called")


def held(budget: BufferBudget, size: int, on_grant: Callable[[], None] = never, party: Party = ANYBODY) -> Reservation:
    """A reservation that has asked for so much."""
    one = budget.reserve(party, on_grant)
    one.hold(size)
    return one


def of(number: int, *, listed: bool = True) -> Party:
    return Party((4, number), listed)


@pytest.fixture
def calls() -> list[str]:
    return []


def test_what_is_free_is_counted_at_once_without_a_call():
    budget = BufferBudget(100)
    first = budget.reserve(ANYBODY, never)
    assert budget.used == 0, "bytes are counted as they come"
    assert first.hold(20)
    assert first.hold(60)
    assert held(budget, 40).granted
    assert (budget.used, budget.waiting) == (100, 0)


def test_what_finds_nothing_waits_for_its_turn(calls):
    budget = BufferBudget(100)
    first = held(budget, 100)
    second = held(budget, 50, lambda: calls.append("second"))
    third = held(budget, 50, lambda: calls.append("third"))
    assert not second.granted
    assert not second.hold(60), "it waits for what it asked for first"
    assert budget.waiting == 2
    first.release()
    assert calls == ["second", "third"]
    assert second.granted
    assert third.granted
    assert (budget.used, budget.waiting) == (100, 0)


def test_a_small_request_does_not_overtake_a_large_one(calls):
    budget = BufferBudget(100)
    holder = held(budget, 60)
    held(budget, 80, lambda: calls.append("large"))
    small = held(budget, 10, lambda: calls.append("small"))
    assert not small.granted
    holder.release()
    assert calls == ["large", "small"]


def test_half_filled_windows_do_not_wait_for_each_other_for_ever(calls):
    """One window is kept for the one whose turn it is."""
    budget = BufferBudget(100, window=30)
    many = [held(budget, 10, lambda number=number: calls.append(number)) for number in range(8)]
    assert [one.granted for one in many] == [True] * 8
    assert many[7].hold(30), "the last of them came first to the end of the room, and has the turn"
    assert [one.hold(30) for one in many[:7]] == [False] * 7
    for _ in range(7):
        [one for one in many if one.granted and one.size == 30][-1].release()
        assert budget.used <= 100
    assert calls == list(range(7))
    for one in many:
        one.release()
    assert (budget.used, budget.waiting) == (0, 0)


def test_who_has_the_turn_stands_first_when_even_it_must_wait(calls):
    budget = BufferBudget(100, strangers=90, window=10)
    holder = held(budget, 85)
    turn = held(budget, 4, lambda: calls.append("turn"), STRANGER)
    held(budget, 1, lambda: calls.append("other"), STRANGER)
    assert turn.granted
    assert not turn.hold(9)
    holder.shrink(81)
    assert calls == ["turn"]
    turn.release()
    assert calls == ["turn", "other"]


def test_a_group_of_addresses_has_a_share(calls):
    budget = BufferBudget(800, window=10)
    mine = [held(budget, 10, lambda number=number: calls.append(number), of(1)) for number in range(20)]
    assert budget.used == 100 == budget.limit // GROUP_SHARE
    assert held(budget, 10, party=of(2)).granted
    mine[0].release()
    assert calls == [10]
    assert budget.used == 110
    for one in mine:
        one.release()
    assert (budget.used, budget.waiting) == (10, 0)
    assert list(budget._groups) == [(4, 2)], "nothing is kept of a group that holds nothing"


def test_one_of_a_group_may_come_to_its_end_although_the_share_is_small(calls):
    budget = BufferBudget(100, window=60)
    first, turn = held(budget, 5, lambda: calls.append("first"), of(1)), held(budget, 5, party=of(1))
    assert not first.hold(7)
    assert turn.hold(60)
    assert (calls, budget.used) == ([], 65)
    turn.release()
    assert calls == ["first"]


def test_what_speaks_for_many_has_no_share():
    budget = BufferBudget(100)
    assert held(budget, 50).granted
    assert held(budget, 50).granted


def test_strangers_leave_a_share_and_listed_ones_pass_them(calls):
    budget = BufferBudget(100, strangers=80)
    strange = held(budget, 80, party=STRANGER)
    held(budget, 10, lambda: calls.append("strange"), STRANGER)
    assert held(budget, 15).granted
    friend = held(budget, 10, lambda: calls.append("friend"))
    assert not friend.granted
    strange.shrink(75)
    assert calls == ["friend"]
    strange.release()
    assert calls == ["friend", "strange"]


@pytest.mark.parametrize(
    ("limit", "strangers", "window", "most"), [(100, 95, 10, 90), (100, 95, 60, 60), (100, 100, 10, 100)]
)
def test_the_share_of_listed_addresses_is_at_least_a_window_where_there_is_room_for_two(limit, strangers, window, most):
    budget = BufferBudget(limit, strangers=strangers, window=window)
    assert held(budget, 1000, party=STRANGER).size == most


def test_shrinking_serves_what_waits(calls):
    budget = BufferBudget(100)
    holder = held(budget, 100)
    held(budget, 30, lambda: calls.append("next"))
    holder.shrink(71)
    assert calls == []
    holder.shrink(70)
    assert calls == ["next"]
    holder.shrink(90)
    assert (holder.size, budget.used) == (70, 100)
    assert holder.hold(60)
    assert budget.used == 90


def test_what_waits_does_not_shrink():
    budget = BufferBudget(100)
    held(budget, 80)
    waiting = held(budget, 50)
    waiting.shrink(20)
    assert (waiting.granted, budget.used) == (False, 80)


def test_what_leaves_the_line_lets_the_next_one_in(calls):
    budget = BufferBudget(100)
    held(budget, 60)
    large = held(budget, 50)
    held(budget, 30, lambda: calls.append("small"))
    large.release()
    assert calls == ["small"]
    assert (budget.used, budget.waiting) == (90, 0)


@pytest.mark.parametrize("party", [ANYBODY, of(1)])
def test_releasing_twice_does_no_harm(calls, party):
    budget = BufferBudget(100 * GROUP_SHARE)
    first, second = held(budget, 40, party=party), held(budget, 60, party=party)
    held(budget, 700)
    waiting = held(budget, 60, lambda: calls.append("waiting"), party)
    for _ in range(2):
        first.release()
    assert (first.size, budget.used) == (0, 760)
    for _ in range(2):
        waiting.release()
        second.release()
    assert (budget.used, budget.waiting, calls) == (700, 0, [])
    assert not budget._groups


def test_more_than_everything_is_everything():
    budget = BufferBudget(100)
    assert held(budget, 1000).size == 100
    assert budget.used == 100


def test_those_that_come_and_go_while_one_waits_leave_nothing_behind():
    budget = BufferBudget(100)
    held(budget, 60)
    held(budget, 100)
    for number in range(1000):
        held(budget, 10, party=of(number)).release()
    assert budget.waiting == len(budget._lines[True].waiting) == 1
    assert not budget._groups


def test_grants_that_end_at_once_do_not_nest():
    budget = BufferBudget(10)
    holder = held(budget, 10)
    waiting: list[Reservation] = []
    for number in range(5000):
        waiting.append(held(budget, 10, lambda number=number: waiting[number].release()))
    holder.release()
    assert (budget.used, budget.waiting) == (0, 0)


def test_a_reload_that_raises_the_limit_serves_what_waits(calls):
    budget = BufferBudget(800)
    held(budget, 100, party=of(1))
    held(budget, 700)
    held(budget, 50, lambda: calls.append("next"), of(1))
    budget.use(1600)
    assert calls == ["next"]
    assert (budget.limit, budget.used) == (1600, 850)


def test_a_reload_that_lowers_the_limit_leaves_nothing_waiting_for_ever(calls):
    budget = BufferBudget(100)
    holder = held(budget, 100)
    waiting = held(budget, 100, lambda: calls.append("next"))
    budget.use(40)
    assert not waiting.granted
    holder.release()
    assert calls == ["next"]
    assert (waiting.size, budget.used) == (40, 40)


def test_a_call_that_fails_does_not_stop_the_budget(calls):
    budget = BufferBudget(100)
    holder = held(budget, 100)
    broken = held(budget, 50)
    held(budget, 60, lambda: calls.append("next"))
    with pytest.raises(AssertionError):
        holder.release()
    broken.release()
    assert calls == ["next"]


def test_more_is_taken_only_where_there_is_plenty(calls):
    budget = BufferBudget(100)
    first = held(budget, 20)
    assert first.grow(40)
    assert (first.size, budget.used) == (40, 40)
    assert first.grow(10)
    assert first.size == 40
    second = held(budget, 11)
    assert not first.grow(40)
    assert not second.grow(20)
    assert (first.size, second.size, budget.used) == (40, 11, 51)
    second.shrink(10)
    assert first.grow(40)
    waiting = held(budget, 60, lambda: calls.append("next"))
    assert not first.grow(40)
    assert not waiting.grow(60)
    first.release()
    assert calls == ["next"]
    assert (waiting.size, budget.used) == (60, 70)


def test_more_is_taken_only_within_the_share_of_a_group():
    budget = BufferBudget(800)
    one = held(budget, 20, party=of(1))
    assert one.grow(100)
    assert not one.grow(101)
    assert budget.used == 100


class BudgetMachine(RuleBasedStateMachine):
    """Any order of holding more, shrinking and leaving, of listed addresses and strangers in a few groups."""

    WINDOW = 20

    def __init__(self) -> None:
        super().__init__()
        self.budget = BufferBudget(200, strangers=160, window=self.WINDOW)
        self.alive: dict[int, Reservation] = {}
        self.number = 0

    def any_of(self, data: st.DataObject) -> Reservation | None:
        return self.alive[data.draw(st.sampled_from(sorted(self.alive)))] if self.alive else None

    @rule(group=st.sampled_from([None, 1, 2]), listed=st.booleans(), size=st.integers(1, WINDOW))
    def reserve(self, group: int | None, listed: bool, size: int) -> None:
        self.number += 1
        party = Party(None if group is None else (4, group), listed)
        self.alive[self.number] = held(self.budget, size, lambda: None, party)

    @rule(data=st.data(), more=st.integers(0, WINDOW))
    def hold(self, data: st.DataObject, more: int) -> None:
        one = self.any_of(data)
        if one is not None and one.granted:
            size = min(one.size + more, self.WINDOW)
            if one.hold(size):
                assert one.size == size

    @rule(data=st.data(), size=st.integers(0, WINDOW))
    def shrink(self, data: st.DataObject, size: int) -> None:
        one = self.any_of(data)
        if one is not None:
            one.shrink(size)

    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        if self.alive:
            self.alive.pop(data.draw(st.sampled_from(sorted(self.alive)))).release()

    @invariant()
    def what_is_used_is_what_is_held(self) -> None:
        assert self.budget.used == sum(one.size for one in self.alive.values())
        for name, line in self.budget._groups.items():
            assert line.used == sum(one.group_size for one in self.alive.values() if one.party.group == name)

    @invariant()
    def no_bound_is_passed(self) -> None:
        assert self.budget.used <= 200
        assert sum(one.size for one in self.alive.values() if not one.party.listed) <= 160
        for line in self.budget._groups.values():
            assert line.used <= 200 // GROUP_SHARE + 3 * self.WINDOW, "its share, and those whose turn it is"

    @invariant()
    def something_can_go_on(self) -> None:
        """Not all wait: as long as one waits, another may hold more, or is not at its end."""
        waiting = [one for one in self.alive.values() if not one.granted]
        assert len(waiting) == self.budget.waiting
        assert not waiting or any(one.granted and one.size for one in self.alive.values())

    def teardown(self) -> None:
        """Each that is not waiting comes to its end, and in the end none waits."""
        for _ in range(len(self.alive)):
            going = [number for number, one in self.alive.items() if one.granted]
            assert going or not self.alive
            turns = [number for number in going if self.alive[number].hold(self.WINDOW)]
            assert turns or not self.alive
            for number in turns:
                self.alive.pop(number).release()
        assert (self.budget.used, self.budget.waiting, self.budget._groups) == (0, 0, {})


TestBudgetMachine = BudgetMachine.TestCase
TestBudgetMachine.settings = examples(30)
