"""``version``."""

from __future__ import annotations

import platform
from importlib.util import find_spec

import pytest

import proxy
from proxy.ops.cli import main


@pytest.mark.parametrize("argv", [["version"], ["--version"], ["-V"]])
def test_it_says_what_it_is_and_on_what_it_runs(argv: list[str], capsys: pytest.CaptureFixture[str]):
    assert main(argv) == 0
    loop = "asyncio" if find_spec("uvloop") is None else "uvloop"
    python = f"{platform.python_implementation()} {platform.python_version()}"
    assert capsys.readouterr().out == f"hookward {proxy.__version__} ({python}, {loop})\n"
