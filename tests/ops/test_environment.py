"""The variable that chooses the loop is no setting."""

from __future__ import annotations

import os

import pytest

from proxy.ops.environment import LOOP_VARIABLE, environment, hold_standard_descriptors


def test_the_loop_variable_is_left_out(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(LOOP_VARIABLE, "asyncio")
    monkeypatch.setenv("HOOKWARD_LISTEN", ":1")
    found = environment()
    assert LOOP_VARIABLE not in found
    assert found["HOOKWARD_LISTEN"] == ":1"


def test_closed_standard_descriptors_are_held(monkeypatch: pytest.MonkeyPatch):
    free = [1, 2, 7]
    closed: list[int] = []
    monkeypatch.setattr(os, "open", lambda _path, _flags: free.pop(0))
    monkeypatch.setattr(os, "close", closed.append)
    hold_standard_descriptors()
    assert (free, closed) == ([], [7])
