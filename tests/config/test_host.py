"""What the host gives: variables that are no settings, words, and processors."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from proxy.config import host
from proxy.config.host import LOOP_VARIABLE, RELOAD_VARIABLE, command_line, environment, worker_count


@pytest.mark.parametrize("variable", [LOOP_VARIABLE, RELOAD_VARIABLE])
def test_what_configures_nothing_is_left_out(monkeypatch: pytest.MonkeyPatch, variable: str):
    monkeypatch.setenv(variable, "asyncio")
    monkeypatch.setenv("HOOKWARD_LISTEN", ":1")
    found = environment()
    assert variable not in found
    assert found["HOOKWARD_LISTEN"] == ":1"


@pytest.mark.parametrize(
    ("allowed", "paid", "count"),
    [
        (8, "max 100000\n", 8),
        (8, "200000 100000\n", 2),
        (8, "250000 100000\n", 3),
        (2, "800000 100000\n", 2),
        (4, "50000 100000\n", 1),
        (4, "nonsense", 4),
        (4, "1 0", 4),
        (4, None, 4),
    ],
)
def test_auto(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, allowed: int, paid: str | None, count: int):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(allowed)), raising=False)
    monkeypatch.setattr(host, "CPU_MAX", tmp_path / "cpu.max")
    if paid is not None:
        (tmp_path / "cpu.max").write_text(paid)
    assert worker_count("auto") == count


def test_where_nothing_says_who_may_run_where(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    monkeypatch.setattr(host, "CPU_MAX", tmp_path / "missing")
    assert worker_count("auto") == 1


def test_a_number_is_that_number():
    assert worker_count(7) == 7


def test_the_command_line_is_that_of_this_process(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "proxy", "--listen", ":1"])
    assert command_line() == [sys.executable, "-m", "proxy", "--listen", ":1"]
