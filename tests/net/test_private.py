"""How a command finds the private sockets of running workers. What they answer is tried in ``tests/ops``."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.net import private
from proxy.net.private import find, folders, socket_name


def test_places_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private, "RUN_FOLDER", "/run/hw")
    environ = {"XDG_RUNTIME_DIR": "/run/user/7", "RUNTIME_DIRECTORY": "/run/a:/run/b"}
    assert folders("/var/lib/hw", environ) == ["/var/lib/hw", "/run/a", "/run/b", "/run/user/7/hookward", "/run/hw"]
    assert folders(None, {"XDG_RUNTIME_DIR": "here"}) == ["/run/hw"]


def test_sockets_are_found_by_their_names(tmp_path: Path) -> None:
    for name in (
        socket_name(20, 21),
        socket_name(20, 3),
        socket_name(1, 1),
        "hookward-0-1.sock",
        "hookward-1.sock",
        "x",
    ):
        (tmp_path / name).touch()
    assert [(end.process, end.worker) for end in find([str(tmp_path), "/nowhere"])] == [(1, 1), (20, 3), (20, 21)]
    assert [end.worker for end in find([str(tmp_path)], 20)] == [3, 21]
