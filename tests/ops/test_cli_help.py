"""The help: one screen for what most starts need, and all of it when asked."""

from __future__ import annotations

import re
from typing import cast

import pytest

from proxy.config.flags import FLAGS
from proxy.config.parsers import GROUPS, RunParser
from proxy.ops.cli import COMMANDS, COMMON, full_help_text, help_text, is_bare

KNOWN = {flag.option for flag in FLAGS} | {"--config", "--check-config", "--help", "--help-all"}


def test_it_is_one_screen() -> None:
    lines = help_text().splitlines()
    assert len(lines) <= 60
    assert [line for line in lines if len(line) > 80] == []
    assert all(re.search(rf"^  {name} ", "\n".join(lines), re.MULTILINE) for name in COMMANDS)


def test_a_route_comes_first_and_every_flag_exists() -> None:
    assert next(iter(COMMON)).startswith("a route")
    assert GROUPS[0] == "route"
    named = set(re.findall(r"--[a-z-]+", help_text()))
    assert named <= KNOWN


def test_all_of_it() -> None:
    text = full_help_text()
    assert all(flag.option in text for flag in FLAGS)
    assert text.index("--path ") < text.index("--listen ADDRESS" if "--listen ADDRESS" in text else "\nprocess:")


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "run"])
def test_the_help_of_a_command_is_short_and_fits_80_columns(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    parser = COMMANDS[name].parser()
    text = parser.format_help() if not COMMANDS[name].of_run else cast("RunParser", parser).asked(["--help"]) or ""
    lines = text.splitlines()
    assert [line for line in lines if len(line) > 80] == []
    assert len(lines) < 70
    if COMMANDS[name].of_run:
        assert "--help-all" in text
        assert "--max-target" not in text
        assert "--max-target" in (cast("RunParser", parser).asked(["--help-all"]) or "")


def test_a_variable_is_a_start_too() -> None:
    assert is_bare([], {"PATH": "/bin"})
    assert not is_bare([], {"HOOKWARD_LISTEN": ":1"})
    assert not is_bare(["--open"], {})
