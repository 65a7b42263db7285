"""``hookward reload`` against a real process, against one that says what the test wants, and against none."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from proxy.config.host import RELOAD_VARIABLE
from proxy.errors import FlagError
from proxy.ops import reload_command
from proxy.ops.reload_command import main
from tests.whole.conftest import start  # noqa: F401 - the fixture
from tests.whole.process import Hookward

LATER = ["RELOADING=1\nMONOTONIC_USEC={after}"]


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    where = str(tmp_path / "reload")
    monkeypatch.setenv(RELOAD_VARIABLE, where)
    return where


@pytest.mark.parametrize("workers", [1, 2])
def test_the_exit_code_says_how_it_went(
    start: Callable[..., Hookward],  # noqa: F811
    tmp_path: Path,
    path: str,
    capsys: pytest.CaptureFixture[str],
    workers: int,
):
    config = tmp_path / "hookward.toml"
    config.write_text(f'listen = ["127.0.0.1:0"]\nupstream = "127.0.0.1:1"\nopen = true\nworkers = {workers}\n')
    hookward = start("--config", config, env={RELOAD_VARIABLE: path})
    assert main([str(hookward.pid)]) == 0
    assert hookward.said("reloaded: configuration 2")
    good = config.read_text()
    config.write_text("lisen = 1\n" + good)
    assert main([str(hookward.pid)]) == 78
    assert "the old configuration stays in force" in capsys.readouterr().err
    config.write_text(good)
    Path(path).touch()  # left by one who was killed
    assert main([str(hookward.pid)]) == 0
    assert not Path(path).exists()


@pytest.fixture
def other() -> Iterator[int]:
    """A process that SIGHUP does nothing to."""
    script = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN); print('deaf', flush=True); signal.pause()"
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
        process.kill()


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (["RELOADING=1\nMONOTONIC_USEC={before}", "READY=1"], 1),  # it had begun before we asked
        (["READY=1"], 1),
        (["RELOADING=1\nMONOTONIC_USEC={after}"], 1),
        (["RELOADING=1\nMONOTONIC_USEC={before}", "READY=1", *LATER, "READY=1\nX_HOOKWARD_RELOAD=refused"], 78),
        ([*LATER, "STATUS=x", "READY=1\nSTATUS=y"], 0),
    ],
)
def test_only_the_reload_that_was_asked_for_counts(
    path: str, other: int, monkeypatch: pytest.MonkeyPatch, said: list[str], code: int
):
    monkeypatch.setattr(reload_command, "PATIENCE_S", 1.0)
    killed = threading.Event()
    kill = os.kill

    def signalled(pid: int, number: int) -> None:
        kill(pid, number)
        killed.set()

    monkeypatch.setattr(os, "kill", signalled)
    before = time.monotonic_ns() // 1000

    def speak() -> None:
        killed.wait(10)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            for text in said:
                after = time.monotonic_ns() // 1000
                sock.sendto(text.format(before=before, after=after).encode(), path)

    thread = threading.Thread(target=speak)
    thread.start()
    assert main([str(other)]) == code
    thread.join()


def test_nobody_to_reload(path: str, capsys: pytest.CaptureFixture[str]):
    with subprocess.Popen(["true"]) as gone:
        pass
    assert main([str(gone.pid)]) == 1
    assert "there is no process" in capsys.readouterr().err


def test_another_users_process(path: str, other: int, monkeypatch: pytest.MonkeyPatch):
    def refuse(_pid: int, _number: int) -> None:
        raise PermissionError

    with monkeypatch.context() as patched:
        patched.setattr(os, "kill", refuse)
        assert main([str(other)]) == 77


def test_without_a_socket_nothing_is_signalled(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(RELOAD_VARIABLE, raising=False)
    hangups: list[int] = []
    before = signal.signal(signal.SIGHUP, lambda *_: hangups.append(1))
    try:
        with pytest.raises(FlagError, match=RELOAD_VARIABLE):
            main([str(os.getpid())])
    finally:
        signal.signal(signal.SIGHUP, before)
    assert hangups == []


@pytest.mark.parametrize("word", ["0", "1", "-5", "x", ""])
def test_a_group_of_processes_is_none(path: str, word: str):
    with pytest.raises(SystemExit) as ended:
        main(["--", word])
    assert ended.value.code == 64
