"""Two hookwards, as on two hosts, with one Redis: the real command, and an application that counts what arrives."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from time import monotonic, sleep

import pytest

from tests.redis_server import RedisServer, needs_redis, running_redis

pytest.importorskip("redis")
pytestmark = needs_redis
PATIENCE_S = 40.0
DURABLE = ("--appendonly", "yes", "--appendfsync", "always")
CONFIG = """
listen = ["127.0.0.1:{port}"]
upstream = "http://127.0.0.1:{application}"
workers = 1
admin = "unix:{folder}/admin"
[queue]
store = "redis"
url = "{url}"
[route.hook]
path = "/hook"
deliver = "queue"
concurrency = 3
retry = {{ first = "100ms", most = "1s" }}
token = {{ header = "X-Token", secrets = ["file:{folder}/token"] }}
"""
TOKEN = "a-token-that-is-long-enough-0123456789"


@dataclass
class Application:
    """Counts each body. While ``open`` is not set, what it has taken gets no answer."""

    got: Counter[str] = field(default_factory=Counter)
    open: Event = field(default_factory=Event)
    held: int = 0
    port: int = 0


@contextmanager
def application() -> Iterator[Application]:
    app = Application()
    app.open.set()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            app.got[self.rfile.read(int(self.headers["Content-Length"])).decode()] += 1
            app.open.wait(PATIENCE_S)
            with suppress(OSError):
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    app.port = server.server_address[1]
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield app
    finally:
        app.open.set()
        server.shutdown()
        server.server_close()


@dataclass
class Hookward:
    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def send(self, body: str) -> int:
        """What the sender is told; 0 where it is told nothing."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        try:
            connection.request("POST", "/hook", body.encode(), {"X-Token": TOKEN})
            return connection.getresponse().status
        except (OSError, HTTPException):
            return 0
        finally:
            connection.close()

    def signal(self, number: int) -> None:
        os.killpg(self.process.pid, number)


@contextmanager
def hookward(folder: Path, redis: RedisServer, app: Application) -> Iterator[Hookward]:
    folder.mkdir()
    (folder / "token").write_text(TOKEN)
    (folder / "token").chmod(0o600)
    with HTTPPort() as port:
        config = folder / "hookward.toml"
    config.write_text(CONFIG.format(port=port, application=app.port, folder=folder, url=redis.url))
    log = folder / "log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "proxy", "run", "--config", str(config)],
            stdout=file, stderr=file, stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
    one = Hookward(process, port, log)
    try:
        until(lambda: process.poll() is not None or one.send("probe") == 202, log)
        yield one
    finally:
        with suppress(ProcessLookupError):
            one.signal(signal.SIGKILL)
        process.wait(PATIENCE_S)


class HTTPPort:
    """A port that was free a moment ago."""

    def __enter__(self) -> int:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
        return self._server.server_address[1]

    def __exit__(self, *_: object) -> None:
        self._server.server_close()


def until(condition: Callable[[], object], log: Path | None = None) -> None:
    deadline = monotonic() + PATIENCE_S
    while not condition():
        assert monotonic() < deadline, log.read_text() if log is not None else "too long"
        sleep(0.02)  # what is waited for is another process's, and tells nobody


@contextmanager
def two(folder: Path) -> Iterator[tuple[Hookward, Hookward, Application, RedisServer]]:
    with ExitStack() as stack:
        server = stack.enter_context(running_redis(folder, *DURABLE))
        app = stack.enter_context(application())
        one = stack.enter_context(hookward(folder / "one", server, app))
        until(lambda: app.got["probe"])  # the lane is its
        other = stack.enter_context(hookward(folder / "other", server, app))
        until(lambda: app.got["probe"] == 2)
        yield one, other, app, server


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_what_one_held_is_delivered_by_the_other(tmp_path: Path, how: int) -> None:
    with two(tmp_path) as (one, other, app, _):
        app.open.clear()
        told = [
            f"{sender.port}-{n}"
            for n in range(10)
            for sender in (one, other)
            if sender.send(f"{sender.port}-{n}") == 202
        ]
        assert len(told) == 20
        until(lambda: sum(app.got[name] for name in told) == 3)  # concurrency, of both together
        under_way = {name for name in told if app.got[name]}
        one.signal(how)
        app.open.set()
        until(lambda: all(app.got[name] for name in told) and all(app.got[name] == 2 for name in under_way), other.log)
        if how == signal.SIGSTOP:
            one.signal(signal.SIGCONT)
            until(lambda: one.send("awake") == 202 and app.got["awake"], one.log)
        assert {name: app.got[name] for name in told if app.got[name] != 1} == dict.fromkeys(under_way, 2)


def test_nothing_told_2xx_is_lost_when_redis_is_killed(tmp_path: Path) -> None:
    with two(tmp_path) as (one, other, app, server):
        told: dict[str, int] = {}

        def load(sender: Hookward, name: str) -> None:
            for n in range(200):
                told[f"{name}-{n}"] = sender.send(f"{name}-{n}")

        threads = [
            Thread(target=load, args=(sender, f"{sender.port}.{n}")) for sender in (one, other) for n in range(2)
        ]
        for thread in threads:
            thread.start()
        until(lambda: sum(status == 202 for status in list(told.values())) > 100)
        server.kill()
        until(lambda: sum(status == 503 for status in list(told.values())) > 10)
        server.start()
        for thread in threads:
            thread.join(PATIENCE_S)
        assert set(told.values()) == {202, 503}
        accepted = [name for name, status in told.items() if status == 202]
        until(lambda: all(app.got[name] for name in accepted), one.log)
        again = [name for name in accepted if app.got[name] > 1]
        assert len(again) <= 2 * 3, "only what was under way"
