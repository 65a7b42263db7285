"""One worker in this process: start, serve, readiness, and the degrees of its end."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from proxy.config.load import load
from proxy.core.metrics import Snapshot
from proxy.core.record import ExchangeRecord
from proxy.errors import ConfigError
from proxy.net.log_formats import JsonLines, TextLines
from proxy.net.sockets import AddressInUseError
from proxy.ops.admin import PARTS
from proxy.ops.places import SocketStore
from proxy.ops.worker import Leave, Worker, open_access_log
from tests.ops.staging import Stage, address, ask, staged, until


@pytest.fixture(autouse=True)
def quiet() -> None:
    logging.getLogger("proxy").setLevel(logging.INFO)


@asynccontextmanager
async def running(folder: Path, **options: object) -> AsyncIterator[tuple[Stage, Worker]]:
    async with staged(folder) as stage:
        worker = Worker(stage.load(), SocketStore({}), **options)
        await worker.open()

        async def live() -> None:
            try:
                await worker.serve()
            finally:
                await worker.close()

        task = asyncio.get_running_loop().create_task(live())
        try:
            async with asyncio.timeout(30):
                yield stage, worker
                worker.leave(Leave.STOP)
                await task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def play(folder: Path, scene: Callable[[Stage, Worker], Awaitable[None]], **options: object) -> None:
    async def main() -> None:
        async with running(folder, **options) as (stage, worker):
            await scene(stage, worker)

    asyncio.run(main())


def test_it_serves_and_logs(tmp_path: Path):
    async def scene(stage: Stage, worker: Worker) -> None:
        where = address(worker)
        assert (await ask(where))[0] == 200
        assert (await ask(where, "/other"))[0] == 404
        await until(lambda: len(stage.lines()) == 2)
        assert [line["webhook.reason"] for line in stage.lines()] == ["delivered", "path_not_matched"]
        assert b'reason="delivered"' in await worker.expose()

    play(tmp_path, scene)


def test_where_there_are_others_their_numbers_are_asked_for(tmp_path: Path):
    async def gather() -> Snapshot:
        return {"hookward_exchanges_in_flight": {(): 77}}

    async def scene(stage: Stage, worker: Worker) -> None:
        assert b"hookward_exchanges_in_flight 77\n" in await worker.expose()

    play(tmp_path, scene, gather=gather)


def test_readiness_names_what_fails(tmp_path: Path):
    async def scene(stage: Stage, worker: Worker) -> None:
        assert worker.not_ready() == {}
        stage.upstream_port = 1
        stage.write("")
        worker.change(stage.load(2))
        assert (await ask(address(worker)))[0] == 502
        assert worker.not_ready() == {"upstream": "no upstream accepts connections"}
        worker.listeners.stop()
        worker.leave(Leave.STOP)
        assert list(worker.not_ready()) == [part for part in PARTS if part not in {"relay", "queue"}]

    play(tmp_path, scene)


def test_a_drain_lets_the_exchange_end(tmp_path: Path):
    async def scene(stage: Stage, worker: Worker) -> None:
        where = address(worker)
        reader, writer = await asyncio.open_connection(*where)
        writer.write(b"POST /hooks HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n123")
        await until(lambda: worker.site.in_flight)
        worker.leave(Leave.STOP)
        await until(lambda: not worker.listeners.open)
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
        worker.leave(Leave.STOP)
        worker.leave(Leave.NOW)
        with suppress(ConnectionError):
            assert not (await reader.read()).startswith(b"HTTP/1.1 2")
        writer.close()

    with caplog.at_level(logging.WARNING, "proxy"):
        play(tmp_path, scene)
    assert "1 connection(s) were cut" in caplog.text


def test_who_retires_ends_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    async def scene(stage: Stage, worker: Worker) -> None:
        where = address(worker)
        reader, writer = await asyncio.open_connection(*where)
        await until(lambda: worker._slots.counters.open)
        worker.leave(Leave.RETIRE)
        await until(lambda: worker.site.draining)
        with pytest.raises(ConnectionError):
            await asyncio.open_connection(*where)
        # It was open without a request when the end began.
        writer.write(b"POST /hooks HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n12")
        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"\r\nConnection: close\r\n" in answer
        writer.close()

    with caplog.at_level(logging.INFO, "proxy"):
        play(tmp_path, scene)
    assert "retiring: 1 connection(s) open" in caplog.text
    assert "cut" not in caplog.text


def test_who_retires_can_still_be_stopped(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    async def scene(stage: Stage, worker: Worker) -> None:
        _, writer = await asyncio.open_connection(*address(worker))
        writer.write(b"POST /hooks HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n123")
        await until(lambda: worker.site.in_flight)
        worker.leave(Leave.RETIRE)
        await until(lambda: "retiring" in caplog.text)
        worker.leave(Leave.STOP)
        await until(lambda: "draining" in caplog.text)
        worker.leave(Leave.NOW)
        await until(lambda: not worker.site.in_flight)
        writer.close()

    with caplog.at_level(logging.INFO, "proxy"):
        play(tmp_path, scene)
    assert "1 connection(s) were cut" in caplog.text


def test_an_address_in_use_ends_the_start(tmp_path: Path):
    stage = Stage(tmp_path, 1)

    async def main() -> None:
        worker = Worker(stage.load(), SocketStore({}))
        try:
            await worker.open()
        finally:
            await worker.close()

    with socket.create_server(("127.0.0.1", 0)) as taken:
        stage.write("", listen=f'["127.0.0.1:0", "127.0.0.1:{taken.getsockname()[1]}"]')
        with pytest.raises(AddressInUseError):
            asyncio.run(main())


@pytest.mark.parametrize(
    ("flags", "writes", "formatter"),
    [
        (["--access-log", "off"], False, JsonLines),
        (["--log-format", "json"], True, JsonLines),
        (["--log-format", "text"], True, TextLines),
        ([], True, JsonLines),
    ],
)
async def test_the_access_log_that_is_asked_for(flags: list[str], writes: bool, formatter: type):
    settings = load(["--listen", ":0", "--upstream", "127.0.0.1:1", *flags], {}).settings
    log = open_access_log(settings, asyncio.get_running_loop())
    assert (log._sink is not None) is writes
    assert isinstance(log._format, formatter)
    log.write(ExchangeRecord("id", 0.0, "192.0.2.1", "192.0.2.1"))
    assert bool(log._gathered) is writes
    log._gathered.clear()
    log.reopen()
    assert (log.dropped, log.withheld) == (0, 0)
    log.close()


async def test_a_log_that_cannot_be_opened_is_a_problem_of_the_configuration(tmp_path: Path):
    flags = ["--listen", ":0", "--upstream", "127.0.0.1:1", "--access-log", str(tmp_path / "no" / "a.log")]
    with pytest.raises(ConfigError, match="create its folder"):
        open_access_log(load(flags, {}).settings, asyncio.get_running_loop())
