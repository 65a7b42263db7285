"""One process that serves by itself: banner, reload, what systemd hears. Its upgrade is in tests/whole."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from proxy.config.set_shelf import SetShelf
from proxy.config.settings import Loaded
from proxy.core.states import ServiceState
from proxy.ops import service as module
from proxy.ops.journal import Notifier
from proxy.ops.run_command import Solo
from proxy.ops.service import Launch
from tests.ops.staging import Stage, address, ask, staged, until


@pytest.fixture(autouse=True)
def quiet() -> None:
    logging.getLogger("proxy").setLevel(logging.INFO)


class Manager:
    """Stands for systemd: the datagrams that were sent to it."""

    def __init__(self, path: Path) -> None:
        self.address = str(path / "notify.sock")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.address)
        self._socket.setblocking(False)
        self.heard: list[dict[str, str]] = []

    def listen(self) -> list[dict[str, str]]:
        while True:
            try:
                data = self._socket.recv(4096)
            except BlockingIOError:
                return self.heard
            self.heard.append(dict(line.split("=", 1) for line in data.decode().split("\n")))

    def close(self) -> None:
        self._socket.close()


@asynccontextmanager
async def running(folder: Path, notifier: Notifier) -> AsyncIterator[tuple[Stage, Solo]]:
    async with staged(folder) as stage:
        solo = Solo(Launch(stage.load(), stage.load, {}, SetShelf(), notifier, None, "asyncio"))
        task = asyncio.get_running_loop().create_task(solo.run())
        try:
            async with asyncio.timeout(30):
                await until(lambda: solo.service.state is not ServiceState.STARTING or task.done())
                yield stage, solo
                solo.service.stop()
                await task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def reload(solo: Solo) -> None:
    solo.service.reload()
    await until(lambda: solo.service.state is not ServiceState.RELOADING)


def play(folder: Path, scene: Callable[[Stage, Solo], Awaitable[None]], notifier: Notifier | None = None) -> None:
    async def main() -> None:
        async with running(folder, notifier or Notifier()) as (stage, solo):
            await scene(stage, solo)

    asyncio.run(main())


def test_it_says_where_it_listens(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    async def scene(stage: Stage, solo: Solo) -> None:
        assert (await ask(address(solo.worker)))[0] == 200

    play(tmp_path, scene)
    said = capsys.readouterr().err
    assert "listening on 127.0.0.1:" in said
    assert "route hooks: POST /hooks" in said


def test_a_reload_is_taken_over_as_a_whole(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    async def scene(stage: Stage, solo: Solo) -> None:
        worker = solo.worker
        where = address(worker)
        stage.write('[route.more]\npath = "/more"\nopen = true', listen='["127.0.0.1:0"]', top="workers = 2")
        await reload(solo)
        assert worker.site.policy.generation == 2
        assert address(worker) == where
        assert (await ask(where, "/more"))[0] == 200
        assert b'hookward_reloads_total{result="done"} 1' in await worker.expose()
        assert b"hookward_policy_generation 2" in await worker.expose()

    with caplog.at_level(logging.INFO, "proxy"):
        play(tmp_path, scene)
    assert "reloaded: configuration 2, 2 route(s)" in caplog.text
    assert "workers changes only with a restart or an upgrade" in caplog.text


@pytest.mark.parametrize("flaw", ["no_such_key = 1", "taken"])
def test_a_reload_that_fails_changes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture, flaw: str):
    async def scene(stage: Stage, solo: Solo) -> None:
        worker = solo.worker
        where = address(worker)
        with socket.create_server(("127.0.0.1", 0)) as taken:
            if flaw == "taken":
                stage.write("", listen=f'["127.0.0.1:0", "127.0.0.1:{taken.getsockname()[1]}"]')
            else:
                stage.write(flaw)
            await reload(solo)
        assert worker.site.policy.generation == 1
        assert [address(worker)] == [where]
        assert (await ask(where))[0] == 200
        shown = await worker.expose()
        assert b'hookward_reloads_total{result="refused"} 1' in shown
        assert b"hookward_last_reload_successful 0" in shown

    with caplog.at_level(logging.INFO, "proxy"):
        play(tmp_path, scene)
    assert "the old configuration stays in force" in caplog.text


def test_a_reload_opens_and_closes_listeners_and_forwards(tmp_path: Path):
    async def scene(stage: Stage, solo: Solo) -> None:
        worker = solo.worker
        tcp = f'[tcp.raw]\nlisten = "127.0.0.1:0"\nupstream = "127.0.0.1:{stage.upstream_port}"\n'
        stage.write(tcp + 'allow = ["127.0.0.1"]')
        await reload(solo)
        assert [listener.spec.name for listener in worker.listeners.open] == ["", "raw"]
        raw = address(worker, 1)
        assert (await ask(raw))[0] == 200
        stage.write(tcp + 'allow = ["192.0.2.1"]')
        await reload(solo)
        assert address(worker, 1) == raw
        with pytest.raises((ConnectionError, IndexError)):
            await ask(raw)
        stage.write("")
        await reload(solo)
        with pytest.raises(ConnectionError):
            await ask(raw)

    play(tmp_path, scene)


def test_a_reload_moves_the_access_log(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    async def scene(stage: Stage, solo: Solo) -> None:
        worker = solo.worker
        where = address(worker)
        await ask(where)
        stage.log = tmp_path / "missing" / "second.log"
        stage.write("")
        await reload(solo)
        await ask(where)
        stage.log = tmp_path / "third.log"
        stage.write("")
        await reload(solo)
        await ask(where)

    with caplog.at_level(logging.ERROR, "proxy"):
        play(tmp_path, scene)
    assert "second.log cannot be opened" in caplog.text
    assert [len((tmp_path / name).read_text().splitlines()) for name in ("access.log", "third.log")] == [2, 1]


def test_while_it_drains_there_is_no_reload(tmp_path: Path):
    async def scene(stage: Stage, solo: Solo) -> None:
        solo.service.stop()
        solo.service.reload()
        assert solo._reload is None
        assert solo.worker.site.policy.generation == 1

    play(tmp_path, scene)


def test_systemd_hears_of_every_turn(tmp_path: Path):
    manager = Manager(tmp_path)

    async def scene(stage: Stage, solo: Solo) -> None:
        await until(manager.listen)
        assert manager.heard[0]["READY"] == "1"
        assert manager.heard[0]["STATUS"].startswith("configuration 1 with 1 route on 127.0.0.1:")
        await until(lambda: {"WATCHDOG": "1"} in manager.listen())
        manager.heard.clear()
        await reload(solo)
        stage.write("no_such_key = 1")
        await reload(solo)
        said = [one for one in manager.listen() if "WATCHDOG" not in one]
        assert [sorted(one) for one in said] == [["MONOTONIC_USEC", "RELOADING"], ["READY", "STATUS"]] * 2
        assert "the last reload was refused" in said[3]["STATUS"]
        manager.heard.clear()

    # Datagrams wait in a short line until the scene listens: the watchdog's must not fill it meanwhile.
    play(tmp_path, scene, Notifier(manager.address, watchdog_usec=200_000))
    assert {"STOPPING": "1", "STATUS": "draining"} in manager.listen()
    manager.close()


def test_an_upgrade_that_cannot_begin_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    async def scene(stage: Stage, solo: Solo) -> None:
        monkeypatch.setattr(module, "command_line", lambda: [str(tmp_path / "missing")])
        solo.service.upgrade()
        monkeypatch.setattr(module, "command_line", lambda: ["/bin/sh", "-c", "exit 3"])
        solo.service.upgrade()
        await until(lambda: "exit code 3" in caplog.text)
        assert (await ask(address(solo.worker)))[0] == 200

    with caplog.at_level(logging.INFO, "proxy"):
        play(tmp_path, scene)
    assert "upgrade failed, this process goes on: No such file or directory" in caplog.text


def slow_down(stage: Stage, solo: Solo, loading: threading.Event, go_on: threading.Event) -> None:
    """Let loads begin, and wait."""

    def slow(generation: int, *, state_dir: str | None = None) -> Loaded:
        loading.set()
        assert go_on.wait(20)
        return stage.load(generation, state_dir=state_dir)

    solo._load = slow


def test_deliveries_are_answered_while_it_loads(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """However long a load takes, nothing waits for it; what is asked for meanwhile is done after it."""
    loading, go_on = threading.Event(), threading.Event()

    async def scene(stage: Stage, solo: Solo) -> None:
        slow_down(stage, solo, loading, go_on)
        where = address(solo.worker)
        solo.service.reload()
        await until(loading.is_set)
        assert (await ask(where))[0] == 200
        solo.service.reload()
        solo.service.upgrade()
        assert solo.worker.site.policy.generation == 1
        go_on.set()
        await until(lambda: solo.worker.site.policy.generation == 3)
        assert (await ask(where))[0] == 200

    play(tmp_path, scene)
    assert "no upgrade during a reload: try again" in caplog.text


def test_a_load_that_ends_after_the_drain_began_changes_nothing(tmp_path: Path):
    loading, go_on = threading.Event(), threading.Event()

    async def scene(stage: Stage, solo: Solo) -> None:
        slow_down(stage, solo, loading, go_on)
        solo.service.reload()
        await until(loading.is_set)
        solo.service.stop()
        go_on.set()
        assert solo._reload is not None
        await asyncio.wait([solo._reload])
        assert solo.worker.site.policy.generation == 1

    play(tmp_path, scene)
