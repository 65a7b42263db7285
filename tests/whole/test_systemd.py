"""Under a service manager: what it hears of a whole life, sockets that it holds, credentials that it hands over."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic

import pytest

from tests.whole.conftest import SECRET
from tests.whole.process import ROOT, Hookward, Output, environment
from tests.whole.recorder import RecordingUpstream
from tests.whole.wire import PATIENCE_S, Client, github, once, request

BODY = b'{"zen":"Mind your words, they are important."}'
ASK = request("POST", "/", {}, BODY)
Start = Callable[..., Hookward]


class Manager:
    """Stands for systemd: the datagrams it gets, with the process that sent each, as the kernel says."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(path)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._socket.settimeout(PATIENCE_S)
        self.watchdogs: set[int] = set()

    def hear(self) -> tuple[int, dict[str, str]]:
        """Who says what next, watchdogs apart."""
        while True:
            data, ancillary, *_ = self._socket.recvmsg(4096, socket.CMSG_SPACE(12))
            said = dict(line.split("=", 1) for line in data.decode().split("\n"))
            who = int.from_bytes(ancillary[0][2][:4], sys.byteorder)
            if said != {"WATCHDOG": "1"}:
                return who, said
            self.watchdogs.add(who)

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    one = Manager(str(tmp_path / "notify"))
    yield one
    one.close()


def ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def end(pid: int) -> None:
    os.kill(pid, signal.SIGTERM)
    deadline = monotonic() + PATIENCE_S
    while not ended(pid):
        assert monotonic() < deadline, f"{pid} does not end"
        os.sched_yield()


@pytest.mark.skipif(not hasattr(socket, "SO_PASSCRED"), reason="credentials of datagrams are Linux's")
@pytest.mark.parametrize("workers", [1, 2])
def test_it_hears_of_a_whole_life(
    start: Start, manager: Manager, upstream: RecordingUpstream, tmp_path: Path, workers: int
) -> None:
    path = tmp_path / "hookward.toml"
    path.write_text(f'listen = ["127.0.0.1:0"]\nupstream = "{upstream.url}"\nworkers = {workers}\nopen = true\n')
    env = {"NOTIFY_SOCKET": manager.path, "WATCHDOG_USEC": "1000000"}
    hookward = start("--config", path, env=env)
    old = hookward.pid
    who, said = manager.hear()
    assert (who, said["READY"]) == (old, "1")
    assert said["STATUS"].startswith(f"configuration 1 with 1 route on 127.0.0.1:{hookward.port}")

    hookward.signal(signal.SIGHUP)
    before = manager.hear()
    after = manager.hear()
    assert (before[0], before[1]["RELOADING"], int(before[1]["MONOTONIC_USEC"]) > 0) == (old, "1", True)
    assert (after[0], after[1]["READY"]) == (old, "1")
    assert after[1]["STATUS"].startswith("configuration 2")
    assert manager.watchdogs <= {old}

    whole = path.read_text()
    path.write_text("no_such_key = 1\n" + whole)
    hookward.signal(signal.SIGHUP)
    assert manager.hear()[1]["RELOADING"] == "1"
    assert "the last reload was refused" in manager.hear()[1]["STATUS"]
    path.write_text(whole)

    # The old process names the new one, and only then does that speak: nobody else would be believed.
    hookward.signal(signal.SIGUSR2)
    who, said = manager.hear()
    assert (who, list(said)) == (old, ["MAINPID"])
    new = int(said["MAINPID"])
    who, said = manager.hear()
    assert (who, said["READY"]) == (new, "1")
    assert hookward.process.wait(PATIENCE_S) == 0
    end(new)
    assert manager.hear() == (new, {"STOPPING": "1", "STATUS": "draining"})


def test_a_worker_that_hangs_is_replaced_where_there_is_a_watchdog(
    start: Start, manager: Manager, upstream: RecordingUpstream
) -> None:
    env = {"NOTIFY_SOCKET": manager.path, "WATCHDOG_USEC": "500000"}
    hookward = start("--listen", "127.0.0.1:0", "--upstream", upstream.url, "--open", "--workers", 2, env=env)
    children = Path(f"/proc/{hookward.pid}/task/{hookward.pid}/children")
    hung = int(children.read_text().split()[0])
    os.kill(hung, signal.SIGSTOP)
    assert hookward.said("has said nothing for")
    assert hookward.said("died (signal 9), another one is started")


def test_credentials_are_secrets(start: Start, upstream: RecordingUpstream, tmp_path: Path) -> None:
    (tmp_path / "github").write_bytes(SECRET)
    path = tmp_path / "hookward.toml"
    path.write_text(
        f'listen = ["127.0.0.1:0"]\nupstream = "{upstream.url}"\n[route.a]\npath = "/"\nprovider = "github"\n'
        'secrets = ["cred:github"]\n'
    )
    hookward = start("--config", path, env={"CREDENTIALS_DIRECTORY": str(tmp_path)}, secrets=[SECRET])
    assert once(hookward.address, request("POST", "/", github(SECRET, BODY), BODY)).status == 200


ACTIVATE = shutil.which("systemd-socket-activate")


@pytest.mark.skipif(ACTIVATE is None, reason="systemd-socket-activate is not installed")
@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_connection_that_starts_it_is_served_and_a_restart_loses_none(
    upstream: RecordingUpstream, workers: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = probe.getsockname()
    assert ACTIVATE is not None
    env = environment()
    passed = [f"-E{name}={env[name]}" for name in ("PYTHONPATH", "HOOKWARD_LOOP") if name in env]
    flags = ["--listen", "fd:hookward", "--upstream", upstream.url, "--open", "--workers", workers]
    process = subprocess.Popen(
        [
            *(ACTIVATE, f"--listen={address[0]}:{address[1]}", "--fdname=hookward", *passed),
            *(sys.executable, "-m", "proxy", *flags),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=env,
        cwd=ROOT,
    )
    err = Output(process.stderr)
    new = 0
    try:
        assert err.wait(lambda lines: any("Listening on" in line for line in lines)), err.text
        assert once(address, ASK).status == 200
        process.send_signal(signal.SIGUSR2)
        found = err.wait(lambda lines: re.search(r"upgraded: process (\d+) has taken over", "\n".join(lines)))
        assert found, err.text
        new = int(found[1])
        assert process.wait(PATIENCE_S) == 0
        assert once(address, ASK).status == 200
    finally:
        if new:
            end(new)
        elif process.poll() is None:
            process.terminate()
        process.wait(PATIENCE_S)
        err.finish()
    assert "Traceback" not in err.text


def test_a_held_socket_keeps_who_knocks_through_a_restart(upstream: RecordingUpstream) -> None:
    """As systemd does it: the socket is ours, the service comes and goes."""
    with socket.create_server(("127.0.0.1", 0)) as held:
        address = held.getsockname()
        os.set_inheritable(held.fileno(), True)
        script = 'exec 3<&"$0" && LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=hookward exec "$@"'
        command = [
            *("bash", "-c", script, str(held.fileno()), sys.executable, "-m", "proxy", "--listen", "fd:hookward"),
            *("--upstream", upstream.url, "--open"),
        ]
        for _ in range(2):
            waiting: list[int] = []
            with Client(address) as client:
                thread = threading.Thread(target=lambda c=client, w=waiting: w.append(c.ask(ASK).status))
                thread.start()  # nobody serves yet
                process = subprocess.Popen(
                    command, close_fds=False, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                    env=environment(), cwd=ROOT,
                )  # fmt: skip
                err = Output(process.stderr)
                thread.join(PATIENCE_S)
            process.terminate()
            assert process.wait(PATIENCE_S) == 0
            err.finish()
            assert waiting == [200], err.text


NO_NEW_CODE = """
import ctypes, os, sys
PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN = 65, 1
if ctypes.CDLL(None).prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0):
    sys.exit(75)
os.execv(sys.executable, [sys.executable, "-c", sys.argv[1]])
"""
WORK = """
import asyncio, ssl, sqlite3
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from proxy.ops.process import loop_factory
key = Ed25519PrivateKey.generate()
key.public_key().verify(key.sign(b"x"), b"x")
ssl.create_default_context()
with asyncio.Runner(loop_factory=loop_factory("")) as runner:
    runner.run(asyncio.sleep(0))
print("all of it works")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="prctl(2) is Linux's")
def test_no_part_of_it_makes_code() -> None:
    """What MemoryDenyWriteExecute=yes of the units forbids, forbidden by the kernel itself."""
    done = subprocess.run(
        [sys.executable, "-c", NO_NEW_CODE, WORK],
        capture_output=True, text=True, timeout=PATIENCE_S, env=environment(), cwd=ROOT, check=False,
    )  # fmt: skip
    if done.returncode == 75:
        pytest.skip("this kernel cannot forbid it (Linux 6.3)")
    assert (done.returncode, done.stdout) == (0, "all of it works\n"), done.stderr
