"""The table of one process against a plain model, and the keys that deliveries are told by."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from proxy.core.delivery import KEY_BYTES, NEW, Claim, DuplicateRule, DuplicateTable, Found, Keys, keys_of, recorded

RULE = DuplicateRule(remembers=True, window_s=100.0, patience_s=9.0, hold_s=92.0)
ID, MARK, OTHER_ID, OTHER_MARK = (bytes([n]) * KEY_BYTES for n in range(4))
BOTH = Keys((MARK,), (MARK, ID))


def table(max_entries: int = 100) -> DuplicateTable:
    return DuplicateTable(max_entries)


def claim(table: DuplicateTable, owner: str, now: float = 0.0, keys: Keys = BOTH, *, past: bool = True) -> Claim:
    return table.claim(keys, owner, now, hold_s=RULE.hold_s, past=past)


class TestKeys:
    def test_of_an_id_and_the_marks(self) -> None:
        keys = keys_of(RULE, "github", b"/", "72d3162e", [b"mac", b"mac", b"other"])
        assert len(keys.proven) == 2
        assert keys.every[:2] == keys.proven
        assert len(keys.every) == 3
        assert {len(key) for key in keys.every} == {KEY_BYTES}

    def test_they_outlive_a_version(self) -> None:
        """They lie in files and in Redis: derived in another way, what was delivered before an upgrade is forgotten."""
        scope = hashlib.sha256(hashlib.sha256(b"/hooks/x").digest() + b"github").digest()
        mark, delivery_id = (hashlib.sha256(scope + text).digest()[:KEY_BYTES] for text in (b"mark:mac", b"id:72d"))
        assert keys_of(RULE, "github", b"/Hooks/x/", "72d", [b"mac"]) == Keys((mark,), (mark, delivery_id))

    @pytest.mark.parametrize(
        ("changed", "proven", "every"),
        [
            ({}, 1, 2),
            ({"by_id": False}, 1, 1),
            ({"by_signature": False}, 0, 1),
            ({"by_id": False, "by_signature": False}, 0, 0),
        ],
    )
    def test_by_what_the_route_says(self, changed: dict[str, bool], proven: int, every: int) -> None:
        keys = keys_of(replace(RULE, **changed), "github", b"/", "id", [b"mac"])
        assert (len(keys.proven), len(keys.every)) == (proven, every)
        assert bool(keys) == bool(every)

    def test_nothing_to_tell_it_by(self) -> None:
        assert not keys_of(RULE, "github", b"/", "", [])

    def test_routes_and_kinds_do_not_meet(self) -> None:
        every = [
            *keys_of(RULE, "a", b"/", "x", [b"x"]).every,
            *keys_of(RULE, "b", b"/", "x", [b"x"]).every,
            *keys_of(RULE, "ax", b"/", "", [b""]).every,
            *keys_of(RULE, "a", b"/b", "x", [b"x"]).every,
        ]
        assert len(set(every)) == 7

    def test_any_id_can_be_hashed(self) -> None:
        assert len(keys_of(RULE, "r", b"/", "\x00ÿ" * 9000, []).every[0]) == KEY_BYTES


@pytest.mark.parametrize(("status", "told"), [(200, 200), (202, 202), (204, 204), (205, 200), (206, 200), (299, 299)])
def test_the_status_of_duplicates(status: int, told: int) -> None:
    assert recorded(status) == told


def test_how_long_an_answer_is_kept() -> None:
    assert RULE.keep_s == 100.0
    assert replace(RULE, remembers=False).keep_s == 10.0


class TestClaims:
    def test_the_first_is_new_and_the_second_waits_for_it(self) -> None:
        one = table()
        assert claim(one, "a") is NEW
        assert claim(one, "b") == Claim(Found.IN_FLIGHT, owner="a")
        assert claim(one, "a") is NEW

    def test_what_failed_may_come_again(self) -> None:
        one = table()
        claim(one, "a")
        one.released(BOTH, "a")
        assert len(one) == 0
        assert claim(one, "b") is NEW

    def test_nobody_releases_the_claim_of_another(self) -> None:
        one = table()
        claim(one, "a")
        one.released(BOTH, "b")
        assert claim(one, "c").owner == "a"

    def test_what_was_delivered_is_remembered_for_its_time(self) -> None:
        one = table()
        claim(one, "a")
        one.delivered(BOTH, "a", 202, 10.0, RULE.keep_s)
        assert claim(one, "b", 109.9) == Claim(Found.DELIVERED, 202)
        assert claim(one, "c", 110.0) is NEW

    def test_what_was_delivered_does_not_count_where_only_flight_does(self) -> None:
        one = table()
        claim(one, "a")
        one.delivered(BOTH, "a", 202, 0.0, 100.0)
        assert claim(one, "b", past=False) is NEW
        assert claim(one, "c", past=False).found is Found.IN_FLIGHT
        assert claim(one, "c").found is Found.DELIVERED

    def test_a_claim_without_its_process_ends_by_itself(self) -> None:
        one = table()
        claim(one, "a")
        assert claim(one, "b", 91.9).found is Found.IN_FLIGHT
        assert claim(one, "b", 92.0) is NEW
        one.released(BOTH, "a")
        assert claim(one, "c", 92.0).owner == "b"

    def test_delivered_counts_though_the_claim_was_lost(self) -> None:
        one = table()
        claim(one, "a")
        claim(one, "b", 92.0)
        one.delivered(BOTH, "a", 200, 93.0, 100.0)
        assert claim(one, "c", 94.0).found is Found.DELIVERED

    @pytest.mark.parametrize(
        ("keys", "found"),
        [
            (Keys((MARK,), (MARK, OTHER_ID)), Found.DELIVERED),  # a replay under another id
            (Keys((OTHER_MARK,), (OTHER_MARK, ID)), Found.DELIVERED),  # sent again, signed again
            (Keys((OTHER_MARK,), (OTHER_MARK, OTHER_ID)), Found.NEW),
        ],
    )
    def test_one_key_is_enough(self, keys: Keys, found: Found) -> None:
        one = table()
        claim(one, "a")
        assert claim(one, "b", keys=keys).found in {found, Found.IN_FLIGHT}
        one.released(keys, "b")
        one.delivered(BOTH, "a", 200, 0.0, 100.0)
        assert claim(one, "b", keys=keys).found is found

    def test_all_keys_or_none(self) -> None:
        one = table()
        claim(one, "a", keys=Keys((MARK,), (MARK,)))
        assert claim(one, "b").found is Found.IN_FLIGHT
        assert claim(one, "c", keys=Keys((), (ID,))) is NEW


class TestLearning:
    """A delivery that is sent again is signed again: captured, that signature must not pass under another id."""

    def test_a_new_signature_of_a_known_id_is_known_from_then_on(self) -> None:
        one = table()
        claim(one, "a")
        one.delivered(BOTH, "a", 201, 0.0, 100.0)
        again = Keys((OTHER_MARK,), (OTHER_MARK, ID))
        assert claim(one, "b", 1.0, again) == Claim(Found.DELIVERED, 201, learned=True)
        assert claim(one, "c", 1.0, again) == Claim(Found.DELIVERED, 201, learned=False)
        replayed = Keys((OTHER_MARK,), (OTHER_MARK, OTHER_ID))
        assert claim(one, "d", 1.0, replayed).status == 201
        assert claim(one, "e", 100.0, replayed) is NEW, "no longer than the delivery itself"

    def test_who_replays_can_not_burn_the_id_of_another_delivery(self) -> None:
        one = table()
        claim(one, "a")
        one.delivered(BOTH, "a", 200, 0.0, 100.0)
        claim(one, "b", 1.0, Keys((MARK,), (MARK, OTHER_ID)))
        assert claim(one, "c", 1.0, Keys((OTHER_MARK,), (OTHER_MARK, OTHER_ID))) is NEW


class TestBounds:
    def deliver(self, one: DuplicateTable, number: int, now: float = 0.0, keep_s: float = 100.0) -> None:
        keys = Keys((), (number.to_bytes(KEY_BYTES),))
        assert claim(one, str(number), now, keys) is NEW
        one.delivered(keys, str(number), 200, now, keep_s)

    def found(self, one: DuplicateTable, number: int, now: float = 0.0) -> Found:
        keys = Keys((), (number.to_bytes(KEY_BYTES),))
        found = claim(one, "?", now, keys).found
        one.released(keys, "?")
        return found

    def test_the_longest_unasked_goes_first(self) -> None:
        one = table(3)
        for number in range(3):
            self.deliver(one, number)
        assert self.found(one, 0) is Found.DELIVERED
        self.deliver(one, 3)
        assert [self.found(one, number) for number in range(4)] == [Found.DELIVERED, Found.NEW, *[Found.DELIVERED] * 2]

    def test_what_is_over_goes_without_being_asked(self) -> None:
        one = table()
        for number in range(50):
            self.deliver(one, number, keep_s=10.0)
        self.deliver(one, 50, now=10.0)
        assert len(one) == 1

    def test_claims_do_not_count_and_are_never_pushed_out(self) -> None:
        one = table(1)
        claim(one, "a")
        for number in range(100, 110):
            self.deliver(one, number)
        assert claim(one, "b").owner == "a"
        assert len(one) == 3


class AgainstModel(RuleBasedStateMachine):
    """Deliveries come, fail, succeed, are sent again and replayed, in any order, while time passes."""

    exchanges: Bundle[tuple[str, Keys, bool]] = Bundle("exchanges")

    def __init__(self) -> None:
        super().__init__()
        self.table = DuplicateTable(1000)
        self.now = 0.0
        self.count = 0
        self.held: dict[bytes, tuple[str, float]] = {}
        self.done: dict[bytes, float] = {}

    @rule(target=exchanges, number=st.integers(0, 3), signed=st.integers(0, 3), past=st.booleans())
    def come(self, number: int, signed: int, past: bool) -> tuple[str, Keys, bool]:
        keys = keys_of(RULE, "r", b"/", str(number), [bytes([signed])])
        self.count += 1
        owner = str(self.count)
        found = self.table.claim(keys, owner, self.now, hold_s=RULE.hold_s, past=past).found
        if past and any(self.done.get(key, 0.0) > self.now for key in keys.every):
            assert found is Found.DELIVERED
            end = max(self.done.get(key, 0.0) for key in keys.every)
            for key in keys.proven:
                if self.done.get(key, 0.0) <= self.now:
                    self.done[key] = end
        elif any(self.held.get(key, ("", 0.0))[1] > self.now for key in keys.every):
            assert found is Found.IN_FLIGHT
        else:
            assert found is Found.NEW
            for key in keys.every:
                self.held[key] = (owner, self.now + RULE.hold_s)
        return owner, keys, found is Found.NEW

    @rule(exchange=consumes(exchanges))
    def succeed(self, exchange: tuple[str, Keys, bool]) -> None:
        owner, keys, ours = exchange
        if ours:
            self.table.delivered(keys, owner, 200, self.now, RULE.window_s)
            self._free(owner)
            self.done |= dict.fromkeys(keys.every, self.now + RULE.window_s)

    @rule(exchange=consumes(exchanges))
    def fail(self, exchange: tuple[str, Keys, bool]) -> None:
        self.table.released(exchange[1], exchange[0])
        self._free(exchange[0])

    @rule(seconds=st.sampled_from([0.5, 30.0, 92.0, 100.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def small(self) -> None:
        assert len(self.table) <= 16

    def _free(self, owner: str) -> None:
        self.held = {key: held for key, held in self.held.items() if held[0] != owner}


TestAgainstModel = AgainstModel.TestCase
TestAgainstModel.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
