"""Resource exhaustion, D1 to D12 of the threat model, on real sockets: slow and many, large and endless.

One process for all that may share it. Genuine deliveries go on in each case.
"""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from time import monotonic

import pytest

from tests.whole.process import Hookward
from tests.whole.recorder import RecordingUpstream
from tests.whole.stage import KEY, delivery
from tests.whole.wire import Client, ClosedError, github, once, request, turned_away

CONFIG = """
listen = ["127.0.0.1:0"]
upstream = "{upstream}"

[limits]
max_connections = 50
max_connections_per_address = 40
reserved_share = 20
max_exchanges = 20
max_requests_per_connection = 3
head_timeout = "{deadline}"
body_timeout = "{deadline}"
keepalive_timeout = "{deadline}"
write_timeout = "{deadline}"
max_body = "64KiB"

[route.github]
path = "/github"
provider = "github"
secrets = ["file:{folder}/github.secret"]
allow = ["127.0.0.1"]

[route.guest]
path = "/guest"
provider = "github"
secrets = ["file:{folder}/github.secret"]

[route.rated]
path = "/rated"
provider = "github"
secrets = ["file:{folder}/github.secret"]
rate = "6/m"
burst = 2
"""
STRANGER = "127.0.0.2"
SIGNED = github(KEY, b"{}")


class Bounded:
    """A hookward with small bounds."""

    def __init__(self, hookward: Hookward, upstream: RecordingUpstream) -> None:
        self.hookward, self.upstream = hookward, upstream
        self.address = hookward.address

    def client(self, source: str = "127.0.0.1") -> Client:
        return Client(self.address, source=source)

    def goes_on(self) -> None:
        assert once(self.address, delivery()).status == 200

    def recovers(self) -> None:
        """Places are free again as soon as closed connections have been noticed."""
        deadline = monotonic() + 10
        while True:
            with suppress(ConnectionError, ClosedError), self.client() as client:
                if client.ask(delivery()).status == 200:
                    return
            assert monotonic() < deadline, "still full"


@contextmanager
def started(folder: Path, deadline: str) -> Iterator[Bounded]:
    secret, config = folder / "github.secret", folder / "hookward.toml"
    secret.write_bytes(KEY)
    secret.chmod(0o600)
    with RecordingUpstream() as upstream:
        config.write_text(CONFIG.format(upstream=upstream.url, folder=folder, deadline=deadline))
        hookward = Hookward("--config", str(config), secrets=[KEY])
        try:
            yield Bounded(hookward, upstream)
        finally:
            hookward.stop()


@pytest.fixture(scope="module")
def bounded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bounded]:
    """With deadlines that tests wait for."""
    with started(tmp_path_factory.mktemp("bounded"), "1s") as one:
        yield one


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bounded]:
    """With deadlines that no test reaches, for those that count what is open: a busy machine takes seconds for it."""
    with started(tmp_path_factory.mktemp("patient"), "60s") as one:
        yield one


def late(client: Client, since: float) -> tuple[int, str, float]:
    """How a slow one is told, and after how long."""
    answer = client.answer()
    assert answer.get(b"Connection") == b"close"
    client.ended()
    return answer.status, answer.word, monotonic() - since


def test_d1_d2_slow_heads_and_bodies_have_one_deadline_each(bounded: Bounded) -> None:
    head = request("POST", "/github", SIGNED | {"Transfer-Encoding": "chunked"})
    begun = {
        "head": (b"POST /github HTTP/1.1\r\nX-A: ", b"a", "head_timeout"),
        "body": (request("POST", "/github", SIGNED | {"Content-Length": "1000"}), b"x", "body_timeout"),
        "chunk size": (head, b"0", "body_timeout"),
        "chunk": (head + b"400\r\n", b"x", "body_timeout"),
        "trailer": (head + b"0\r\nX-A: ", b"a", "body_timeout"),
    }
    with ExitStack() as stack:
        started = monotonic()
        slow = {name: stack.enter_context(bounded.client()).send(case[0]) for name, case in begun.items()}
        silent = stack.enter_context(bounded.client())
        # A byte now and then moves no deadline. Not so many that a chunk's size would be too long.
        while monotonic() - started < 0.8:
            silent.sock.settimeout(0.1)
            with pytest.raises(TimeoutError):
                silent.sock.recv(1)
            for name, (_, byte, _) in begun.items():
                slow[name].send(byte)
        silent.sock.settimeout(5)
        assert silent.ended() == b"", "who says nothing is told nothing"
        for name, (_, _, word) in begun.items():
            status, told, after = late(slow[name], started)
            assert (name, status, told) == (name, 408, word)
            assert after < 4
    bounded.goes_on()


def test_d4_strangers_leave_a_share_to_listed_addresses(patient: Bounded) -> None:
    with ExitStack() as stack:
        strangers = [stack.enter_context(patient.client(f"127.0.0.{2 + i % 2}")) for i in range(40)]
        assert turned_away(patient.address, source=STRANGER) == "reset"
        listed = [stack.enter_context(patient.client()) for _ in range(10)]
        assert listed[-1].ask(delivery()).status == 200
        assert turned_away(patient.address) == "reset", "the cap on all holds for everybody"
        assert strangers[0].ask(delivery(target="/guest")).status == 200
    patient.recovers()


def test_requests_of_one_connection_are_bounded(patient: Bounded) -> None:
    with patient.client() as client:
        kept = [client.ask(delivery()).get(b"Connection") for _ in range(3)]
        assert kept == [None, None, b"close"]
        assert client.ended() == b""


def test_a_rate_is_kept_for_each_address(patient: Bounded) -> None:
    with patient.client() as client:
        answers = [client.ask(delivery(target="/rated")) for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 429]
    assert answers[2].word == "rate_limited"
    assert answers[2].get(b"Retry-After") == b"10"
    with patient.client(STRANGER) as other:
        assert other.ask(delivery(target="/rated")).status == 200
    patient.goes_on()


def test_exchanges_are_bounded_and_listed_addresses_have_a_share(patient: Bounded) -> None:
    with ExitStack() as stack:
        for _ in range(16):
            stack.enter_context(patient.client(STRANGER)).send(delivery(target="/guest")[:-1])
        # All of them have been read when a later one on a connection of its own is answered.
        answer = once_from(patient, STRANGER, delivery(target="/guest"))
        assert (answer.status, answer.word, answer.get(b"Retry-After")) == (503, "overloaded", b"5")
        patient.goes_on()
    patient.goes_on()


def once_from(bounded: Bounded, source: str, data: bytes):
    with bounded.client(source) as client:
        return client.ask(data)


@pytest.mark.parametrize(
    ("data", "status", "word"),
    [
        pytest.param(b"POST /" + b"a" * 9000, 414, "target_too_long", id="d5_target"),
        pytest.param(b"POST /github HTTP/1.1\r\nHost: a\r\n" + b"X-A: b\r\n" * 3000, 431, "head_too_large", id="d5_d7"),
        pytest.param(b"POST /github HTTP/1.1\r\nX: " + b"a" * 102_400, 431, "head_too_large", id="d5_100_kib_head"),
        pytest.param(
            request("POST", "/github", SIGNED | {"Transfer-Encoding": "chunked"}) + b"1\r\nx\r\n" * 8192,
            400,
            "bad_request",
            id="d6_one_byte_chunks",
        ),
        pytest.param(
            request("POST", "/github", SIGNED | {"Transfer-Encoding": "chunked"}) + b"1;a=b\r\nx\r\n" * 4096,
            400,
            "bad_request",
            id="d6_extensions",
        ),
        pytest.param(
            request("POST", "/github", SIGNED | {"Content-Length": "65537", "Expect": "100-continue"}),
            413,
            "body_too_large",
            id="d8_declared",
        ),
        pytest.param(
            request("POST", "/github", SIGNED | {"Transfer-Encoding": "chunked"}) + b"10001\r\n",
            413,
            "body_too_large",
            id="d8_chunk",
        ),
    ],
)
def test_too_much_is_told_at_once(bounded: Bounded, data: bytes, status: int, word: str) -> None:
    with bounded.client() as client:
        answer = client.ask(data)
        assert (answer.status, answer.word, answer.interim) == (status, word, [])
    bounded.goes_on()


def test_d11_without_descriptors_accepting_pauses_and_recovers(upstream: RecordingUpstream, tmp_path: Path) -> None:
    """A real limit of the process: 40 files. Who is there is served, who comes waits, and comes in when one leaves."""
    secret = tmp_path / "github.secret"
    secret.write_bytes(KEY)
    flags = ["--listen", "127.0.0.1:0", "--upstream", upstream.url, "--provider", "github", "--head-timeout", "30s"]
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    hookward = Hookward(*flags, "--secret-file", str(secret), prefix=["prlimit", "--nofile=40:40"])
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == before
    try:
        assert "LimitNOFILE" in hookward.err.text
        with ExitStack() as stack:
            first = stack.enter_context(Client(hookward.address))
            assert first.ask(delivery(target="/")).status == 200
            crowd = [stack.enter_context(Client(hookward.address)) for _ in range(60)]
            assert hookward.said("cannot accept (Too many open files): new connections wait")
            assert first.ask(delivery(target="/")).status == 200, "its upstream connection is open"
            waiting = stack.enter_context(Client(hookward.address)).send(delivery(target="/"))
            for one in crowd:
                one.sock.close()
            assert waiting.answer().status == 200
        with Client(hookward.address) as again:
            assert again.ask(delivery(target="/")).status == 200
        said = [line for line in hookward.err.lines if "cannot accept" in line]
        assert len(said) < 10, "once a second is enough"
    finally:
        hookward.stop()


def test_d12_who_vanishes_leaves_no_descriptor(bounded: Bounded) -> None:
    bounded.goes_on()
    whole = delivery(content=b"x" * 30_000)

    def files() -> int:
        return len(list(Path(f"/proc/{bounded.hookward.pid}/fd").iterdir()))

    for cut in (1, 60, 400, 20_000, len(whole) - 1, len(whole)):
        with bounded.client() as client:
            client.send(whole[:cut])
            client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    bounded.goes_on()
    deadline = monotonic() + 10
    while files() > 30:
        assert monotonic() < deadline, "descriptors stay open"
        bounded.goes_on()


def test_numbers_of_files_are_raised_as_far_as_they_may_be(upstream: RecordingUpstream) -> None:
    script = "import resource, sys; from proxy.ops.process import raise_descriptor_limit; "
    script += "from proxy.config.load import load; "
    script += "server = load(['--listen', '127.0.0.1:0', '--upstream', '1'], {}).policy.server; "
    script += "raise_descriptor_limit(server.max_connections, server.max_exchanges); "
    script += "print(resource.getrlimit(resource.RLIMIT_NOFILE))"
    command = ["prlimit", "--nofile=256:4096", sys.executable, "-c", script]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2], env=os.environ
    )
    assert done.stdout == "(4096, 4096)\n"
