from __future__ import annotations

import pytest

from proxy.config.problems import Problems, nearest, suggestion
from proxy.errors import ConfigError, Mistake, Place


def test_all_are_told_by_file_and_line() -> None:
    problems = Problems()
    problems.add(Place("b.toml", 10, ("x",)), "late", "mend")
    problems.add(Place.of("--flag"), "no line", "mend")
    problems.add(Place("b.toml", 9, ("y",)), "early", "mend")
    problems.add_mistake(Place("b.toml", 9), Mistake("what", "mend"))
    with pytest.raises(ConfigError) as caught:
        problems.raise_if_any()
    assert [p.where for p in caught.value.problems] == ["--flag", "b.toml:9: y", "b.toml:9", "b.toml:10: x"]


def test_the_same_is_told_once() -> None:
    problems = Problems()
    problems.add(Place("a"), "b", "c")
    problems.add(Place("a"), "b", "c")
    assert len(problems.found) == 1


def test_nothing_found_raises_nothing() -> None:
    Problems().raise_if_any()


def test_near_words() -> None:
    assert nearest("upstrem", ["listen", "upstream"]) == "upstream"
    assert nearest("LISTEN", ["listen", "upstream"]) == "listen"
    assert nearest("zzz", ["listen"]) is None
    assert suggestion("upstrem", ["upstream"]) == "did you mean 'upstream'?"
    assert suggestion("zzz", ["a", "b"]) == "known are: a, b"
    assert suggestion("zzz", []) == "remove it"
