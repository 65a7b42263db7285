"""The variables of the process are no settings."""

from __future__ import annotations

import os

import pytest

from proxy.ops.environment import LOOP_VARIABLE, RELOAD_VARIABLE, environment, hold_standard_descriptors


@pytest.mark.parametrize("variable", [LOOP_VARIABLE, RELOAD_VARIABLE])
def test_what_configures_nothing_is_left_out(monkeypatch: pytest.MonkeyPatch, variable: str):
    monkeypatch.setenv(variable, "asyncio")
    monkeypatch.setenv("HOOKWARD_LISTEN", ":1")
    found = environment()
    assert variable not in found
    assert found["HOOKWARD_LISTEN"] == ":1"


def test_closed_standard_descriptors_are_held(monkeypatch: pytest.MonkeyPatch):
    free = [1, 2, 7]
    closed: list[int] = []
    monkeypatch.setattr(os, "open", lambda _path, _flags: free.pop(0))
    monkeypatch.setattr(os, "close", closed.append)
    hold_standard_descriptors()
    assert (free, closed) == ([], [7])
