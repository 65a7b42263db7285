"""How the agents of a relay are asked for, put together and shown."""

from __future__ import annotations

from typing import Any

from proxy.tools.running import is_alive, merged, table


def process(**changed: Any) -> dict[str, Any]:
    row = {"name": "ci", "process": "host-1", "from": "192.0.2.1", "since": 1000.0, "alive": True, "guards": False}
    return row | {"probe_age_s": 1.0, "probe": "ok", "connections": 4, "in_use": 1} | changed


def agent(*processes: dict[str, Any], **changed: Any) -> dict[str, Any]:
    return {"name": "ci", "routes": ["github"], "joined": True, "processes": list(processes)} | changed


def test_workers_are_put_together() -> None:
    first = agent(process(), process(process="host-2"))
    second = agent(process(since=900.0, probe_age_s=3.0, connections=5))
    [found] = merged([[first], [second]])
    one, other = found["processes"]
    assert (one["since"], one["probe_age_s"], one["connections"], one["workers"]) == (900.0, 3.0, 9, 2)
    assert other["workers"] == 1
    sick = merged([[first], [agent(process(alive=False, probe_age_s=None, probe="unreachable"))]])[0]["processes"][0]
    assert (sick["alive"], sick["probe_age_s"], sick["probe"]) == (False, None, "ok, unreachable")


def test_what_is_shown() -> None:
    lines = table([agent(process(guards=True)), agent(name="away"), agent(name="new", joined=False)], 1000.0 + 7300)
    assert lines == [
        "ci: alive; routes github",
        "    host-1 from 192.0.2.1, for 2h, last probe 1s ago, 4 connections (1 in use), guards again",
        "away: away; routes github",
        "new: has not joined yet; routes github",
    ]
    sick = agent(process(alive=False, probe_age_s=None, probe="status_503"), routes=[])
    assert not is_alive(sick)
    assert table([sick], 1005.0)[0].startswith("ci: NOT ALIVE")
    assert "for 5s, no probe yet (status_503)" in table([sick], 1005.0)[1]
    assert table([], 0.0) == ["no agent is configured"]
