"""What the commands share: exit codes are a contract with scripts, and colours are for those who see them."""

from __future__ import annotations

import io

import pytest

from proxy.config.host import ExitCode, Paint, visible, wants_colour
from proxy.config.parsers import Parser


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


def test_bad_flags_end_with_64(capsys: pytest.CaptureFixture[str]):
    parser = Parser(prog="hookward demo")
    with pytest.raises(SystemExit) as ended:
        parser.parse_args(["--twice"])
    assert ended.value.code == 64
    assert "hookward demo: unrecognized arguments: --twice" in capsys.readouterr().err


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "environment", "wanted"),
    [
        (Terminal(), {}, True),
        (Terminal(), {"NO_COLOR": "1"}, False),
        (Terminal(), {"TERM": "dumb"}, False),
        (io.StringIO(), {}, False),
        (None, {}, False),
    ],
)
def test_colour_needs_a_terminal_and_nobody_against_it(
    monkeypatch: pytest.MonkeyPatch, stream: io.StringIO | None, environment: dict[str, str], wanted: object
):
    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert wants_colour(stream) is wanted
    assert Paint.on(stream).colour is wanted


def test_paint():
    assert Paint(colour=True)("text", "red", "bold") == "\033[31;1mtext\033[0m"
    assert Paint(colour=True)("", "red") == ""
    assert Paint(colour=False)("text", "red") == "text"


def test_what_drives_a_terminal_is_shown_and_not_done():
    assert visible("a\x1b[2Jb\x9b\u202e\udc80\r\x00\n\té") == "a\\x1b[2Jb\\x9b\\u202e\\udc80\\r\\x00\n\\té"
