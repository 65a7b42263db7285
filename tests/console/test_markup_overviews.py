"""The last hour as bars and lines."""

from __future__ import annotations

from typing import Any

from proxy.console.history import POINTS, STEP_S
from proxy.console.markup import durations, requests
from tests.console.reading import Reader

NOW = 1_795_957_990.0
MINUTE = NOW // STEP_S * STEP_S


def point(
    ago: int, count: int = 4, refused: int = 1, p50: float | None = 0.001, p99: float | None = 0.01
) -> dict[str, Any]:
    return {"time": MINUTE - ago * STEP_S, "requests": count, "refused": refused, "p50_s": p50, "p99_s": p99}


def test_bars_stand_at_their_minute_and_as_high_as_their_share() -> None:
    read = Reader(requests([point(POINTS - 1, 2, 0), point(0)], NOW))
    bars = [attributes for name, attributes in read.elements if name == "rect"]
    assert [(bar["class"], bar["x"], bar["height"]) for bar in bars] == [
        *(("all", "0", "22.0"), ("all", "295", "44.0"), ("refused", "295", "11.0"))
    ]
    assert read.elements[0][1]["aria-label"] == "requests a minute, at most 4"


def test_what_is_older_than_an_hour_or_of_the_future_is_left_out() -> None:
    assert Reader(requests([point(POINTS), point(-1)], NOW)).names == ["svg"]


def test_lines_leave_out_what_has_no_duration() -> None:
    read = Reader(durations([point(1), point(0, p50=None, p99=None)], NOW))
    assert [attributes["points"] for name, attributes in read.elements if name == "polyline"] == ["292,4.0", "292,43.6"]
    assert Reader(durations([], NOW)).names == ["svg"]
