"""Faults of the network between a relay and its agent, one round of each: what `make reach` does a thousand times.

A connection that stands at both ends and carries nothing in one direction is what a status page calls green.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from bench.load.reach_faults import FAULTS, RED_S, is_good
from bench.load.reach_stage import PATIENCE_S, ROOT
from tests.whole.impaired import lacking

pytestmark = pytest.mark.skipif(bool(lacking()), reason=f"no impaired link here: {lacking()}")


def rounds(fault: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """One round by the command itself: what came of it, and of all deliveries."""
    command = [sys.executable, "-m", "bench.load.reach", "--faults", fault, "--sides", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=220)
    found, total = map(json.loads, done.stdout.splitlines())
    assert total["failures"] == [], done.stderr
    return found, total


@pytest.mark.timeout(240)
@pytest.mark.parametrize("fault", ["to-the-agent", "to-the-relay"])
def test_readiness_is_red_where_one_direction_is_dead(fault: str) -> None:
    found, total = rounds(fault)
    assert 0 < found["red_s"] <= RED_S, found
    assert (total["missing"], total["told_2xx"] > 0) == (0, True)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("fault", ["reset", "nat-rebinding"])
def test_what_is_dead_for_old_connections_alone_is_left_for_new_ones(fault: str) -> None:
    found, total = rounds(fault)
    assert all(found[f"{end}_noticed_s"] < PATIENCE_S for end in FAULTS[fault].noticed), found
    assert (total["missing"], total["told_2xx"] > 0) == (0, True)


@pytest.mark.parametrize(
    ("found", "good"),
    [
        ({"relay_noticed_s": 9.0, "agent_noticed_s": 9.9, "red_s": 9.1, "works_again_s": 4.9}, True),
        ({"relay_noticed_s": 10.1, "agent_noticed_s": 9.9, "red_s": 9.1, "works_again_s": 4.9}, False),
        ({"relay_noticed_s": 9.0, "agent_noticed_s": 60.0, "red_s": 9.1, "works_again_s": 4.9}, False),
        ({"relay_noticed_s": 9.0, "agent_noticed_s": 9.9, "red_s": 15.1, "works_again_s": 4.9}, False),
        ({"relay_noticed_s": 9.0, "agent_noticed_s": 9.9, "red_s": 9.1, "works_again_s": 5.1}, False),
        ({"relay_noticed_s": 9.0, "agent_noticed_s": 9.9, "red_s": 9.1, "works_again_s": 1.0, "failed": [503]}, False),
        ({"relay_noticed_s": 9.0, "agent_noticed_s": 9.9, "red_s": 9.1, "works_again_s": 1.0, "ended": 1}, False),
    ],
)
def test_how_a_round_is_judged(found: dict[str, object], good: bool) -> None:
    assert is_good(found | {"fault": "black-hole"}) == good
