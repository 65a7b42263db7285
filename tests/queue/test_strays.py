"""What is kept for routes that keep no more: where it goes, and what is said of it."""

from __future__ import annotations

import logging
import shlex

import pytest

from proxy.core.delivery import Deliver, DeliveryRule
from proxy.queue.courier import StrayWatch, destinations
from proxy.queue.records import LaneCount, stray_notes
from tests import policies

POLICY = policies.policy(
    policies.route(name="kept", delivery=DeliveryRule(Deliver.QUEUE)), policies.route(name="direct", path=b"/direct")
)


def test_what_waits_for_a_route_that_delivers_directly_goes_there() -> None:
    found = destinations(POLICY)
    assert found["kept"].delivery == DeliveryRule(Deliver.QUEUE)
    assert found["direct"].delivery == DeliveryRule()
    assert "gone" not in found


def test_what_is_said_has_the_command() -> None:
    counts = [LaneCount("kept", 5, 5), LaneCount("direct", 2, 0), LaneCount("it's gone", 1, 3), LaneCount("empty")]
    one, other = stray_notes(counts, POLICY, "/etc/my hookward.toml")
    assert (one.rule, other.rule) == ("H602", "H601")
    assert "2 waiting and 0 dead: those that wait are delivered" in one
    assert "1 waiting and 3 dead" in other
    command = shlex.split(other.split("`")[1])
    assert command == [
        *("hookward", "queue", "-c", "/etc/my hookward.toml", "drop", "--search"),
        *('route:"it\'s gone"', "--yes"),
    ]


def test_it_is_said_once_with_each_load(caplog: pytest.LogCaptureFixture) -> None:
    watch, counts = StrayWatch(), [LaneCount("gone", 1)]
    with caplog.at_level(logging.WARNING):
        watch.look(POLICY, counts)
        watch.look(POLICY, counts)
        assert len(caplog.records) == 1
        watch.look(policies.policy(policies.route(name="gone")), counts)
    assert len(caplog.records) == 2
    assert "keeps no more" in caplog.text
