"""Completions: complete for every shell, and bash's asked what it would offer."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import completions
import make
import pytest
from parsers import all_options

from proxy.ops.cli import COMMANDS

needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
ASK = 'eval "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _hookward; printf "%s\\n" "${COMPREPLY[@]}"'


def offered(*words: str, folder: Path | None = None) -> list[str]:
    command = ["bash", "--norc", "-c", ASK, "bash", completions.bash(COMMANDS), "hookward", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=folder)
    assert done.stderr == ""
    return done.stdout.split()


@needs_bash
@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["gen"], ["gen-secret"]),
        (["--upstream-c"], ["--upstream-ca", "--upstream-cert"]),
        (["run", "--tls-client-cert", "r"], ["require"]),
        (["--provider", "standard"], ["standard_webhooks", "standard_webhooks_v1a"]),
        (["send", "standard"], ["standard_webhooks", "standard_webhooks_v1a"]),
        (["send", "--tam"], ["--tamper"]),
        (["check", "--str"], ["--strict"]),
        (["unit", "--socket", "--liste"], ["--listen"]),
        (["completion", ""], ["--help", "bash", "zsh", "fish"]),
        (["--listen", ""], []),
    ],
)
def test_what_bash_offers(words: list[str], found: list[str]):
    assert offered(*words) == found


@needs_bash
def test_bash_offers_files(tmp_path: Path):
    (tmp_path / "github.secret").touch()
    assert offered("--secret-file", "git", folder=tmp_path) == ["github.secret"]
    assert offered("explain", "git", folder=tmp_path) == ["github.secret"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_no_flag_is_missing_and_the_shell_can_read_it(shell: str, tmp_path: Path):
    text = make.PAGES[f"hookward.{shell}"]()
    for name in COMMANDS:
        assert name in text
        for option in all_options(name, COMMANDS):
            for one in option.names:
                flag = one.lstrip("-")
                assert (f"-l {flag} " if len(one) > 2 else f"-s {flag} ") in text if shell == "fish" else one in text
    if shutil.which(shell) is not None:
        script = tmp_path / "hookward"
        script.write_text(text)
        subprocess.run([shell, "-n", str(script)], check=True)
