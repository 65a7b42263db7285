"""What is read without ``argparse`` is what ``argparse`` reads; what is wrong is left to it."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.flags import FLAGS, Words, take_file
from proxy.config.load import _read, parse_flags
from proxy.config.parsers import parse_known_flags
from proxy.errors import FlagError

OPTIONS = [flag.option for flag in FLAGS]
VALUES = ["a", "x.toml", "-", "--", "-1", "-c", "", "a b", "- a", "a=b", "=", "true", "127.0.0.1:1"]
ODD = [
    "-t",
    "--help-all",
    "--secret",
    "--token=x",
    "--liste",
    "--nothing",
    "-cx.toml",
    "-c=x",
    "-tc",
    "--config=",
    "-ct",
]
WORDS = st.one_of(
    st.sampled_from(OPTIONS),
    st.sampled_from(VALUES),
    st.sampled_from([*ODD, "-c", "--config", "--config=x.toml", "--config=y.toml"]),
    st.builds("{}={}".format, st.sampled_from(OPTIONS), st.sampled_from(VALUES)),
    st.text(max_size=5),
)


@given(st.lists(WORDS, max_size=6))
def test_what_is_read_is_what_argparse_reads(argv: list[str]) -> None:
    words, rest = Words(), list[str]()
    if _read(argv, words, rest):
        theirs, left = parse_known_flags(argv)
        told = {name: value for name, value in vars(theirs).items() if value not in (None, False)}
        assert (vars(words), rest) == (told, left)


@given(st.lists(st.one_of(st.sampled_from([f"{option}=a" for option in OPTIONS]), st.just("--open")), max_size=6))
def test_flags_that_are_written_right_need_no_parser(argv: list[str]) -> None:
    takes_none = {flag.option for flag in FLAGS if flag.key.kind.name == "true or false"}
    assert _read(argv, Words(), []) == (not takes_none & {word.partition("=")[0] for word in argv if "=" in word})


@pytest.mark.parametrize("argv", [["--listen"], ["--open=x"], ["--config"], ["-c", "a.toml", "-c", "b.toml"], ["--no"]])
def test_what_is_wrong_is_told_by_the_parser(argv: list[str]) -> None:
    with pytest.raises(FlagError) as caught:
        parse_flags(argv)
    with pytest.raises(FlagError) as theirs:
        take_file(*parse_known_flags(argv))
    assert caught.value.problems == theirs.value.problems


def test_a_good_line_imports_no_parser() -> None:
    code = "import sys; from proxy.config.load import parse_flags; parse_flags(sys.argv[1:]); print(*sys.modules)"
    line = ["--listen", "127.0.0.1:0", "--upstream=127.0.0.1:1", "--open", "x.toml"]
    done = subprocess.run([sys.executable, "-c", code, *line], capture_output=True, text=True, check=True)
    assert {"argparse", "proxy.config.parsers"} & set(done.stdout.split()) == set()
