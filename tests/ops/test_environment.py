"""The variable that chooses the loop is no setting."""

from __future__ import annotations

import pytest

from proxy.ops.environment import LOOP_VARIABLE, environment


def test_the_loop_variable_is_left_out(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(LOOP_VARIABLE, "asyncio")
    monkeypatch.setenv("HOOKWARD_LISTEN", ":1")
    found = environment()
    assert LOOP_VARIABLE not in found
    assert found["HOOKWARD_LISTEN"] == ":1"
