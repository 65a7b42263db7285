"""When a kept delivery is tried again: tables, and what holds whatever is drawn."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.delivery import AttemptOutcome, RetryRule, failures_of

RULE = RetryRule(first_s=5.0, most_s=600.0, for_s=86400.0)


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (0, AttemptOutcome.AGAIN),
        (200, AttemptOutcome.DELIVERED),
        (204, AttemptOutcome.DELIVERED),
        (299, AttemptOutcome.DELIVERED),
        (301, AttemptOutcome.DEAD),
        (400, AttemptOutcome.DEAD),
        (401, AttemptOutcome.DEAD),
        (408, AttemptOutcome.AGAIN),
        (409, AttemptOutcome.DEAD),
        (410, AttemptOutcome.DEAD),
        (425, AttemptOutcome.AGAIN),
        (429, AttemptOutcome.AGAIN),
        (500, AttemptOutcome.AGAIN),
        (503, AttemptOutcome.AGAIN),
        (599, AttemptOutcome.AGAIN),
    ],
)
def test_what_a_status_means(status: int, outcome: AttemptOutcome) -> None:
    assert RULE.judge(status) is outcome


def test_what_a_status_means_can_be_chosen() -> None:
    rule = RetryRule(statuses=frozenset({404}), classes=frozenset())
    assert (rule.judge(404), rule.judge(500), rule.judge(0)) == (
        AttemptOutcome.AGAIN,
        AttemptOutcome.DEAD,
        AttemptOutcome.AGAIN,
    )


@pytest.mark.parametrize(
    ("attempts", "most"), [(1, 5.0), (2, 10.0), (3, 20.0), (7, 320.0), (8, 600.0), (50, 600.0), (5000, 600.0)]
)
def test_pauses_double_up_to_the_longest(attempts: int, most: float) -> None:
    assert RULE.wait_s(attempts, 1.0) == most
    assert RULE.wait_s(attempts, 0.5) == most / 2
    assert RULE.wait_s(attempts, 0.0) == 0.5, "never at once"


def test_the_application_may_ask_for_more() -> None:
    assert RULE.wait_s(1, 0.5, 120.0) == 120.0
    assert RULE.wait_s(8, 1.0, 120.0) == 600.0, "and never for less"
    assert RULE.wait_s(1, 0.5, 1e12) == RULE.for_s


def test_what_would_be_too_late_is_not_tried_again() -> None:
    assert RULE.due(0.0, 86000.0, 8, 0.5) == 86300.0
    assert RULE.due(0.0, 86000.0, 8, 1.0) is None
    assert RULE.due(0.0, 90000.0, 1, 0.0) is None


@given(
    attempts=st.integers(1, 10_000),
    chance=st.floats(0, 1),
    first=st.floats(0.01, 1000),
    most=st.floats(0.01, 100_000),
    asked=st.floats(0, 1e9),
)
def test_pauses_are_within_bounds(attempts: int, chance: float, first: float, most: float, asked: float) -> None:
    rule = RetryRule(first, max(first, most), 86400.0)
    pause = rule.wait_s(attempts, chance, asked)
    assert first / 10 <= pause <= max(rule.most_s, first / 10, min(asked, rule.for_s))


@pytest.mark.parametrize("word", ["2xx", "1xx", "600", "99", "xx", "", "5xxx", "200", "-5"])
def test_what_is_no_failure(word: str) -> None:
    with pytest.raises(ValueError, match="no status of a failure"):
        failures_of([word])


def test_statuses_are_read() -> None:
    assert failures_of(["5xx", 429, "408"]) == (frozenset({429, 408}), frozenset({5}))
