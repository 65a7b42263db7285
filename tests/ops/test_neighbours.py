"""The other package of the same import name is noticed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import proxy
from proxy.ops import cli, neighbours
from tests.whole.process import environment


def test_alone():
    assert not neighbours.mixed_in()


@pytest.mark.parametrize("folder", ["proxy.py-2.4.10.dist-info", "proxy_py-2.4.10.dist-info"])
def test_proxy_py_in_the_same_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: str
):
    info = tmp_path / folder
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: proxy.py\nVersion: 2.4.10\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert neighbours.mixed_in()
    assert cli.main(["version"]) == 78
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert "proxy.py" in captured.err


def test_a_package_that_is_not_ours(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delattr(proxy, "DISTRIBUTION")
    assert neighbours.mixed_in()


@pytest.mark.parametrize("optimised", ["-O", "-OO"])
def test_an_interpreter_that_drops_docstrings_starts_us(optimised: str):
    """``-OO`` leaves no docstring to know ourselves by, and no assertion: a demonstration needs neither."""
    command = [sys.executable, optimised, "-m", "proxy", "demo", "--once"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Every promise was kept." in done.stdout
