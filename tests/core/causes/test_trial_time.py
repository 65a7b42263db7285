"""Times: read from head, list, body or token; what cannot be read is not named."""

from __future__ import annotations

from dataclasses import replace

import pytest

from proxy.core.causes.trial import Case, Trial, said_at
from proxy.reasons import Reason
from tests.deliveries import NOW
from tests.faults import CAUSES, KEY, TIMES, Fault, github, refused, route, signed

SUPPOSITIONS = {word: CAUSES[word] for word in ("timestamp_old", "timestamp_ahead", "timestamp_unit")}


@pytest.mark.parametrize("fault", TIMES, ids=lambda fault: fault.what)
def test_the_supposition_of_the_fault_fits(fault: Fault):
    assert SUPPOSITIONS[fault.word](Trial(fault.case)) is not None


def said(case: Case) -> float | None:
    return said_at(case.head, case.body, Trial(case))


def test_both_clocks_are_said():
    case = refused(route("slack"), signed("slack", KEY, now=NOW - 412))
    assert said(case) == NOW - 412
    facts = CAUSES["timestamp_old"](Trial(case))
    assert facts == {
        "seconds": "412",
        "theirs": "2025-11-24T15:53:08Z",
        "ours": "2025-11-24T16:00:00Z",
        "window": "300 s",
    }


def test_the_route_s_own_window_is_said():
    guard = route("slack")
    assert guard.signature is not None
    narrow = replace(guard, signature=replace(guard.signature, tolerance_s=10.0))
    facts = CAUSES["timestamp_old"](Trial(refused(narrow, signed("slack", KEY, now=NOW - 20))))
    assert facts is not None
    assert facts["window"] == "10 s"


@pytest.mark.parametrize("provider", ["github", "mailgun", "vonage"])
def test_what_has_no_time_says_none(provider: str):
    fields = {} if provider == "mailgun" else github(b"wrong")
    case = replace(refused(route(), github(b"wrong")), reason=Reason.TIMESTAMP_TOO_OLD)
    if provider in ("mailgun", "vonage"):
        case = replace(refused(route(provider), fields, b"{}"), reason=Reason.TIMESTAMP_TOO_OLD)
    assert said(case) is None
    assert CAUSES["timestamp_old"](Trial(case)) is None
