"""The measurement of a backlog still runs. Its figures mean nothing here."""

from __future__ import annotations

import json

from bench.queue import backlog


def test_a_backlog_is_delivered() -> None:
    said: list[str] = []
    assert backlog.run(backlog.parser().parse_args(["--records", "3000", "--seconds", "1"]), said.append) == 0
    found = json.loads(said[0])
    assert found["drained_per_s"] > 0
    assert found["start_to_first_s"] < backlog.START_S
