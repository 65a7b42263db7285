"""Exceptions say where, what and how to mend it, and nothing that a peer sent."""

from __future__ import annotations

from proxy.errors import ConfigError, HookwardError, Problem, ProtocolError
from proxy.reasons import Reason


def test_a_protocol_error_knows_its_answer() -> None:
    error = ProtocolError(Reason.BAD_REQUEST, "cl_te")
    assert (error.reason.status, error.detail, str(error)) == (400, "cl_te", "bad_request: cl_te")


def test_a_config_error_tells_everything_at_once() -> None:
    problems = [
        Problem("a.toml: listen", "is no address", "write 0.0.0.0:443"),
        Problem("--path", "is empty", "write /"),
    ]
    error = ConfigError(problems)
    assert error.problems == problems
    assert str(error) == "a.toml: listen: is no address\n    write 0.0.0.0:443\n--path: is empty\n    write /"


def test_the_tree() -> None:
    assert issubclass(ProtocolError, HookwardError)
    assert issubclass(ConfigError, HookwardError)
