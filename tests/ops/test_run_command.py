"""What ``run`` does before it serves."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.errors import ConfigError, FlagError
from proxy.ops import run_command


def test_help(capsys: pytest.CaptureFixture[str]):
    assert run_command.main(["--listen", ":1", "--help"]) == 0
    assert capsys.readouterr().out.startswith("usage: hookward [run] [FILE] [flags]")


def test_check_config_checks_and_leaves(capsys: pytest.CaptureFixture[str]):
    flags = ["--listen", "127.0.0.1:0", "--upstream", "127.0.0.1:1"]
    assert run_command.main([*flags, "-t"]) == 0
    assert "127.0.0.1:1" in capsys.readouterr().out


def test_bad_flags_and_bad_configurations_are_raised(tmp_path: Path):
    with pytest.raises(FlagError, match="--lisen"):
        run_command.main(["--lisen", ":1"])
    with pytest.raises(ConfigError, match="upstream"):
        run_command.main(["--listen", "127.0.0.1:0"])
    with pytest.raises(ConfigError, match="cannot be read"):
        run_command.main(["--config", str(tmp_path / "missing.toml")])
