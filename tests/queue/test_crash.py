"""The short form of ``make crash``, and its judge."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bench.queue import crash
from bench.queue.checker import judge, main


@pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc")
def test_nothing_that_was_told_2xx_is_lost_when_it_is_killed() -> None:
    said: list[str] = []
    options = crash.parser().parse_args(["--kills", "6", "--rate", "100", "--workers", "1", "--seed", "4"])
    assert crash.run(options, said.append) == 0, "\n".join(said)


@pytest.mark.parametrize(
    ("told", "got", "wrong"),
    [
        ("a 202 x /queue", "a 1 x /queue", []),
        ("a 202 x /queue", "", ["missing"]),
        ("a 200 x /fallback", "", ["missing"]),
        ("a 0 x /queue", "", []),
        ("a 503 x /queue", "a 1 x /queue", []),
        ("a 202 x /queue", "a 1 y /queue", ["altered"]),
        ("a 202 x /queue", "a 1 x /queue\nb 1 x /queue", ["never_sent"]),
        ("a 202 x /queue", "a 1 x /queue\na 2 x /queue", []),
        ("a 202 x /queue", "a 1 x /queue\na 1 x /queue", ["again_unexplained"]),
        ("a 202 x /fallback", "a - x /fallback\na 1 x /fallback", ["again_unexplained"]),
        ("a 202 x /ambiguous", "a - x /ambiguous\na 1 x /ambiguous", ["again_unexplained"]),
        ("a 202 x /ambiguous", "a - x /ambiguous\na 2 x /ambiguous", []),
    ],
)
def test_the_judge_compares_what_was_told_with_what_arrived(
    tmp_path: Path, told: str, got: str, wrong: list[str]
) -> None:
    sender, application = tmp_path / "sender", tmp_path / "application"
    sender.write_text(f"{told}\n")
    application.write_text(f"{got}\n" if got else "")
    assert judge(sender, application).wrong == wrong
    assert main([str(sender), str(application)]) == (1 if wrong else 0)


def test_a_line_that_is_on_its_way_is_not_read(tmp_path: Path) -> None:
    sender, application = tmp_path / "sender", tmp_path / "application"
    sender.write_text("a 202 x /queue\nb 20")
    application.write_text("a 1 x /queue\nb 1")
    found = judge(sender, application)
    assert (found.sent, found.arrived, found.wrong) == (1, 1, [])
