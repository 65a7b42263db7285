"""Duplicates over real processes: restarts, several processes that share a store, a store that goes away."""

from __future__ import annotations

import itertools
import signal
import socket
import sqlite3
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.redis_server import RedisServer, needs_redis, running_redis
from tests.whole.conftest import SECRET
from tests.whole.process import Hookward
from tests.whole.recorder import RecordingUpstream
from tests.whole.wire import Answer, Client, github, once, request

Start = Callable[..., Hookward]
FAILED = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"
ACCEPTED = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"


def delivery(number: int = 1, content: bytes | None = None) -> bytes:
    content = b'{"n":%d}' % number if content is None else content
    return request("POST", "/", github(SECRET, content, delivery=f"d-{number}"), content)


def is_duplicate(answer: Answer, status: int = 200) -> bool:
    return (answer.status, answer.word, answer.get(b"Webhook-Duplicate")) == (
        status,
        "duplicate_delivered",
        b"delivered",
    )


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with TemporaryDirectory(prefix="hookward-redis-") as folder, running_redis(Path(folder)) as server:
        yield server


@pytest.fixture
def begin(start: Start, upstream: RecordingUpstream, secret_file: Path, tmp_path: Path) -> Start:
    """hookward with a route for GitHub that refuses what was delivered, and the flags given."""

    def one(*flags: object) -> Hookward:
        return start(
            *("--listen", "127.0.0.1:0", "--upstream", upstream.url, "--provider", "github"),
            *("--secret-file", secret_file, "--duplicates", "refuse-delivered", *flags),
            secrets=[SECRET],
        )

    return one


def sqlite_flags(tmp_path: Path) -> list[object]:
    return ["--duplicates-store", "sqlite", "--duplicates-path", tmp_path / "duplicates.sqlite3"]


class TestAlone:
    def test_a_replay_is_answered_and_logged(self, begin: Start, upstream: RecordingUpstream) -> None:
        hookward = begin()
        upstream.manner.answer = ACCEPTED
        with Client(hookward.address) as client:
            assert client.ask(delivery()).status == 202
            assert is_duplicate(client.ask(delivery()), 202)
            assert client.ask(delivery(2)).status == 202, "the connection lives on"
        [line] = hookward.logged({"webhook.reason": "duplicate_delivered"})
        assert (line["webhook.verdict"], line["http.response.status_code"]) == ("admitted", 202)
        assert line["severity"] == "INFO"
        assert len(upstream.complete) == 2

    def test_a_replay_under_another_id(self, begin: Start, upstream: RecordingUpstream) -> None:
        hookward = begin()
        assert once(hookward.address, delivery(1, b"{}")).status == 200
        assert is_duplicate(once(hookward.address, delivery(2, b"{}")))
        assert len(upstream.complete) == 1

    def test_what_failed_comes_again(self, begin: Start, upstream: RecordingUpstream) -> None:
        hookward = begin()
        upstream.manner.answer = FAILED
        assert once(hookward.address, delivery()).status == 500
        upstream.manner.answer = ACCEPTED
        assert once(hookward.address, delivery()).status == 202
        assert is_duplicate(once(hookward.address, delivery()), 202)

    @pytest.mark.parametrize("how", ["closes", "resets"])
    def test_an_impatient_sender_is_delivered_once(self, begin: Start, upstream: RecordingUpstream, how: str) -> None:
        """It hangs up and sends again, while the application is still at the first."""
        hookward = begin()
        upstream.manner.gate = threading.Event()
        with Client(hookward.address) as client:
            client.send(delivery())
            upstream.wait_complete()
            if how == "resets":
                client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if how == "resets":
            hookward.logged({"webhook.reason": "sender_gone"})
        with Client(hookward.address) as again:
            again.send(delivery())
            upstream.manner.gate.set()
            assert is_duplicate(again.answer())
        assert len(upstream.seen) == 1

    def test_a_large_body_that_streams(self, begin: Start, upstream: RecordingUpstream) -> None:
        hookward = begin()
        big = delivery(1, b"x" * (2 << 20))
        assert once(hookward.address, big).status == 200
        assert is_duplicate(once(hookward.address, big))
        upstream.wait(lambda me: all(one.complete or one.broken_off for one in me.seen))
        assert len(upstream.complete) == 1

    def test_a_redelivery_passes_where_only_flight_counts(
        self, start: Start, upstream: RecordingUpstream, secret_file: Path
    ) -> None:
        hookward = start(
            *("--listen", "127.0.0.1:0", "--upstream", upstream.url, "--provider", "github"),
            *("--secret-file", secret_file, "--duplicates", "in-flight"),
        )
        assert [once(hookward.address, delivery()).status for _ in range(2)] == [200, 200]
        assert len(upstream.complete) == 2


class TestFile:
    def test_it_survives_a_restart(self, begin: Start, upstream: RecordingUpstream, tmp_path: Path) -> None:
        flags = sqlite_flags(tmp_path)
        hookward = begin(*flags)
        assert once(hookward.address, delivery()).status == 200
        hookward.signal(signal.SIGTERM)
        assert hookward.wait() == 0
        hookward = begin(*flags)
        assert is_duplicate(once(hookward.address, delivery()))
        assert once(hookward.address, delivery(2)).status == 200
        assert len(upstream.complete) == 2

    def test_and_the_death_of_a_process(self, begin: Start, upstream: RecordingUpstream, tmp_path: Path) -> None:
        flags = sqlite_flags(tmp_path)
        hookward = begin(*flags)
        assert once(hookward.address, delivery()).status == 200
        with closing(sqlite3.connect(tmp_path / "duplicates.sqlite3")) as database:
            while not database.execute("SELECT 1 FROM deliveries WHERE status = 200").fetchall():
                pass
        hookward.process.kill()
        hookward.wait()
        hookward = begin(*flags)
        assert is_duplicate(once(hookward.address, delivery()))
        assert len(upstream.complete) == 1

    def test_what_was_under_way_at_the_end_may_come_again(
        self, begin: Start, upstream: RecordingUpstream, tmp_path: Path
    ) -> None:
        flags = sqlite_flags(tmp_path)
        hookward = begin(*flags, "--drain", "0s")
        upstream.manner.gate = threading.Event()
        with Client(hookward.address) as client:
            client.send(delivery())
            upstream.wait_complete()
            hookward.signal(signal.SIGTERM)
            assert hookward.wait() == 0
        upstream.manner.gate.set()
        hookward = begin(*flags)
        assert once(hookward.address, delivery()).status == 200
        assert len(upstream.complete) == 2

    def test_two_processes_share_it(self, begin: Start, upstream: RecordingUpstream, tmp_path: Path) -> None:
        check_two_processes(begin, upstream, sqlite_flags(tmp_path))

    def test_workers_share_it(self, begin: Start, upstream: RecordingUpstream, tmp_path: Path) -> None:
        upstream.manner.answer = ACCEPTED
        check_race([begin(*sqlite_flags(tmp_path), "--workers", "2")] * 2, upstream)

    def test_a_file_that_cannot_be_used_is_told_at_the_start(
        self, upstream: RecordingUpstream, secret_file: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "duplicates.sqlite3").write_text("no database " * 100)
        with pytest.raises(AssertionError, match="cannot be used"):
            Hookward(
                *("--listen", "127.0.0.1:0", "--upstream", upstream.url, "--provider", "github"),
                *("--secret-file", str(secret_file), "--duplicates", "refuse-delivered"),
                *map(str, sqlite_flags(tmp_path)),
            )


@needs_redis
class TestRedis:
    def test_two_processes_share_it(self, begin: Start, upstream: RecordingUpstream, redis: RedisServer) -> None:
        check_two_processes(begin, upstream, ["--duplicates-store", "redis", "--duplicates-url", redis.url])

    def test_while_it_is_down_each_process_goes_by_its_own_memory(
        self, begin: Start, upstream: RecordingUpstream, redis: RedisServer
    ) -> None:
        hookward = begin("--duplicates-store", "redis", "--duplicates-url", redis.url)
        assert once(hookward.address, delivery(1)).status == 200
        redis.stop()
        assert once(hookward.address, delivery(2)).status == 200
        assert is_duplicate(once(hookward.address, delivery(1)))
        assert is_duplicate(once(hookward.address, delivery(2)))
        assert hookward.said("the store of duplicates fails")
        redis.start()
        numbers = itertools.count(3)
        while "answers again" not in hookward.err.text:
            assert once(hookward.address, delivery(next(numbers))).status == 200
        assert len(upstream.complete) == next(numbers) - 1

    def test_or_refuses(self, begin: Start, upstream: RecordingUpstream, redis: RedisServer) -> None:
        flags = ["--duplicates-store", "redis", "--duplicates-url", redis.url, "--duplicates-on-error", "refuse"]
        hookward = begin(*flags)
        redis.stop()
        answer = once(hookward.address, delivery())
        assert (answer.status, answer.word) == (503, "overloaded")
        assert answer.get(b"Retry-After")
        [line] = hookward.logged({"webhook.reason": "overloaded"})
        assert line["webhook.detail"] == "duplicates_store"
        assert upstream.complete == []
        redis.start()

    def test_a_password_is_never_shown(self, begin: Start, tmp_path: Path) -> None:
        with running_redis(tmp_path, "--requirepass", "hunter2") as server:
            for word, count in (("hunter2", 0), ("hunter3", 1)):
                (tmp_path / "redis.url").write_text(f"{server.url}?password={word}")
                (tmp_path / "redis.url").chmod(0o600)
                hookward = begin("--duplicates-store", "redis", "--duplicates-url", f"file:{tmp_path}/redis.url")
                hookward.secrets += [b"hunter"]
                assert once(hookward.address, delivery()).status == 200
                assert hookward.stop() == 0
                assert hookward.err.text.count("the store of duplicates fails") == count


def check_two_processes(begin: Start, upstream: RecordingUpstream, flags: list[object]) -> None:
    one, other = begin(*flags), begin(*flags)
    assert once(one.address, delivery(1)).status == 200
    assert is_duplicate(once(other.address, delivery(1)))
    # Failed here, and then sent again there.
    upstream.manner.answer = FAILED
    assert once(one.address, delivery(2)).status == 500
    upstream.manner.answer = ACCEPTED
    assert once(other.address, delivery(2)).status == 202
    assert is_duplicate(once(one.address, delivery(2)), 202)
    # In flight here, and sent again there: it waits.
    upstream.manner.gate = threading.Event()
    with Client(one.address) as first, Client(other.address) as second:
        first.send(delivery(3))
        upstream.wait_complete(4)
        second.send(delivery(3))
        upstream.manner.gate.set()
        assert first.answer().status == 202
        assert is_duplicate(second.answer(), 202)
    assert len(upstream.complete) == 4
    upstream.manner.gate = None
    check_race([one, other], upstream)


def check_race(processes: list[Hookward], upstream: RecordingUpstream) -> None:
    """The same deliveries at all of them at once: each one reaches the upstream once, and everybody gets its 2xx."""
    upstream.forget()
    numbers = range(100, 130)
    answers: list[Answer] = []

    def send(hookward: Hookward) -> None:
        with Client(hookward.address) as client:
            answers.extend(client.ask(delivery(number)) for number in numbers)

    threads = [threading.Thread(target=send, args=(hookward,)) for hookward in processes * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answer.status for answer in answers] == [202] * len(numbers) * 4
    ids = [one.get(b"X-GitHub-Delivery") for one in upstream.complete]
    assert sorted(map(str, ids)) == sorted(str(b"d-%d" % number) for number in numbers)
