"""What may be asked of a service in each of its states. How it goes on: test_run_command_solo, test_supervisor."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from proxy.config.set_shelf import SetShelf
from proxy.config.settings import Loaded
from proxy.core.metrics import Metrics
from proxy.core.states import ServiceState
from proxy.ops import service as module
from proxy.ops.journal import Notifier
from proxy.ops.places import Held
from proxy.ops.service import Launch, Service
from proxy.ops.worker import Leave
from tests.ops.staging import Stage


class Timer:
    def cancel(self) -> None:
        """There is no time here."""


class Loop:
    """The calls that a service has asked for."""

    def __init__(self) -> None:
        self.readers: dict[int, Callable[[], object]] = {}
        self.signals: dict[int, Callable[[], object]] = {}

    def add_reader(self, descriptor: int, call: Callable[[], object]) -> None:
        self.readers[descriptor] = call

    def remove_reader(self, descriptor: int) -> bool:
        return self.readers.pop(descriptor, None) is not None

    def add_signal_handler(self, number: int, call: Callable[[], object]) -> None:
        self.signals[number] = call

    def remove_signal_handler(self, number: int) -> bool:
        return self.signals.pop(number, None) is not None

    def call_later(self, _delay: float, _call: Callable[[], object]) -> Timer:
        return Timer()


class Engine:
    """Notes what it is told. A reload goes on until the test says what came of it."""

    workers = 1

    def __init__(self, loaded: Loaded) -> None:
        self.metrics = Metrics()
        self.loaded = loaded
        self.held: list[Held] = []
        self.told: list[object] = []

    def reload(self) -> None:
        self.told.append("reload")

    def leave(self, how: Leave) -> None:
        self.told.append(how)

    def reopen(self) -> None:
        self.told.append("reopen")


class House:
    def __init__(self, folder: Path) -> None:
        stage = Stage(folder, 1)
        launch = Launch(stage.load(), stage.load, {}, SetShelf(), Notifier(), None, "asyncio")
        self.loop = Loop()
        self.engine = Engine(launch.loaded)
        self.service = Service(launch, self.loop, self.engine)  # a loop without time


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    monkeypatch.setattr(module, "command_line", lambda: ["/bin/sleep", "60"])
    return House(tmp_path)


def test_a_reload_ends_where_it_began(house: House):
    service = house.service
    service.serves()
    for outcome in (service.changed, lambda: service.refused("why")):
        service.reload()
        assert service.state is ServiceState.RELOADING
        outcome()
        assert service.state is ServiceState.SERVING
    assert house.engine.told == ["reload", "reload"]


def test_what_is_asked_for_too_early_is_done_once_we_serve(house: House):
    service = house.service
    for ask in (service.reload, service.reload, service.upgrade):
        ask()
    assert house.engine.told == []
    service.serves()
    assert service.state is ServiceState.RELOADING
    service.reload()
    service.changed()
    assert service.state is ServiceState.UPGRADING
    service.stop()
    assert house.engine.told == ["reload", Leave.STOP]
    assert house.loop.readers == {}


def test_during_an_upgrade_there_is_no_reload(house: House, caplog: pytest.LogCaptureFixture):
    service = house.service
    service.serves()
    service.upgrade()
    service.upgrade()
    service.reload()
    assert "no reload during an upgrade" in caplog.text
    assert house.engine.told == []
    service.close()


def test_the_end_only_comes_faster(house: House):
    service = house.service
    service.serves()
    for _ in range(3):
        service.stop()
    assert house.engine.told == [Leave.STOP, Leave.NOW, Leave.NOW]
    service.reload()
    service.upgrade()
    service.changed()
    assert service.state is ServiceState.LEAVING
    assert house.engine.told == [Leave.STOP, Leave.NOW, Leave.NOW]


def test_it_may_end_before_it_serves(house: House):
    house.service.stop()
    house.service.serves()
    assert house.service.state is ServiceState.LEAVING


def test_it_takes_its_signals_and_gives_them_back(house: House):
    assert len(house.loop.signals) == 5
    house.service.close()
    assert house.loop.signals == {}


def test_the_configuration_can_be_loaded_again(tmp_path: Path):
    stage = Stage(tmp_path, 1)
    launch = Launch(stage.load(), stage.load, {}, SetShelf(), Notifier(), None, "asyncio")
    again = launch.load(2, state_dir=str(tmp_path))
    assert (launch.loaded.policy.generation, again.policy.generation) == (1, 2)
    assert again.settings.state_dir == str(tmp_path)
