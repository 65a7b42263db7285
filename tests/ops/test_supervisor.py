"""Several workers as the kernel and the operator see them: kills, reloads, failures, the end. Real processes."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic

import pytest

from tests.whole.process import ROOT, Hookward, environment
from tests.whole.recorder import RecordingUpstream
from tests.whole.wire import PATIENCE_S, Client, ClosedError, once, request

if not Path("/proc/self/task").exists():
    pytest.skip("workers are found through /proc", allow_module_level=True)

BODY = b'{"zen":"Keep it logically awesome."}'
ASK = request("POST", "/hooks", {}, BODY)


def children(pid: int) -> set[int]:
    return set(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


def until(condition: Callable[[], object], what: str) -> None:
    deadline = monotonic() + PATIENCE_S
    while not condition():
        assert monotonic() < deadline, what
        os.sched_yield()


class House:
    """Two workers behind one configuration file, with an admin listener."""

    def __init__(self, folder: Path, upstream: RecordingUpstream) -> None:
        self.path = folder / "hookward.toml"
        self.upstream = upstream
        self.write()
        self.hookward = Hookward("--config", str(self.path), listeners=2)
        self.address, self.admin = self.hookward.addresses[:2]

    def write(self, more: str = "", top: str = "workers = 2") -> None:
        self.path.write_text(
            f'listen = ["127.0.0.1:0"]\nadmin = "127.0.0.1:0"\nupstream = "{self.upstream.url}"\ndrain = "5s"\n{top}\n'
            f'[route.hooks]\npath = "/hooks"\nopen = true\n{more}\n'
        )

    @property
    def workers(self) -> set[int]:
        return children(self.hookward.pid)

    def status(self) -> int:
        return once(self.address, ASK).status

    def metric(self, name: str) -> float:
        text = once(self.admin, request("GET", "/metrics", host="localhost")).content.decode()
        return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(name))

    def said_times(self, text: str, times: int) -> bool:
        return bool(self.hookward.err.wait(lambda lines: sum(text in line for line in lines) >= times))


@pytest.fixture
def upstream() -> Iterator[RecordingUpstream]:
    with RecordingUpstream() as one:
        yield one


@pytest.fixture
def house(tmp_path: Path, upstream: RecordingUpstream) -> Iterator[House]:
    one = House(tmp_path, upstream)
    yield one
    assert one.hookward.stop() in {0, 70}


def test_nobody_waits_at_a_door_that_is_not_opened_again(house: House, upstream: RecordingUpstream):
    upstream.manner.gate = threading.Event()
    with Client(house.address) as busy:
        busy.send(ASK)
        upstream.wait_complete()
        house.hookward.signal(signal.SIGTERM)

        def refused() -> bool:
            try:
                Client(house.address).sock.close()
            except ConnectionRefusedError:
                return True
            return False

        until(refused, "connections are still taken, and nobody serves them")
        upstream.manner.gate.set()
        assert busy.answer().status == 200
    assert house.hookward.wait() == 0


def test_reloads_kills_and_numbers(house: House):
    """One long day: what is slow is the start, so it is had once."""
    first = house.workers
    assert len(first) == 2
    assert [house.status() for _ in range(6)] == [200] * 6
    assert house.metric("hookward_exchanges_total") == 6
    assert house.metric('hookward_workers{state="serving"}') == 2
    assert b"ready\n" in once(house.admin, request("GET", "/readyz", host="localhost")).content

    # A worker that is killed is replaced; what it had counted stays, and no connection that waits is lost.
    victim = min(first)
    os.kill(victim, signal.SIGSTOP)
    knocking = [Client(house.address).send(ASK) for _ in range(8)]
    os.kill(victim, signal.SIGKILL)
    answers = []
    for client in knocking:
        with client:
            try:
                answers.append(client.answer().status)
            except (ClosedError, ConnectionResetError):
                answers.append(0)
    assert set(answers) <= {0, 200}
    until(lambda: len(house.workers) == 2 and victim not in house.workers, "no worker came for the killed one")
    assert house.hookward.said("died (signal 9), another one is started")
    until(lambda: house.metric('hookward_workers{state="serving"}') == 2, "two workers do not serve")
    assert house.metric("hookward_exchanges_total") >= 6
    assert house.metric("hookward_worker_exits_total") == 1

    # A worker that an operator ends is replaced as well, without a word of alarm.
    victim = min(house.workers)
    os.kill(victim, signal.SIGTERM)
    until(lambda: len(house.workers) == 2 and victim not in house.workers, "no worker came for the ended one")

    # A reload replaces both; a connection that was open has its answer, and hears that it was the last.
    before = house.workers
    with Client(house.address) as open_before:
        assert open_before.ask(ASK).status == 200
        house.write('[route.more]\npath = "/more"\nopen = true')
        house.hookward.signal(signal.SIGHUP)
        assert house.hookward.said("reloaded: configuration 2, 2 route(s)")
        assert not children(house.hookward.pid) <= before
        assert once(house.address, request("POST", "/more", {}, BODY)).status == 200
        answer = open_before.ask(ASK)
        assert (answer.status, answer.get(b"Connection")) == (200, b"close")
    until(lambda: not house.workers & before, "the workers before are still there")
    assert house.metric('hookward_reloads_total{result="done"}') == 1

    # Each of these is refused as a whole, and changes nothing.
    before = house.workers
    with socket.create_server(("127.0.0.1", 0)) as taken:
        door = f'[tcp.a]\nlisten = "127.0.0.1:{taken.getsockname()[1]}"\nupstream = "127.0.0.1:9"'
        flaws = [
            ("no_such_key", "no_such_key = 1", ""),
            ("somebody else does", door, ""),
            ("cannot be opened", "", 'access_log = "/nowhere/a.log"'),
        ]
        for times, (word, more, top) in enumerate(flaws, 1):
            house.write(more, top=f"workers = 2\n{top}")
            house.hookward.signal(signal.SIGHUP)
            assert house.said_times("reload refused, the old configuration stays in force", times)
            assert house.hookward.said(word)
    assert house.workers == before
    assert house.metric('hookward_reloads_total{result="refused"}') == 3
    assert house.metric("hookward_last_reload_successful") == 0
    assert house.status() == 200

    # Fewer workers, then an end that waits for who is busy.
    house.write(top="workers = 1")
    house.hookward.signal(signal.SIGHUP)
    house.hookward.signal(signal.SIGUSR1)
    assert house.said_times("reloaded: configuration", 2)
    assert house.hookward.said("reopened the access log")
    until(lambda: len(house.workers) == 1, "there are still two workers")
    house.upstream.manner.gate = gate = threading.Event()
    seen = len(house.upstream.complete)
    with Client(house.address) as busy:
        busy.send(ASK)
        house.upstream.wait_complete(seen + 1)
        house.hookward.signal(signal.SIGTERM)
        assert house.hookward.said("draining: 1 connection(s) open")
        gate.set()
        assert busy.answer().status == 200
    assert house.hookward.wait() == 0


def test_a_second_signal_stops_now(house: House):
    house.upstream.manner.when = "never"
    with Client(house.address) as busy:
        busy.send(ASK)
        house.upstream.wait_complete()
        house.hookward.signal(signal.SIGINT)
        assert house.hookward.said("draining: 1")
        house.hookward.signal(signal.SIGINT)
        assert house.hookward.wait() == 0
    assert house.hookward.said("1 connection(s) were cut")


def test_workers_do_not_outlive_their_supervisor(house: House):
    workers = house.workers
    house.hookward.signal(signal.SIGKILL)
    assert house.hookward.process.wait(PATIENCE_S) == -signal.SIGKILL
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), "workers are left")
    assert house.hookward.said("the supervisor is gone: draining")
    house.hookward.process.returncode = 0


def start(*argv: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "proxy", "--listen", "127.0.0.1:0", "--upstream", "127.0.0.1:1", "--open", *argv],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        env=environment(env),
        cwd=ROOT,
        check=False,
    )


@pytest.mark.parametrize(
    ("flags", "code", "said"),
    [
        (["--access-log", "/nowhere/access.log"], 78, "no worker can be started: the end, with exit code 78"),
        (["--listen", "TAKEN"], 69, "somebody else does"),
        (["--tls-cert", __file__], 78, "certificate"),
    ],
    ids=["log", "address", "certificate"],
)
def test_what_cannot_start_says_why_once(flags: list[str], code: int, said: str):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        done = start("--workers", "2", *(flag.replace("TAKEN", where) for flag in flags))
    assert done.returncode == code
    assert said in done.stderr
    assert "listening on" not in done.stderr
    assert "Traceback" not in done.stderr
    assert len(re.findall("somebody else does", done.stderr)) <= 1
