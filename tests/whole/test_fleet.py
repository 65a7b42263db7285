"""The short form of ``make fleet``: of three hookwards behind HAProxy one is killed, and only what it held has to come
again; nothing else arrives twice or fails. One that is stopped loses nothing. And the figures tell what they should."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections import Counter
from typing import Any

import pytest

from bench.load import fleet
from bench.load.fleet import ROOT
from bench.load.fleet_report import NAMES, PROMISES, Attempt, Kill, Story, report, verdict, was_killed

needs_programs = pytest.mark.skipif(bool(fleet.missing()), reason=f"not installed: {', '.join(fleet.missing())}")


@needs_programs
@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not have all of 127.0.0.0/8")
@pytest.mark.parametrize("how", [[], ["--gently"]], ids=["killed", "stopped"])
def test_one_of_three_leaves(how: list[str]) -> None:
    said: list[str] = []
    options = fleet.parser().parse_args(["--seconds", "2.5", "--rate", "60", "--kill-every", "1", "--down", "60", *how])
    assert fleet.run(options, said.append) == 0, "\n".join(said)


@needs_programs
def test_haproxy_takes_the_recipe_as_it_is() -> None:
    command = [str(shutil.which("haproxy")), "-c", "-f", str(ROOT / "docs" / "fleet" / "haproxy.cfg")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "warning" not in (done.stdout + done.stderr).lower()


SOURCE = "127.0.7.1:40000"
KILL = Kill("hook1", 10.0, 10.1)


@pytest.mark.parametrize(
    ("opened", "ended", "sessions", "wanted"),
    [
        (9.0, 10.2, [(9.0, "hook1")], True),
        (10.05, 10.3, [(10.06, "hook1")], True),
        (9.0, 10.2, [(9.0, "hook2")], False),
        (9.0, 10.2, [(5.0, "hook1"), (9.0, "hook2")], False),
        (9.0, 9.9, [(9.0, "hook1")], False),
        (10.2, 10.3, [(10.2, "hook1")], False),
        (9.0, 10.2, [], False),
    ],
)
def test_whose_fault_a_failure_is(opened: float, ended: float, sessions: list[tuple[float, str]], wanted: bool) -> None:
    attempt = Attempt(1, SOURCE, opened, ended, error="closed")
    assert was_killed(attempt, {SOURCE: sessions}, [KILL]) is wanted


def figures(
    *attempts: Attempt, again: tuple[Attempt, ...] = (), arrived: dict[str, int], store_failed: bool = False
) -> dict[str, Any]:
    sessions = [(one.source, one.opened, one.source.partition("/")[2]) for one in attempts]
    sessions += [("x", 0.0, name) for name in NAMES]
    return report(Story([*attempts], [*again], [KILL], [1.0]), Counter(arrived), sessions, store_failed=store_failed)


def attempt(number: int, name: str = "hook2", status: int = 200, *, duplicate: bool = False) -> Attempt:
    return Attempt(number, f"{number}/{name}", 9.0, 11.0, status, duplicate, "" if status else "closed")


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        (figures(attempt(1), arrived={"soak-1": 1}), []),
        (figures(attempt(1), attempt(1, duplicate=True), arrived={"soak-1": 1}), []),
        (figures(attempt(1), attempt(1), arrived={"soak-1": 1}), ["copies_that_were_no_duplicate"]),
        (figures(attempt(1), arrived={"soak-1": 2}), ["arrived_twice_unexplained"]),
        (figures(attempt(1), arrived={}), ["told_200_and_not_arrived"]),
        (figures(attempt(1, status=0), again=(attempt(1),), arrived={"soak-1": 1}), ["failed_unexplained"]),
        (figures(attempt(1, "hook1", 0), again=(attempt(1),), arrived={"soak-1": 2}), []),
        (figures(attempt(1, "hook1", 0), again=(attempt(1, status=409),), arrived={"soak-1": 1}), ["lost"]),
        (figures(attempt(1, "hook1", 0), attempt(1, status=409), again=(attempt(1),), arrived={"soak-1": 1}), []),
        (figures(attempt(1, status=503), again=(attempt(1),), arrived={"soak-1": 1}), ["answered_else_unexplained"]),
        (figures(attempt(1, status=503), again=(attempt(1),), arrived={"soak-1": 1}, store_failed=True), []),
        (figures(attempt(1, status=502), again=(attempt(1),), arrived={"soak-1": 1}), ["answered_else_unexplained"]),
    ],
)
def test_the_verdict(found: dict[str, Any], wanted: list[str]) -> None:
    assert verdict(found) == [PROMISES[name] for name in wanted]


def test_a_run_without_a_kill_proves_nothing() -> None:
    found = report(
        Story([attempt(1)], [], [], [1.0]), Counter({"soak-1": 1}), [("x", 0.0, "hook1")], store_failed=False
    )
    assert verdict(found) == ["no hookward was killed or stopped", "not every hookward had work"]
