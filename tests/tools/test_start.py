"""What would keep a configuration from starting. (``tests/whole/test_broken_starts.py`` compares it with ``run``.)"""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.config.load import load
from proxy.config.settings import Settings
from proxy.tools.start import errors_of_ports, problems_with_log, problems_with_stores

ENDS = ("--listen", "127.0.0.1:0", "--upstream", "127.0.0.1:1", "--open")


def settings(*argv: str) -> Settings:
    return load([*ENDS, *argv], {}).settings


def test_nothing_is_made(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    assert list(problems_with_log(settings("--access-log", str(log)), None)) == []
    assert not log.exists()
    assert errors_of_ports(settings("--listen", f"unix:{tmp_path}/s")) == ([], [])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("log", "mend"), [("none/access.log", "mkdir -p"), (".", "let the user")])
def test_logs(tmp_path: Path, log: str, mend: str) -> None:
    [problem] = problems_with_log(settings("--access-log", str(tmp_path / log)), None)
    assert problem.place == "access_log"
    assert mend in problem.mend


def test_without_a_file_there_is_nothing_to_say() -> None:
    assert list(problems_with_log(settings("--access-log", "off"), None)) == []
    assert list(problems_with_stores(load(ENDS, {}))) == []
