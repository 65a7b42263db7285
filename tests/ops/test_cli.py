"""The command line: which command runs, how failures become exit codes, and that another ``proxy`` is noticed."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import pytest

import proxy
from proxy.errors import ConfigError, FlagError, Problem
from proxy.net.sockets import AddressInUseError, NotPermittedError
from proxy.ops import cli, run_command
from proxy.ops.cli import COMMANDS, main
from proxy.tools import check
from tests.whole.process import environment

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("argv", [["--help"], ["-h"], ["help"], ["run", "--help"]])
def test_help_names_every_command_and_the_flags_of_run(argv: list[str], capsys: pytest.CaptureFixture[str]):
    assert main(argv) == 0
    text = capsys.readouterr().out
    for word in (*COMMANDS, "--listen", "--upstream", "--secret-file", "--check-config", "examples:"):
        assert word in text
    assert "--secret " not in text


@pytest.mark.parametrize(("argv", "given"), [(["check", "--listen", ":1"], ["--listen", ":1"]), (["check"], [])])
def test_a_command_gets_the_words_after_its_name(monkeypatch: pytest.MonkeyPatch, argv: list[str], given: list[str]):
    seen: list[Sequence[str]] = []

    def run(words: Sequence[str]) -> int:
        seen.append(words)
        return 7

    monkeypatch.setattr(check, "main", run)
    assert main(argv) == 7
    assert seen == [given]


@pytest.mark.parametrize("argv", [[], ["--listen", ":1"], ["-c", "x"], ["a.toml"], ["./a", "-t"]])
def test_run_is_the_default(monkeypatch: pytest.MonkeyPatch, argv: list[str]):
    monkeypatch.setenv("HOOKWARD_LISTEN", ":1")
    seen: list[Sequence[str]] = []

    def run(words: Sequence[str]) -> int:
        seen.append(words)
        return 0

    monkeypatch.setattr(run_command, "main", run)
    assert main(argv) == 0
    assert seen == [argv]


def test_argv_is_that_of_the_process_unless_given(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(sys, "argv", ["hookward", "version"])
    assert main() == 0
    assert "hookward" in capsys.readouterr().out


@pytest.mark.parametrize(("word", "mend"), [("chek", "did you mean 'check'?"), ("xyzzy", "commands: run, init, check")])
def test_an_unknown_command(word: str, mend: str, capsys: pytest.CaptureFixture[str]):
    assert main([word]) == 64
    captured = capsys.readouterr()
    assert captured.out == ""
    assert mend in captured.err


PROBLEMS = [Problem("a.toml:1", "is wrong", "mend it"), Problem("a.toml:2", "is bad", "better it")]


@pytest.mark.parametrize(
    ("failure", "code", "said"),
    [
        (FlagError(PROBLEMS), 64, ["a.toml:1: is wrong", "    mend it", "a.toml:2: is bad"]),
        (ConfigError(PROBLEMS), 78, ["a.toml:1: is wrong", "    mend it", "a.toml:2: is bad"]),
        (AddressInUseError("cannot listen on :443: another process does"), 69, ["cannot listen on :443"]),
        (NotPermittedError("cannot listen on :443: no"), 77, ["cannot listen on :443"]),
        (ZeroDivisionError("a bug"), 70, ["Traceback", "a bug"]),
        (KeyboardInterrupt(), 130, []),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_failures_have_their_codes(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    failure: BaseException,
    code: int,
    said: list[str],
):
    def run(_: Sequence[str]) -> int:
        raise failure

    monkeypatch.setattr(check, "main", run)
    assert main(["check"]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    for text in said:
        assert text in captured.err


def test_a_reader_who_has_seen_enough_is_no_failure():
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "proxy", "providers"], stdout=writing, stderr=subprocess.PIPE, check=False, cwd=ROOT
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


def test_alone():
    assert not cli._proxy_py_is_mixed_in()


@pytest.mark.parametrize("folder", ["proxy.py-2.4.10.dist-info", "proxy_py-2.4.10.dist-info"])
def test_proxy_py_in_the_same_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: str
):
    info = tmp_path / folder
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: proxy.py\nVersion: 2.4.10\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert cli._proxy_py_is_mixed_in()
    assert cli.main(["version"]) == 78
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert "proxy.py" in captured.err


def test_a_package_that_is_not_ours(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delattr(proxy, "DISTRIBUTION")
    assert cli._proxy_py_is_mixed_in()


@pytest.mark.parametrize("optimised", ["-O", "-OO"])
def test_an_interpreter_that_drops_docstrings_starts_us(optimised: str):
    """``-OO`` leaves no docstring to know ourselves by, and no assertion: a demonstration needs neither."""
    command = [sys.executable, optimised, "-m", "proxy", "demo", "--once"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Every promise was kept." in done.stdout


def test_without_a_word_or_a_variable_it_says_how_to_begin(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    for name in [name for name in os.environ if name.startswith("HOOKWARD_")]:
        monkeypatch.delenv(name)
    assert main([]) == 64
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines] == ["init", "demo", "--help"]


def test_a_checkout_that_was_not_installed_says_what_to_do(tmp_path: Path):
    (tmp_path / "h11.py").write_text("raise ModuleNotFoundError('No module named h11', name='h11')\n")
    done = subprocess.run(
        [sys.executable, "-m", "proxy", "--listen", "127.0.0.1:0", "--upstream", "127.0.0.1:1"],
        capture_output=True, text=True, cwd=ROOT, check=False, timeout=60,
        env=environment({"PYTHONPATH": str(tmp_path)}),
    )  # fmt: skip
    assert done.returncode == 78
    assert "h11 is not installed here" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("argv", [["version"], ["--version"], ["-V"]])
def test_it_says_what_it_is_and_on_what_it_runs(argv: list[str], capsys: pytest.CaptureFixture[str]):
    assert main(argv) == 0
    loop = "asyncio" if find_spec("uvloop") is None else "uvloop"
    python = f"{platform.python_implementation()} {platform.python_version()}"
    assert capsys.readouterr().out == f"hookward {proxy.__version__} ({python}, {loop})\n"
