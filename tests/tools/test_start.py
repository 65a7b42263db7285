"""What would keep a configuration from starting. (``tests/whole/test_broken_starts.py`` compares it with ``run``.)"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from proxy.config.load import OnHost, load, load_on_host, parse_flags
from proxy.config.settings import Settings
from proxy.queue.folder import DATABASE
from proxy.tools.start import errors_of_ports, problems_with_log, problems_with_stores

ENDS = ("--listen", "127.0.0.1:0", "--upstream", "127.0.0.1:1", "--open")


def on_host(*argv: str) -> OnHost:
    return load_on_host(parse_flags([*ENDS, *argv]), {})


def settings(*argv: str) -> Settings:
    return load([*ENDS, *argv], {}).settings


def test_nothing_is_made(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    assert list(problems_with_log(on_host("--access-log", str(log)), None)) == []
    assert not log.exists()
    assert errors_of_ports(settings("--listen", f"unix:{tmp_path}/s")) == ([], [])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("log", "mend"), [("none/access.log", "mkdir -p"), (".", "let the user")])
def test_logs(tmp_path: Path, log: str, mend: str) -> None:
    [problem] = problems_with_log(on_host("--access-log", str(tmp_path / log)), None)
    assert problem.place == "--access-log"
    assert mend in problem.mend


def test_without_a_file_there_is_nothing_to_say() -> None:
    assert list(problems_with_log(on_host("--access-log", "off"), None)) == []
    assert list(problems_with_stores(load(ENDS, {}))) == []


def of_queue(folder: Path, path: Path) -> list[str]:
    (folder / "secret").write_text("0123456789abcdef")
    (folder / "secret").chmod(0o600)
    (folder / "hookward.toml").write_text(
        'listen = "127.0.0.1:0"\nupstream = "http://127.0.0.1:1"\n'
        f'[queue]\npath = "{path}"\n[console]\nlisten = "127.0.0.1:0"\nstore = "{path}.console"\n'
        '[route.a]\nprovider = "github"\nsecrets = ["file:secret"]\ndeliver = "queue"\n'
    )
    found = problems_with_stores(load(["-c", str(folder / "hookward.toml")], {}))
    return [f"{problem.place}: {problem.what}" for problem in found]


def test_what_a_queue_and_a_console_would_refuse_is_told(tmp_path: Path) -> None:
    path = tmp_path / "queue"
    assert of_queue(tmp_path, path) == []
    (tmp_path / "elsewhere").mkdir()
    path.symlink_to(tmp_path / "elsewhere")
    assert of_queue(tmp_path, path) == [f"queue: {path}: it is a link or a file, and must be a folder"]
    path.unlink()
    path.mkdir()
    assert of_queue(tmp_path, path) == []
    (path / DATABASE).write_text("something else")
    assert of_queue(tmp_path, path) == [f"queue: {path / DATABASE}: file is not a database"]
    (path / DATABASE).unlink()
    (tmp_path / "queue.console").write_text("something else")
    assert of_queue(tmp_path, path) == [f"console.store: {path}.console cannot be used (file is not a database)"]
    (tmp_path / "queue.console").unlink()
    (tmp_path / "queue.console").mkdir()
    assert of_queue(tmp_path, path) == [f"console.store: {path}.console cannot be used (Is a directory)"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")
def test_a_queue_in_the_folder_of_another_user_is_told(tmp_path: Path) -> None:
    path = tmp_path / "queue"
    path.mkdir()
    os.chown(path, 12345, 12345)
    assert of_queue(tmp_path, path) == [f"queue: {path}: it belongs to another user"]
