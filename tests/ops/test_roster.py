"""Who is forked, told to retire, and when: step by step, then in any order of events."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.ops.roster import STEADY_S, ExitKind, Roster, State, pause_after


@dataclass(eq=False)
class Process:
    number: int
    plan: str
    started: float
    state: State = State.STARTING

    def __repr__(self) -> str:
        return f"{self.plan}{self.number}"


class House:
    def __init__(self, plan: str = "a", count: int = 2) -> None:
        self.now = 0.0
        self.forked: list[Process] = []
        self.retired: list[Process] = []
        self.roster: Roster[str, Process] = Roster(self.fork, self.retired.append)
        self.roster.assign(plan, count)

    def fork(self, number: int, plan: str) -> Process:
        self.forked.append(Process(number, plan, self.now))
        return self.forked[-1]

    def step(self) -> list[str]:
        """Advance; who is new."""
        before = len(self.forked)
        self.roster.advance(self.now)
        return [repr(process) for process in self.forked[before:]]

    def settle(self) -> None:
        """Every worker starts, serves and retires as it should."""
        for _ in range(50):
            self.roster.advance(self.now)
            for process in self.roster.starting:
                self.roster.ready(process)
            for process in list(self.roster.leaving):
                self.roster.left(process)
        assert self.roster.complete

    @property
    def serving(self) -> str:
        return " ".join(map(repr, self.roster.serving))


def test_at_first_all_start_at_once():
    house = House(count=3)
    assert house.step() == ["a0", "a1", "a2"]
    assert house.step() == []
    assert not house.roster.complete
    for process in house.forked:
        house.roster.ready(process)
    assert house.roster.complete
    assert house.step() == []


def test_a_new_plan_is_rolled_out_one_by_one_ready_before_retire():
    house = House()
    house.settle()
    first, second = house.roster.serving
    house.roster.assign("b", 2)
    assert house.step() == ["b0"]
    assert (house.retired, house.serving) == ([], "a0 a1")
    house.roster.ready(house.forked[-1])
    assert (house.retired, house.serving) == ([first], "b0 a1")
    assert house.step() == [], "the old one still takes connections"
    house.roster.left(first)
    assert house.step() == ["b1"]
    house.roster.ready(house.forked[-1])
    assert house.retired == [first, second]
    assert not house.roster.complete, "the last old one still takes connections"
    house.roster.left(second)
    assert house.roster.complete
    assert house.roster.exited(first, 5.0) is ExitKind.LEFT
    assert house.roster.leaving == [second]


def test_an_old_one_that_dies_when_told_to_retire_holds_nobody_up():
    house = House()
    house.settle()
    house.roster.assign("b", 2)
    house.step()
    house.roster.ready(house.forked[-1])
    assert house.roster.exited(house.retired[0], 1.0) is ExitKind.LEFT
    assert house.step() == ["b1"]


def test_more_and_fewer():
    house = House()
    house.settle()
    house.roster.assign("b", 4)
    house.settle()
    assert house.serving == "b0 b1 b2 b3"
    house.roster.assign("c", 1)
    house.settle()
    assert house.serving == "c0"
    assert sorted(map(repr, house.retired)) == ["a0", "a1", "b0", "b1", "b2", "b3"]


def test_who_dies_is_replaced_at_once_and_again_and_again_more_slowly():
    house = House(count=1)
    house.settle()
    pauses = []
    for _ in range(4):
        [process] = house.roster.serving
        house.now += 1.0
        assert house.roster.exited(process, house.now) is ExitKind.DIED
        pauses.append(house.roster.due(house.now))
        if pauses[-1]:
            assert house.step() == []
        house.now += pauses[-1] or 0.0
        assert house.step() == ["a0"]
        house.roster.ready(house.forked[-1])
    assert pauses == [0.0, 0.5, 1.0, 2.0]
    assert house.roster.failures == 4
    house.now += STEADY_S
    house.roster.exited(house.roster.serving[0], house.now)
    assert (house.roster.due(house.now), house.roster.failures) == (0.0, 1)


def test_who_dies_during_a_roll_is_replaced_by_the_new_plan():
    house = House()
    house.settle()
    house.roster.assign("b", 2)
    house.step()
    house.roster.exited(house.roster.serving[1], house.now)
    assert house.step() == ["b1"]


def test_who_never_serves_leaves_the_old_one_in_its_place():
    house = House()
    house.settle()
    house.roster.assign("b", 2)
    house.step()
    assert house.roster.exited(house.forked[-1], house.now) is ExitKind.NEVER_SERVED
    assert house.serving == "a0 a1"
    house.roster.assign("a", 2)
    # The plans are told apart by identity: "a" is the same one.
    house.settle()
    assert house.serving == "a0 a1"
    assert house.retired == []


def test_a_worker_that_leaves_unasked_is_replaced_at_once():
    house = House()
    house.settle()
    process = house.roster.serving[0]
    house.roster.left(process)
    assert house.step() == ["a0"]
    assert house.roster.exited(process, 1.0) is ExitKind.LEFT


def test_messages_of_those_who_are_nobody_any_more():
    house = House()
    house.settle()
    stranger = Process(0, "a", 0.0)
    house.roster.ready(stranger)
    house.roster.left(stranger)
    assert house.roster.exited(stranger, 1.0) is ExitKind.LEFT
    assert house.serving == "a0 a1"


@pytest.mark.parametrize(("failures", "pause"), [(0, 0), (1, 0), (2, 0.5), (3, 1), (8, 30), (10_000, 30)])
def test_pauses(failures: int, pause: float):
    assert pause_after(failures) == pause


EVENT = st.tuples(st.sampled_from(["ready", "left", "dies", "plan", "count", "time"]), st.integers(0, 5))


@given(st.lists(EVENT, max_size=60))
def test_whatever_happens_nobody_retires_before_another_serves(events: list[tuple[str, int]]):
    house = House(count=2)
    roster, count, plans = house.roster, 2, ["a"]
    house.settle()
    surplus: set[Process] = set()  # they may all retire at once
    for what, which in events:
        before = {process for slot in roster.slots[count:] for process in (slot.serving, slot.starting)}
        roster.advance(house.now)
        surplus |= before & set(roster.leaving)
        alive = [*roster.serving, *roster.starting, *roster.leaving]
        if what == "plan":
            plans.append(f"p{len(plans)}")
            roster.assign(plans[-1], count)
        elif what == "count":
            count = which + 1
            roster.assign(plans[-1], count)
        elif what == "time":
            house.now += which * 10.0
        elif alive:
            process = alive[which % len(alive)]
            served = len(roster.serving)
            if what == "ready":
                roster.ready(process)
                assert len(roster.serving) >= served
            elif what == "left" and process.state is not State.STARTING:
                roster.left(process)
            elif what == "dies":
                roster.exited(process, house.now)
        assert sum(process.state is State.RETIRING for process in set(roster.leaving) - surplus) <= 1
        assert not set(roster.serving) & set(roster.leaving)
    house.now += 100.0
    house.settle()
    assert house.serving == " ".join(f"{plans[-1]}{number}" for number in range(count))
