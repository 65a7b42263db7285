"""Words of a command line that are no flags, though they look like some."""

from __future__ import annotations

import pytest

from proxy.config.parsers import SearchParser
from proxy.queue import command
from proxy.tools import tail, top


def parser() -> SearchParser:
    made = SearchParser()
    made.add_argument("words", nargs="*")
    made.add_argument("--search")
    made.add_argument("-c")
    return made


@pytest.mark.parametrize("word", ["-status:2xx", "-host:a", "-c:x", '-"some text"', "->2s", "-<5ms", "-size>1m"])
def test_a_word_that_must_not_hold_is_no_flag(word: str) -> None:
    found = parser().parse(["route:a", word, "-c", "file", "event:b"])
    assert (found.words, found.c) == (["route:a", "event:b", word], "file")
    assert parser().parse(["--search", word]).search == word


def test_a_flag_that_is_unknown_is_still_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="64"):
        parser().parse(["-status"])
    assert "see " in capsys.readouterr().err
    assert parser().parse(["--", "-needle"]).words == ["-needle"]


def test_each_command_that_searches_takes_them() -> None:
    for module in (tail, top, command):
        assert module.build_parser().parse(["list", "-status:2xx"]).words[-1] == "-status:2xx"
