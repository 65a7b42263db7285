"""A worker at the other end of a channel, in this process."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest

from proxy.config.set_shelf import SetShelf
from proxy.errors import ConfigError
from proxy.ops import supervised
from proxy.ops.places import SocketStore, places_of
from proxy.ops.supervised import SupervisedWorker
from proxy.ops.worker import Leave
from proxy.ops.worker_processes import Lines, Message, WorkerPlan, encode
from tests.ops.staging import Stage, ask, staged

TALLIED = {"hookward_exchanges_in_flight": [[[], 42]]}


class Supervisor:
    """The other end."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._lines = Lines()
        self._messages: list[Message] = []

    async def hear(self, kind: str) -> Message:
        """The next message of that kind; others are passed over."""
        loop = asyncio.get_running_loop()
        while True:
            while self._messages:
                message = self._messages.pop(0)
                if message["kind"] == kind:
                    return message
            data = await loop.sock_recv(self._channel, 65536)
            assert data, f"the channel ended before {kind}"
            self._messages += self._lines.feed(data)

    def say(self, kind: str, **fields: object) -> None:
        self._channel.sendall(encode(kind, **fields))

    def close(self) -> None:
        self._channel.close()


Scene = Callable[[Stage, Supervisor, tuple[str, int]], Awaitable[None]]


def play(folder: Path, scene: Scene, *, top: str = "") -> None:
    async def main() -> None:
        async with staged(folder) as stage, asyncio.timeout(30):
            stage.write("", top=top)
            loaded = stage.load()
            held = SocketStore({}).take(places_of(loaded.settings))
            copy = held[0][1].sock.dup()
            ours, theirs = socket.socketpair()
            ours.setblocking(False)
            supervisor = Supervisor(ours)
            worker = SupervisedWorker(WorkerPlan(loaded, held), SetShelf())
            task = asyncio.get_running_loop().create_task(worker.run(theirs))
            try:
                await supervisor.hear("serves")
                await scene(stage, supervisor, copy.getsockname())
                await task
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                supervisor.close()
                copy.close()

    asyncio.run(main())


@pytest.fixture(autouse=True)
def quiet() -> None:
    logging.getLogger("proxy").setLevel(logging.INFO)


def test_it_serves_counts_and_leaves_when_told(tmp_path: Path):
    async def scene(stage: Stage, supervisor: Supervisor, where: tuple[str, int]) -> None:
        assert (await ask(where))[0] == 200
        supervisor.say("count", number=7)
        counted = await supervisor.hear("counted")
        assert counted["number"] == 7
        assert sum(value for _, value in counted["metrics"]["hookward_exchanges_total"]) == 1
        supervisor.say("reopen")
        supervisor.say("no such word")
        supervisor.say("leave", how=Leave.RETIRE)
        await supervisor.hear("left")
        last = await supervisor.hear("metrics")
        assert sum(value for _, value in last["metrics"]["hookward_exchanges_total"]) == 1

    play(tmp_path, scene)


@pytest.mark.parametrize(("how", "served"), [(Leave.STOP, True), (Leave.NOW, False)])
def test_other_ways_to_leave(tmp_path: Path, caplog: pytest.LogCaptureFixture, how: Leave, served: bool):
    async def scene(_stage: Stage, supervisor: Supervisor, where: tuple[str, int]) -> None:
        reader, writer = await asyncio.open_connection(*where)
        writer.write(b"POST /hooks HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n123")
        supervisor.say("count", number=1)
        while not sum(n for _, n in (await supervisor.hear("counted"))["metrics"]["hookward_exchanges_in_flight"]):
            supervisor.say("count", number=1)
        supervisor.say("leave", how=how)
        await supervisor.hear("left")
        writer.write(b"45")
        answer = b""
        with suppress(ConnectionError):
            answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n") == served
        writer.close()

    play(tmp_path, scene)
    assert ("1 connection(s) were cut" in caplog.text) != served


def test_its_numbers_come_by_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(supervised, "BEAT_S", 0.01)

    async def scene(_stage: Stage, supervisor: Supervisor, _where: tuple[str, int]) -> None:
        for _ in range(3):
            await supervisor.hear("metrics")
        supervisor.say("leave", how=Leave.STOP)

    play(tmp_path, scene)


@pytest.fixture
def free() -> int:
    """A port for the admin listener."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def test_the_admin_listener_shows_those_of_all(tmp_path: Path, free: int):
    async def scene(stage: Stage, supervisor: Supervisor, _where: tuple[str, int]) -> None:
        loop = asyncio.get_running_loop()
        asking = loop.create_task(ask(("127.0.0.1", free), "/metrics", "GET"))
        question = await supervisor.hear("ask")
        supervisor.say("total", number=99, metrics={})
        supervisor.say("total", number=question["number"], metrics=TALLIED)
        status, answer = await asking
        assert status == 200
        assert b"hookward_exchanges_in_flight 42\n" in answer
        supervisor.say("leave", how=Leave.STOP)

    play(tmp_path, scene, top=f'admin = "127.0.0.1:{free}"')


def test_a_supervisor_that_does_not_answer_is_said(tmp_path: Path, free: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(supervised, "GATHER_S", 0.01)

    async def scene(stage: Stage, supervisor: Supervisor, _where: tuple[str, int]) -> None:
        assert (await ask(("127.0.0.1", free), "/metrics", "GET"))[0] == 503
        supervisor.say("leave", how=Leave.STOP)

    play(tmp_path, scene, top=f'admin = "127.0.0.1:{free}"')


def test_without_a_supervisor_it_drains(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    async def scene(_stage: Stage, supervisor: Supervisor, _where: tuple[str, int]) -> None:
        supervisor.close()

    play(tmp_path, scene)
    assert "the supervisor is gone: draining" in caplog.text


def test_a_supervisor_that_talks_nonsense_is_none(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    async def scene(_stage: Stage, supervisor: Supervisor, _where: tuple[str, int]) -> None:
        supervisor._channel.sendall(b"nonsense\n")
        await supervisor.hear("left")

    play(tmp_path, scene)
    assert "the supervisor is not understood" in caplog.text


def test_sigterm_for_one_worker_retires_it(tmp_path: Path):
    async def scene(_stage: Stage, supervisor: Supervisor, _where: tuple[str, int]) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        await supervisor.hear("left")

    play(tmp_path, scene)


def test_what_cannot_begin_is_raised(tmp_path: Path):
    stage = Stage(tmp_path, 1)
    stage.log = tmp_path / "missing" / "access.log"
    stage.write("")
    ours, theirs = socket.socketpair()
    with ours, theirs, pytest.raises(ConfigError, match="cannot be opened"):
        supervised.main(0, WorkerPlan(stage.load(), []), SetShelf(), theirs, None)
