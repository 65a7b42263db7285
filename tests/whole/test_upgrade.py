"""A new process takes over the sockets of the old one, or does not and nobody notices; alone and with workers."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from time import monotonic

import pytest

from tests.whole.process import Hookward
from tests.whole.recorder import RecordingUpstream
from tests.whole.wire import PATIENCE_S, Client, once, request

BODY = b'{"zen":"Half measures are as bad as nothing at all."}'
ASK = request("POST", "/", {}, BODY)
Start = Callable[..., Hookward]

if not Path("/proc/self/stat").exists():
    pytest.skip("the new process is watched through /proc", allow_module_level=True)


class NewProcess:
    """The process that took over, which is no child of ours."""

    def __init__(self, hookward: Hookward) -> None:
        found = hookward.err.wait(lambda lines: re.search(r"upgraded: process (\d+) has taken", "\n".join(lines)))
        assert found, hookward.err.text
        self.pid = int(found[1])

    @property
    def runs(self) -> bool:
        try:
            return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except OSError:
            return False

    def end(self) -> None:
        os.kill(self.pid, signal.SIGTERM)
        deadline = monotonic() + PATIENCE_S
        while self.runs:
            assert monotonic() < deadline, "the new process does not end"
            os.sched_yield()


@pytest.fixture
def path(tmp_path: Path, upstream: RecordingUpstream) -> Path:
    path = tmp_path / "hookward.toml"
    path.write_text(
        f'listen = ["127.0.0.1:0", "unix:{tmp_path}/in.sock"]\nupstream = "{upstream.url}"\n'
        'admin = "127.0.0.1:0"\n[route.a]\npath = "/"\nopen = true\n'
    )
    return path


@pytest.mark.parametrize("workers", [1, 2])
def test_nothing_is_lost_and_the_old_one_ends_by_itself(start: Start, path: Path, workers: int) -> None:
    hookward = start("--config", path, "--workers", workers, listeners=3)
    unix, admin = hookward.addresses[1:3]
    with Client(hookward.address) as open_before:
        assert open_before.ask(ASK).status == 200
        hookward.signal(signal.SIGUSR2)
        new = NewProcess(hookward)
        try:
            for where in (hookward.address, unix):
                assert once(where, ASK).status == 200
            assert hookward.process.poll() is None, "the old one waits for its connections"
            answer = open_before.ask(ASK)
            assert (answer.status, answer.get(b"Connection")) == (200, b"close")
            assert hookward.process.wait(PATIENCE_S) == 0
            assert Path(unix).exists()
            assert once(unix, ASK).status == 200
            shown = once(admin, request("GET", "/metrics", host="localhost")).content
            assert b"hookward_policy_generation 1\n" in shown
        finally:
            new.end()
    assert not Path(unix).exists()


@pytest.mark.parametrize("workers", [1, 2])
def test_one_that_cannot_start_changes_nothing(start: Start, path: Path, workers: int) -> None:
    hookward = start("--config", path, "--workers", workers, listeners=3)
    with Client(hookward.address) as client:
        assert client.ask(ASK).status == 200
        path.write_text(path.read_text() + "\nno_such_key = 1\n")
        hookward.signal(signal.SIGUSR2)
        assert hookward.said("upgrade failed, this process goes on: the new one ended with exit code 78")
        answer = client.ask(ASK)
        assert (answer.status, answer.get(b"Connection")) == (200, None)
    assert once(hookward.addresses[1], ASK).status == 200
    assert hookward.stop() == 0
