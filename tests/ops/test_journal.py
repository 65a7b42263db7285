"""What the process says about itself, and how failures end it."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator

import pytest

from proxy.errors import ConfigError, FlagError, Problem
from proxy.net.sockets import AddressInUseError, NotPermittedError
from proxy.ops.journal import audit, log, open_journal, outcome, problem_lines


@pytest.fixture(autouse=True)
def put_back() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, ours = list(root.handlers), root.level, log.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    log.setLevel(ours)


@pytest.mark.parametrize(
    ("level", "said"),
    [
        ("debug", ["debug", "info", "warning", "error"]),
        ("info", ["info", "warning", "error"]),
        ("warning", ["warning", "error"]),
        ("error", ["error"]),
    ],
)
def test_the_level_chooses(level: str, said: list[str]):
    stream = io.StringIO()
    open_journal(level, stream)
    for name in ("debug", "info", "warning", "error"):
        getattr(log, name)("%s!", name)
    assert [line.split()[-1] for line in stream.getvalue().splitlines()] == [f"{name}!" for name in said]


def test_opening_again_does_not_say_things_twice():
    first, second = io.StringIO(), io.StringIO()
    open_journal("info", first)
    open_journal("info", second)
    logging.getLogger("proxy.net.acceptor").warning("once")
    assert first.getvalue() == ""
    assert second.getvalue().count("once") == 1


def test_an_audit_line_is_one_line():
    stream = io.StringIO()
    open_journal("error", stream)
    audit("audit: saw the delivery a\nINFO    audit: forged\x1b[2J")
    [line] = stream.getvalue().splitlines()
    assert line.endswith("audit: saw the delivery a\\nINFO    audit: forged\\x1b[2J")


def test_problems_come_with_their_mend():
    problems = [Problem("a.toml:3", "is wrong", "mend it"), Problem("--listen", "is missing", "give it")]
    assert problem_lines(problems) == "a.toml:3: is wrong\n    mend it\n--listen: is missing\n    give it"


PROBLEMS = [Problem("a.toml:1", "is wrong", "mend it")]


@pytest.mark.parametrize(
    ("failure", "code", "said"),
    [
        (FlagError(PROBLEMS), 64, "a.toml:1: is wrong\n    mend it"),
        (ConfigError(PROBLEMS), 78, "a.toml:1: is wrong\n    mend it"),
        (AddressInUseError("cannot listen on :443: another process does"), 69, "cannot listen on :443"),
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
