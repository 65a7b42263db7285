"""The exit codes are a contract with scripts."""

from __future__ import annotations

from proxy.ops.exit_codes import ExitCode


def test_the_codes_are_those_of_sysexits():
    assert {code.name: code.value for code in ExitCode} == {
        "OK": 0,
        "FAILED": 1,
        "USAGE": 64,
        "UNAVAILABLE": 69,
        "SOFTWARE": 70,
        "NO_PERMISSION": 77,
        "CONFIG": 78,
    }
