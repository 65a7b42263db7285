"""Messages say what is true for how this copy was installed."""

from __future__ import annotations

import re
import sys

import pytest

from proxy.config import host
from proxy.config.host import command, how_to_add
from tests.house import ROOT


@pytest.mark.parametrize(
    ("words", "argv", "said"),
    [
        (["python3", "-m", "proxy", "check"], ["/x/proxy/__main__.py", "check"], "python3 -m proxy"),
        (["python3", "/opt/hookward.pyz", "check"], ["/opt/hookward.pyz", "check"], "/opt/hookward.pyz"),
        (["/v/bin/python", "./v/bin/hookward", "x"], ["./v/bin/hookward", "x"], "./v/bin/hookward"),
    ],
)
def test_commands_are_called_as_this_one_was(
    words: list[str], argv: list[str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "orig_argv", words)
    monkeypatch.setattr(sys, "argv", argv)
    assert command() == said


def test_what_adds_a_package(monkeypatch: pytest.MonkeyPatch) -> None:
    assert how_to_add("redis").endswith("-m pip install redis")
    monkeypatch.setattr(host, "_OF_SYSTEM", host._FOLDER)  # as if it had been built so
    for tool, said in (("apt-get", "apt install python3-cryptography"), ("dnf", "dnf install python3-cryptography")):
        monkeypatch.setattr(host, "_path_of", lambda name, tool=tool: name if name == tool else None)
        assert how_to_add("cryptography") == said


def test_no_message_asks_an_index_for_our_own_name() -> None:
    """The name may be another's there: who types what a message says would install that."""
    bad = re.compile(r"pip3? install [^\n]*['\" ]hookward\b|hookward\[")
    sources = [*(ROOT / "proxy").rglob("*.py"), *(ROOT / "docs").rglob("*.md"), ROOT / "README.md"]
    assert [str(path.relative_to(ROOT)) for path in sources if bad.search(path.read_text())] == []
