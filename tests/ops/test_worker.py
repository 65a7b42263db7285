"""One worker in this process: start, serve, reload, readiness, drain."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from proxy.config.load import load
from proxy.config.settings import Loaded
from proxy.errors import ConfigError
from proxy.net.access_log import AccessLog, JsonLines, NoLog, TextLines
from proxy.net.sockets import AddressInUseError
from proxy.ops.worker import Worker, open_access_log

BODY = b'{"zen":"Design for failure."}'


@pytest.fixture(autouse=True)
def quiet() -> None:
    logging.getLogger("proxy").setLevel(logging.INFO)


class Stage:
    """An upstream that says "ok", a configuration file, and a worker made from it."""

    def __init__(self, folder: Path, upstream_port: int) -> None:
        self.path = folder / "hookward.toml"
        self.log = folder / "access.log"
        self.upstream_port = upstream_port
        self.write("")

    def write(self, more: str, *, listen: str = '["127.0.0.1:0"]', top: str = "") -> None:
        self.path.write_text(
            f'listen = {listen}\nupstream = "http://127.0.0.1:{self.upstream_port}"\naccess_log = "{self.log}"\n'
            f'drain = "5s"\n{top}\n[route.hooks]\npath = "/hooks"\nopen = true\n{more}\n'
        )

    def load(self, generation: int = 1) -> Loaded:
        return load(["--config", str(self.path)], {}, generation=generation)

    def worker(self) -> Worker:
        return Worker(self.load(), self.load, {})

    def lines(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]


async def answer_ok(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0] or b"0")
            await reader.readexactly(length)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            if b"Connection: close" in head:
                writer.close()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[tuple[Stage, Worker]]:
    upstream = await asyncio.start_server(answer_ok, "127.0.0.1", 0)
    stage = Stage(folder, upstream.sockets[0].getsockname()[1])
    worker = stage.worker()
    task = asyncio.get_running_loop().create_task(worker.run())
    try:
        async with asyncio.timeout(30):
            await until(lambda: worker._doors.open or task.done())
            yield stage, worker
            worker.stop()
            await task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        upstream.close()
        await upstream.wait_closed()


def address(worker: Worker, index: int = 0) -> tuple[str, int]:
    host, _, port = str(worker._doors.open[index].bound).rpartition(":")
    return host, int(port)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what changes it tells nobody
            await asyncio.sleep(0)


async def ask(where: tuple[str, int], path: str = "/hooks", method: str = "POST") -> tuple[int, bytes]:
    reader, writer = await asyncio.open_connection(*where)
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(BODY)}\r\nConnection: close\r\n\r\n"
    writer.write(head.encode() + BODY)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return int(answer.split(b" ")[1]), answer


def play(folder: Path, scene: Callable[[Stage, Worker], Awaitable[None]]) -> None:
    async def main() -> None:
        async with running(folder) as (stage, worker):
            await scene(stage, worker)

    asyncio.run(main())


def test_it_serves_logs_and_says_where(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    async def scene(stage: Stage, worker: Worker) -> None:
        where = address(worker)
        assert (await ask(where))[0] == 200
        assert (await ask(where, "/other"))[0] == 404

    play(tmp_path, scene)
    said = capsys.readouterr().err
    assert "listening on 127.0.0.1:" in said
    assert "route hooks: POST /hooks" in said
    lines = [json.loads(line) for line in (tmp_path / "access.log").read_text().splitlines()]
    assert [line["webhook.reason"] for line in lines] == ["delivered", "path_not_matched"]


def test_a_reload_is_taken_over_as_a_whole(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    async def scene(stage: Stage, worker: Worker) -> None:
        where = address(worker)
        stage.write('[route.more]\npath = "/more"\nopen = true', listen='["127.0.0.1:0"]', top="workers = 2")
        worker.reload()
        assert worker.site.policy.generation == 2
        assert address(worker) == where
        assert (await ask(where, "/more"))[0] == 200
        assert b'hookward_reloads_total{result="done"} 1' in worker.expose()
        assert b"hookward_policy_generation 2" in worker.expose()

    with caplog.at_level(logging.INFO, "proxy"):
        play(tmp_path, scene)
    assert "reloaded: configuration 2, 2 route(s)" in caplog.text
    assert "workers changes only with a restart" in caplog.text


@pytest.mark.parametrize("flaw", ["no_such_key = 1", "taken"])
def test_a_reload_that_fails_changes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture, flaw: str):
    async def scene(stage: Stage, worker: Worker) -> None:
        where = address(worker)
        with socket.create_server(("127.0.0.1", 0)) as taken:
            if flaw == "taken":
                stage.write("", listen=f'["127.0.0.1:0", "127.0.0.1:{taken.getsockname()[1]}"]')
            else:
                stage.write(flaw)
            worker.reload()
        assert worker.site.policy.generation == 1
        assert [address(worker)] == [where]
        assert (await ask(where))[0] == 200
        assert b'hookward_reloads_total{result="refused"} 1' in worker.expose()

    with caplog.at_level(logging.INFO, "proxy"):
        play(tmp_path, scene)
    assert "the old configuration stays in force" in caplog.text


def test_a_reload_opens_and_closes_listeners_and_forwards(tmp_path: Path):
    async def scene(stage: Stage, worker: Worker) -> None:
        tcp = f'[tcp.raw]\nlisten = "127.0.0.1:0"\nupstream = "127.0.0.1:{stage.upstream_port}"\n'
        stage.write(tcp + 'allow = ["127.0.0.1"]')
        worker.reload()
        assert [door.wanted.name for door in worker._doors.open] == ["", "raw"]
        raw = address(worker, 1)
        assert (await ask(raw))[0] == 200
        stage.write(tcp + 'allow = ["192.0.2.1"]')
        worker.reload()
        assert address(worker, 1) == raw
        with pytest.raises((ConnectionError, IndexError)):
            await ask(raw)
        stage.write("")
        worker.reload()
        with pytest.raises(ConnectionError):
            await ask(raw)

    play(tmp_path, scene)


def test_a_reload_moves_the_access_log(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    async def scene(stage: Stage, worker: Worker) -> None:
        where = address(worker)
        await ask(where)
        stage.log = tmp_path / "missing" / "second.log"
        stage.write("")
        worker.reload()
        await ask(where)
        stage.log = tmp_path / "third.log"
        stage.write("")
        worker.reload()
        await ask(where)

    with caplog.at_level(logging.ERROR, "proxy"):
        play(tmp_path, scene)
    assert "second.log cannot be opened" in caplog.text
    assert [len((tmp_path / name).read_text().splitlines()) for name in ("access.log", "third.log")] == [2, 1]


def test_readiness_names_what_fails(tmp_path: Path):
    async def scene(stage: Stage, worker: Worker) -> None:
        assert worker.not_ready() == []
        stage.upstream_port = 1
        stage.write("")
        worker.reload()
        assert (await ask(address(worker)))[0] == 502
        assert worker.not_ready() == ["no upstream accepts connections"]
        worker._doors.stop()
        worker.stop()
        assert worker.not_ready()[:2] == ["draining", "no listener"]

    play(tmp_path, scene)


def test_a_drain_lets_the_exchange_end_and_a_reload_does_nothing_then(tmp_path: Path):
    async def scene(stage: Stage, worker: Worker) -> None:
        where = address(worker)
        reader, writer = await asyncio.open_connection(*where)
        writer.write(b"POST /hooks HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n123")
        await until(lambda: worker.site.in_flight)
        worker.stop()
        worker.reload()
        assert worker.site.policy.generation == 1
        await until(lambda: not worker._doors.open)
        with pytest.raises(ConnectionError):
            await asyncio.open_connection(*where)
        writer.write(b"45")
        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        writer.close()

    play(tmp_path, scene)


def test_a_second_signal_cuts(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    async def scene(stage: Stage, worker: Worker) -> None:
        reader, writer = await asyncio.open_connection(*address(worker))
        writer.write(b"POST /hooks HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n123")
        await until(lambda: worker.site.in_flight)
        worker.stop()
        worker.stop()
        with suppress(ConnectionError):
            assert not (await reader.read()).startswith(b"HTTP/1.1 2")
        writer.close()

    with caplog.at_level(logging.WARNING, "proxy"):
        play(tmp_path, scene)
    assert "1 connection(s) were cut" in caplog.text


def test_an_address_in_use_ends_the_start(tmp_path: Path):
    stage = Stage(tmp_path, 1)

    async def main() -> None:
        await stage.worker().run()

    with socket.create_server(("127.0.0.1", 0)) as taken:
        stage.write("", listen=f'["127.0.0.1:0", "127.0.0.1:{taken.getsockname()[1]}"]')
        with pytest.raises(AddressInUseError):
            asyncio.run(main())


@pytest.mark.parametrize(
    ("flags", "kind", "formatter"),
    [
        (["--access-log", "off"], NoLog, None),
        (["--log-format", "json"], AccessLog, JsonLines),
        (["--log-format", "text"], AccessLog, TextLines),
        ([], AccessLog, JsonLines),
    ],
)
def test_the_access_log_that_is_asked_for(flags: list[str], kind: type, formatter: type | None):
    async def main() -> None:
        settings = load(["--listen", ":0", "--upstream", "127.0.0.1:1", *flags], {}).settings
        log = open_access_log(settings, asyncio.get_running_loop())
        assert isinstance(log, kind)
        if isinstance(log, AccessLog):
            assert isinstance(log._format, formatter)
        log.close()

    asyncio.run(main())


def test_a_log_that_cannot_be_opened_is_a_problem_of_the_configuration(tmp_path: Path):
    async def main() -> None:
        flags = ["--listen", ":0", "--upstream", "127.0.0.1:1", "--access-log", str(tmp_path / "no" / "a.log")]
        with pytest.raises(ConfigError, match="cannot be opened"):
            open_access_log(load(flags, {}).settings, asyncio.get_running_loop())

    asyncio.run(main())
