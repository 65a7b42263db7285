"""The parts of a worker that know agents: nothing of the wing where none is configured."""

from __future__ import annotations

import subprocess
import sys

import pytest

from proxy.errors import FlagError
from proxy.ops import agent_command, listeners, optional
from tests.whole.process import ROOT, environment


def test_what_serves_without_agents_never_imports_them() -> None:
    code = "import sys, proxy.ops.worker, proxy.ops.run_command; sys.exit(any('proxy.agent' in m for m in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], env=environment(), cwd=ROOT, check=False).returncode == 0
    assert {optional.AgentParts.__module__, listeners.Services.__module__} == {
        "proxy.ops.optional",
        "proxy.ops.listeners",
    }


@pytest.mark.parametrize(
    ("environ", "folder"),
    [
        ({"STATE_DIRECTORY": "/var/lib/private/a:/b"}, "/var/lib/private/a"),
        ({"XDG_STATE_HOME": "/home/a/state"}, "/home/a/state/hookward"),
        ({"HOME": "/home/a", "XDG_STATE_HOME": "relative"}, "/home/a/.local/state/hookward"),
    ],
)
def test_where_an_agent_keeps_its_key(monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], folder: str) -> None:
    for name in ("STATE_DIRECTORY", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert agent_command.default_state_dir() == folder


def test_help_names_the_flags_of_both(capsys: pytest.CaptureFixture[str]) -> None:
    assert agent_command.main(["--help"]) == 0
    assert "--join CODE" in capsys.readouterr().out
    assert agent_command.main(["--help-all"]) == 0
    text = capsys.readouterr().out
    assert "--provider" in text


def test_an_unknown_flag_is_told() -> None:
    with pytest.raises(FlagError, match="--jion"):
        agent_command.main(["--jion", "x"])
