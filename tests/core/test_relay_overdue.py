"""Whose time is over, and whose fault it is."""

from __future__ import annotations

import pytest

from proxy.core.relay import (
    ADMITTED,
    AWAITING,
    DIALING,
    KEPT,
    NONE,
    RATE_GRACE_S,
    RECEIVING,
    RELAYING,
    SENDING,
    overdue,
)
from proxy.reasons import Reason
from tests.core.test_relay import NOW, begun

TIMES = {"request_timeout_s": 90.0, "body_timeout_s": 60.0, "upstream_timeout_s": 40.0, "body_min_rate": 512}
REQUEST = "request_timeout"


@pytest.mark.parametrize(
    ("request_state", "answer", "elapsed", "more", "expected"),
    [
        (RECEIVING, NONE, 60.0, {}, None),
        (RECEIVING, NONE, 60.1, {}, (Reason.BODY_TIMEOUT, "")),
        (RECEIVING, NONE, 70.0, {"paused_s": 10.0}, None),
        (RECEIVING, RELAYING, 60.1, {}, (Reason.UPSTREAM_TIMEOUT, "")),
        (RECEIVING, NONE, 90.1, {"paused_s": 90.0}, (Reason.BODY_TIMEOUT, REQUEST)),
        (RECEIVING, DIALING, 90.1, {"paused_s": 90.0}, (Reason.UPSTREAM_TIMEOUT, REQUEST)),
        (RECEIVING, SENDING, 90.1, {"paused_s": 90.0, "taken": False}, (Reason.UPSTREAM_TIMEOUT, REQUEST)),
        (RECEIVING, SENDING, 90.1, {"paused_s": 90.0}, (Reason.BODY_TIMEOUT, REQUEST)),
        (ADMITTED, DIALING, 90.0, {}, None),
        (ADMITTED, DIALING, 90.1, {}, (Reason.UPSTREAM_TIMEOUT, REQUEST)),
        (ADMITTED, RELAYING, 90.1, {"read": False}, (Reason.WRITE_TIMEOUT, REQUEST)),
        (ADMITTED, RELAYING, 90.1, {}, (Reason.UPSTREAM_TIMEOUT, REQUEST)),
        (ADMITTED, AWAITING, 40.0, {}, None),
        (ADMITTED, AWAITING, 40.1, {}, (Reason.UPSTREAM_TIMEOUT, "")),
        (ADMITTED, SENDING, 40.1, {}, (Reason.UPSTREAM_TIMEOUT, "")),
        (ADMITTED, KEPT, 40.1, {}, (Reason.UPSTREAM_TIMEOUT, "")),
        (ADMITTED, RELAYING, 40.1, {}, (Reason.UPSTREAM_TIMEOUT, "")),
        (ADMITTED, RELAYING, 40.1, {"read": False}, None),
        (RECEIVING, KEPT, 40.1, {}, None),
        (RECEIVING, SENDING, 40.1, {}, None),
    ],
)
def test_what_is_over(request_state, answer, elapsed, more, expected) -> None:
    relay = begun(**TIMES)
    relay.request, relay.answer = request_state, answer
    relay.gate.received = 1 << 20
    relay.touched = NOW
    how = {"paused_s": 0.0, "read": True, "taken": True} | more
    assert overdue(relay, NOW + elapsed, **how) == expected


def test_the_minimum_rate_counts_after_a_grace() -> None:
    relay = begun(**TIMES)
    relay.gate.received = 512
    how = {"read": True, "taken": True}
    assert overdue(relay, NOW + RATE_GRACE_S + 1.0, paused_s=0.0, **how) is None
    assert overdue(relay, NOW + RATE_GRACE_S + 1.1, paused_s=0.0, **how) == (Reason.BODY_TIMEOUT, "")
    assert overdue(relay, NOW + RATE_GRACE_S + 1.1, paused_s=0.2, **how) is None
