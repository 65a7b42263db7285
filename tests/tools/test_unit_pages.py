"""``man`` and ``completion`` print what a package brings, and what a checkout makes."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from proxy.errors import FlagError
from proxy.ops.cli import main
from proxy.tools import unit

ROOT = Path(__file__).resolve().parents[2]
FIRST_WORDS = {
    "man": ".TH HOOKWARD 1 ",
    "man hookward.toml": ".TH HOOKWARD.TOML 5 ",
    "completion bash": "# Completion for hookward in bash",
    "completion zsh": "#compdef hookward",
    "completion fish": "# Completion for hookward in fish",
}


@pytest.mark.parametrize("words", FIRST_WORDS)
def test_a_checkout_makes_them(words: str, capsys: pytest.CaptureFixture[str]):
    assert main(words.split()) == 0
    assert capsys.readouterr().out.startswith(FIRST_WORDS[words])


def test_the_wheel_brings_them(tmp_path: Path):
    pytest.importorskip("hatchling")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    for words, first in FIRST_WORDS.items():
        command = [sys.executable, "-m", "proxy", *words.split()]
        environ = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path, env=environ)
        assert done.stdout.startswith(first)


def test_a_copy_of_the_package_alone_says_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(unit, "_MAKER", tmp_path / "make.py")
    with pytest.raises(FlagError, match="not part of this installation"):
        unit.MAN.main([])


def test_an_unknown_shell(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as left:
        main(["completion", "csh"])
    assert left.value.code == 64
    assert "invalid choice" in capsys.readouterr().err
