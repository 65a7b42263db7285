"""How failures end a process."""

from __future__ import annotations

import pytest

from proxy.config.flags import FlagError
from proxy.errors import ConfigError, Problem
from proxy.net.sockets import AddressInUseError, NotPermittedError
from proxy.ops.failures import outcome

PROBLEMS = [Problem("a.toml:1", "is wrong", "mend it")]


@pytest.mark.parametrize(
    ("failure", "code", "said"),
    [
        (FlagError(PROBLEMS), 64, "a.toml:1: is wrong\n    mend it"),
        (ConfigError(PROBLEMS), 78, "a.toml:1: is wrong\n    mend it"),
        (AddressInUseError("cannot listen on :443: somebody else does"), 69, "cannot listen on :443"),
        (NotPermittedError("cannot listen on :443: no"), 77, "cannot listen on :443"),
        (ZeroDivisionError("a bug"), 70, "Traceback"),
        (KeyboardInterrupt(), 130, ""),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_what_is_raised_becomes_a_code_and_a_message(
    failure: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str]
):
    def run() -> int:
        raise failure

    assert outcome(run) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert said in captured.err


def test_else_the_code_is_that_of_the_command():
    assert outcome(lambda: 7) == 7
