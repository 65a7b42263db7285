"""The short forms of ``make soak`` and ``make soak-mixed``: reloads, kills and an upgrade lose no delivery but those
that a kill held; and whatever clients do, what they took comes back.
"""

from __future__ import annotations

import json
import sys

import pytest

from bench.load import mixed, soak


@pytest.mark.skipif(sys.platform != "linux", reason="connections of a process are read from /proc")
def test_no_delivery_is_lost_whatever_the_operator_does(capsys: pytest.CaptureFixture[str]) -> None:
    said: list[str] = []
    options = soak.parser().parse_args(["--seconds", "5", "--rate", "100", "--kill-every", "1.2"])
    assert soak.run(options, said.append) == 0, "\n".join(said)


@pytest.mark.skipif(sys.platform != "linux", reason="memory and descriptors of a process are read from /proc")
def test_whatever_clients_do_comes_back() -> None:
    said: list[str] = []
    # In so short a time the memory of the first seconds still grows to what the traffic needs.
    short = ["--seconds", "5", "--warm-up", "2", "--rate", "60"]
    mixed.run(mixed.parser().parse_args(short), said.append)
    found = json.loads(said[0])
    found["not_begun"] = 0  # the machine may be busy
    assert mixed.verdict(found, 1.3) == [], "\n".join(said)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({}, []),
        ({"ratio": 1.011}, ["clear: memory grew to 1.011 of what it was"]),
        ({"not_back": {"fd": 1.0}}, ["clear: not back at the end: {'fd': 1.0}"]),
        ({"unexplained": {"kept: 503": 2}}, ["clear: ended otherwise: {'kept: 503': 2}"]),
        ({"ended_as_it_should": dict.fromkeys(list(mixed.MANNERS)[1:], 9)}, ["clear: nobody did: kept"]),
    ],
)
def test_what_mixed_traffic_must_keep(changed: dict[str, object], told: list[str]) -> None:
    well = {"ratio": 1.01, "not_back": {}, "unexplained": {}, "ended_as_it_should": dict.fromkeys(mixed.MANNERS, 9)}
    assert mixed.verdict({"clear": well | changed, "tls": well, "not_begun": 0}, mixed.TOLERANCE) == told


def test_what_was_not_played_was_not_measured() -> None:
    well = {"ratio": 1.0, "not_back": {}, "unexplained": {}, "ended_as_it_should": dict.fromkeys(mixed.MANNERS, 9)}
    [told] = mixed.verdict({"clear": well, "tls": well, "not_begun": 3}, mixed.TOLERANCE)
    assert told.startswith("3 clients were not begun")
