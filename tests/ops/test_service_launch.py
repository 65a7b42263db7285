"""What a start has gathered."""

from __future__ import annotations

from pathlib import Path

from proxy.config.set_shelf import SetShelf
from proxy.ops.notify import Notifier
from proxy.ops.service import Launch
from tests.ops.staging import Stage


def test_the_configuration_can_be_loaded_again(tmp_path: Path):
    stage = Stage(tmp_path, 1)
    launch = Launch(stage.load(), stage.load, {}, SetShelf(), Notifier(), None, "asyncio")
    again = launch.load(2, state_dir=str(tmp_path))
    assert (launch.loaded.policy.generation, again.policy.generation) == (1, 2)
    assert again.settings.state_dir == str(tmp_path)
