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

    def __init__(self, folder: Path, upstream: RecordingUpstream, env: dict[str, str] | None = None) -> None:
        self.path = folder / "hookward.toml"
        self.upstream = upstream
        self.write()
        self.hookward = Hookward("--config", str(self.path), listeners=2, env=env)
        self.address, self.admin = self.hookward.addresses[:2]

    def write(self, more: str = "", top: str = "workers = 2", port: int = 0) -> None:
        self.path.write_text(
            f'listen = ["127.0.0.1:{port}"]\nadmin = "127.0.0.1:0"\nupstream = "{self.upstream.url}"\ndrain = "5s"\n'
            f'{top}\n[route.hooks]\npath = "/hooks"\nopen = true\n{more}\n'
        )

    @property
    def workers(self) -> set[int]:
        return children(self.hookward.pid)

    def status(self) -> int:
        return once(self.address, ASK).status

    def metric(self, name: str) -> float:
        text = once(self.admin, request("GET", "/metrics", host="localhost")).content.decode()
        return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(name))

    def signal(self, number: signal.Signals, *said: str) -> None:
        """Send a signal to the supervisor, and wait until it has said all this since."""
        err = self.hookward.err
        before = len(err.lines)
        self.hookward.signal(number)
        for text in said:
            assert err.wait(lambda lines, text=text: any(text in line for line in lines[before:])), err.text

    def wait_for_two(self, *, without: int = 0) -> None:
        until(lambda: len(self.workers) == 2 and without not in self.workers, "there are not two workers")
        until(lambda: self.metric('hookward_workers{state="serving"}') == 2, "two workers do not serve")


@pytest.fixture
def upstream() -> Iterator[RecordingUpstream]:
    with RecordingUpstream() as one:
        yield one


@pytest.fixture
def house(tmp_path: Path, upstream: RecordingUpstream) -> Iterator[House]:
    """One that may be ended."""
    one = House(tmp_path, upstream)
    yield one
    assert one.hookward.stop() in {0, 70}


@pytest.fixture(scope="module")
def shared_house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with RecordingUpstream() as upstream:
        one = House(tmp_path_factory.mktemp("house"), upstream)
        yield one
        assert one.hookward.stop() == 0


@pytest.fixture
def lasting(shared_house: House) -> Iterator[House]:
    """One for all tests of this file that leave it with two workers."""
    written = shared_house.path.read_text()
    yield shared_house
    shared_house.upstream.renew()
    if shared_house.path.read_text() != written:
        shared_house.path.write_text(written)
        shared_house.signal(signal.SIGHUP, "reloaded: configuration")
    shared_house.wait_for_two()


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


def test_two_workers_serve(lasting: House):
    assert len(lasting.workers) == 2
    assert lasting.metric('hookward_workers{state="serving"}') == 2
    assert b"ready\n" in once(lasting.admin, request("GET", "/readyz", host="localhost")).content


def test_their_numbers_are_shown_as_one(lasting: House):
    before = lasting.metric("hookward_exchanges_total")
    assert [lasting.status() for _ in range(6)] == [200] * 6
    assert lasting.metric("hookward_exchanges_total") == before + 6


def test_a_worker_that_is_killed_is_replaced_and_counted(lasting: House):
    exits = lasting.metric("hookward_worker_exits_total")
    victim = min(lasting.workers)
    os.kill(victim, signal.SIGKILL)
    lasting.wait_for_two(without=victim)
    assert lasting.hookward.said("died (signal 9), another one is started")
    assert lasting.metric("hookward_worker_exits_total") == exits + 1


def test_what_a_killed_worker_had_counted_stays(lasting: House):
    assert [lasting.status() for _ in range(6)] == [200] * 6
    counted = lasting.metric("hookward_exchanges_total")
    victim = min(lasting.workers)
    os.kill(victim, signal.SIGKILL)
    lasting.wait_for_two(without=victim)
    assert lasting.metric("hookward_exchanges_total") >= counted


def test_a_connection_that_waits_is_not_lost_with_a_worker(lasting: House):
    victim = min(lasting.workers)
    os.kill(victim, signal.SIGSTOP)
    waiting = [Client(lasting.address).send(ASK) for _ in range(8)]
    os.kill(victim, signal.SIGKILL)
    answers = []
    for client in waiting:
        with client:
            try:
                answers.append(client.answer().status)
            except (ClosedError, ConnectionResetError):
                answers.append(0)  # the killed worker had accepted it
    assert set(answers) <= {0, 200}
    lasting.wait_for_two(without=victim)


def test_a_worker_that_an_operator_ends_is_replaced_without_alarm(lasting: House):
    exits = lasting.metric("hookward_worker_exits_total")
    victim = min(lasting.workers)
    os.kill(victim, signal.SIGTERM)
    lasting.wait_for_two(without=victim)
    assert lasting.metric("hookward_worker_exits_total") == exits


def test_a_reload_replaces_both_workers(lasting: House):
    before, done = lasting.workers, lasting.metric('hookward_reloads_total{result="done"}')
    lasting.write('[route.more]\npath = "/more"\nopen = true')
    lasting.signal(signal.SIGHUP, ", 2 route(s)")
    assert once(lasting.address, request("POST", "/more", {}, BODY)).status == 200
    until(lambda: not lasting.workers & before, "the workers before are still there")
    assert lasting.metric('hookward_reloads_total{result="done"}') == done + 1


def test_a_connection_that_is_open_at_a_reload_has_its_answer(lasting: House):
    with Client(lasting.address) as open_before:
        assert open_before.ask(ASK).status == 200
        lasting.signal(signal.SIGHUP, "reloaded: configuration")
        answer = open_before.ask(ASK)
        assert (answer.status, answer.get(b"Connection")) == (200, b"close")


@pytest.mark.parametrize(
    ("why", "more", "top"),
    [
        ("no_such_key", "no_such_key = 1", ""),
        ("another process does", '[tcp.a]\nlisten = "127.0.0.1:TAKEN"\nupstream = "127.0.0.1:9"', ""),
        ("cannot be opened", "", 'access_log = "/nowhere/a.log"'),
    ],
    ids=["key", "address", "log"],
)
def test_a_reload_that_is_refused_changes_nothing(lasting: House, why: str, more: str, top: str):
    before, refused = lasting.workers, lasting.metric('hookward_reloads_total{result="refused"}')
    with socket.create_server(("127.0.0.1", 0)) as taken:
        lasting.write(more.replace("TAKEN", str(taken.getsockname()[1])), f"workers = 2\n{top}")
        lasting.signal(signal.SIGHUP, "reload refused, the old configuration stays in force", why)
    until(lambda: lasting.workers == before, "other workers than before")
    assert lasting.metric('hookward_reloads_total{result="refused"}') == refused + 1
    assert lasting.metric("hookward_last_reload_successful") == 0
    assert lasting.status() == 200


def test_a_reload_may_ask_for_fewer_workers(lasting: House):
    lasting.write(top="workers = 1")
    lasting.signal(signal.SIGHUP, "reloaded: configuration")
    until(lambda: len(lasting.workers) == 1, "there are still two workers")
    assert lasting.status() == 200


def test_the_log_is_reopened_by_all(lasting: House):
    lasting.signal(signal.SIGUSR1, "reopened the access log")
    assert lasting.status() == 200


def test_the_end_waits_for_an_exchange_under_way(house: House):
    house.upstream.manner.gate = gate = threading.Event()
    with Client(house.address) as busy:
        busy.send(ASK)
        house.upstream.wait_complete()
        house.signal(signal.SIGTERM, "draining: 1 connection(s) open")
        gate.set()
        assert busy.answer().status == 200
    assert house.hookward.wait() == 0


def sockets(pid: int) -> set[str]:
    links = [str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()]
    return {link for link in links if link.startswith("socket:")}


def listening() -> set[str]:
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {f"socket:[{row[9]}]" for row in rows if row[3] == "0A"}


def test_a_worker_has_nothing_of_its_supervisor_but_the_sockets_to_serve(tmp_path: Path, upstream: RecordingUpstream):
    """What a fork hands on, its owner cannot end: a port, a channel, systemd's socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify.sock"))
        house = House(tmp_path, upstream, {"NOTIFY_SOCKET": str(tmp_path / "notify.sock")})
        try:
            with socket.create_server(("127.0.0.1", 0)) as probe:
                port = probe.getsockname()[1]
            before = house.workers
            # Forked in the middle of a change, when the supervisor holds the sockets of both configurations.
            house.write(port=port)
            house.signal(signal.SIGHUP, "reloaded: configuration")
            until(lambda: not house.workers & before, "the workers before are still there")
            served = sockets(house.hookward.pid) & listening()
            assert len(served) == 2
            workers = list(map(sockets, house.workers))
            assert len(workers) == 2
            for mine in workers:
                assert mine & sockets(house.hookward.pid) == mine & listening() == served
            assert workers[0] & workers[1] == served
            with pytest.raises(ConnectionRefusedError):
                Client(house.address)
        finally:
            assert house.hookward.stop() == 0


def test_a_worker_that_is_started_during_an_upgrade_has_nothing_of_it(house: House):
    """The new process waits for the end of a channel; a worker that held it open would keep it waiting."""
    before = house.workers
    house.signal(signal.SIGUSR2, "upgrading: process")
    [new] = house.workers - before
    os.kill(new, signal.SIGSTOP)
    victim = min(before)
    os.kill(victim, signal.SIGKILL)
    until(lambda: house.workers - before - {new}, "no worker came for the killed one")
    until(lambda: house.metric('hookward_workers{state="serving"}') == 2, "two workers do not serve")
    # Known once it serves: what is forked may be seen before it is a worker.
    [fresh] = house.workers - before - {new}
    held = sockets(house.hookward.pid)
    assert sockets(fresh) & held == held & listening()
    os.kill(new, signal.SIGKILL)
    assert house.hookward.said("upgrade failed, this process goes on")


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


def test_a_worker_that_is_killed_while_it_starts_is_replaced(upstream: RecordingUpstream):
    """Whatever ends it, such as a want of memory: the other one serves on."""
    argv = ["--listen", "127.0.0.1:0", "--upstream", upstream.url, "--workers", "2", "--open"]
    command = [sys.executable, "-m", "proxy", *argv]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment(), cwd=ROOT) as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        until(lambda: len(children.read_text().split()) == 2, "there are not two workers")
        os.kill(int(children.read_text().split()[1]), signal.SIGKILL)
        assert process.stderr is not None
        lines = iter(process.stderr)
        assert any("listening on" in line for line in lines)
        process.send_signal(signal.SIGTERM)
        assert "no worker can be started" not in "".join(lines)
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("flags", "code", "said"),
    [
        (["--access-log", "/nowhere/access.log"], 78, "no worker can be started: the end, with exit code 78"),
        (["--listen", "TAKEN"], 69, "another process does"),
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
    assert len(re.findall("another process does", done.stderr)) <= 1
