"""``console``: a link for a browser, of the process that is meant; and which process is meant."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from proxy.errors import FlagError
from proxy.net import private
from proxy.net.private import socket_name
from proxy.tools import running
from proxy.tools.running import _links, running_process
from tests.whole.conftest import start, upstream
from tests.whole.console import Visitor
from tests.whole.process import Hookward, environment
from tests.whole.recorder import RecordingUpstream

__all__ = ["start", "upstream"]

Start = Callable[..., Hookward]


def command(*words: object) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "proxy", "console", *map(str, words)]
    return subprocess.run(argv, capture_output=True, text=True, env=environment(), check=False, timeout=60)


@pytest.mark.parametrize(("flag", "may_act"), [([], True), (["--read"], False)])
def test_its_last_line_is_a_link_that_lets_in(
    start: Start, upstream: RecordingUpstream, tmp_path: Path, flag: list[str], may_act: bool
) -> None:
    flags = ["--listen", "127.0.0.1:0", "--upstream", upstream.url, "--open", "--state-dir", tmp_path]
    hookward = start(*flags, "--console", "127.0.0.1:0", listeners=2)
    found = command("--follow", hookward.pid, *flag)
    assert found.returncode == 0
    place, _, path = found.stdout.splitlines()[-1].removeprefix("http://").partition("/")
    host, _, port = place.partition(":")
    reply = Visitor((host, int(port))).ask("GET", f"/{path}")
    assert reply.status == 303
    visitor = Visitor((host, int(port)), Cookie=str(reply.headers["Set-Cookie"]).partition(";")[0])
    assert visitor.get("status")["visitor"]["may_act"] is may_act


def test_without_a_console_it_says_so(start: Start, upstream: RecordingUpstream, tmp_path: Path) -> None:
    hookward = start("--listen", "127.0.0.1:0", "--upstream", upstream.url, "--open", "--state-dir", tmp_path)
    found = command("--follow", hookward.pid)
    assert found.returncode == 1
    assert "add [console]" in found.stderr


def test_what_a_browser_can_open() -> None:
    places = ["http://127.0.0.1:4041", "https://0.0.0.0:4041", "https://[::]:1", "http://unix:/run/c.sock"]
    assert _links({"token": "t", "places": places}) == [
        "http://127.0.0.1:4041/enter?link=t",
        "https://127.0.0.1:4041/enter?link=t",
        "https://localhost:1/enter?link=t",
        "curl --unix-socket /run/c.sock http://localhost/api/v1/deliveries",
    ]


def meant(follow: str | None = None, state_dir: Path | None = None, config: str | None = None) -> running.Running:
    folder = None if state_dir is None else str(state_dir)
    return running_process(argparse.Namespace(follow=follow, state_dir=folder, config=config))


def test_the_only_one_is_meant_and_of_several_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private, "_bound", list)
    monkeypatch.setattr(private, "RUN_FOLDER", str(tmp_path / "none"))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    with pytest.raises(FlagError, match="no hookward of yours"):
        meant(state_dir=tmp_path)
    for name in (socket_name(20, 21), socket_name(20, 22)):
        (tmp_path / name).touch()
    assert meant(state_dir=tmp_path).process == 20
    assert [end.worker for end in meant(state_dir=tmp_path).ends()] == [21, 22]
    assert meant(follow=str(tmp_path / socket_name(7, 8))).process == 7
    (tmp_path / socket_name(30, 30)).touch()
    with pytest.raises(FlagError, match="several are running: 20, 30"):
        meant(state_dir=tmp_path)
    assert meant(follow="30", state_dir=tmp_path).process == 30
    (tmp_path / "named").mkdir()
    (tmp_path / "named" / socket_name(40, 41)).touch()
    monkeypatch.setattr(private, "RUN_FOLDER", str(tmp_path))
    assert meant(state_dir=tmp_path / "named").process == 40, "others lie elsewhere"
    (tmp_path / "hookward.toml").write_text('state_dir = "named"\n')
    assert meant(config=str(tmp_path / "hookward.toml")).process == 40, "the file says where"
    assert running.Running(1, ()).ends() == []
