"""Faults of the network between a relay and its agent, one round of each: what `make reach` does a thousand times.

A connection that stands at both ends and carries nothing in one direction is what a status page calls green.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.load.reach_faults import FAULTS, RED_S, is_good, number, one_round
from bench.load.reach_stage import Stage
from tests.whole.impaired import lacking

pytestmark = pytest.mark.skipif(bool(lacking()), reason=f"no impaired link here: {lacking()}")


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with Stage(tmp_path, "-f") as one:
        yield one


@pytest.mark.timeout(240)
@pytest.mark.parametrize("fault", ["to-the-agent", "to-the-relay"])
def test_readiness_is_red_where_one_direction_is_dead(stage: Stage, fault: str) -> None:
    found = one_round(stage, fault, FAULTS)
    assert 0 < number(found, "red_s") <= RED_S, found
    findings = stage.finish()
    assert (findings.wrong, findings.told_2xx > 0) == ([], True)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("fault", ["reset", "nat-rebinding"])
def test_what_is_dead_for_old_connections_alone_is_left_for_new_ones(stage: Stage, fault: str) -> None:
    found = one_round(stage, fault, FAULTS)
    assert found["works_again_s"] is not None
    assert all(number(found, f"{end}_noticed_s") < 60 for end in FAULTS[fault].noticed), found
    assert stage.finish().wrong == []


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
