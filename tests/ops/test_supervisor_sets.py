"""A directory for address sets where the configuration names none."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from proxy.ops.supervisor import SharedSets
from tests.ops.staging import Stage

SETS = 'allow = ["set:github"]'


def test_it_is_made_where_it_is_needed_and_gone_in_the_end(tmp_path: Path):
    stage = Stage(tmp_path, 1)
    stage.write(SETS)
    sets = SharedSets(stage.load)
    loaded = sets.load(3)
    folder = Path(str(loaded.settings.state_dir))
    assert folder.stat().st_mode & 0o777 == 0o700
    assert loaded.policy.generation == 3
    assert sets.load(4).settings.state_dir == str(folder)
    sets.close()
    sets.close()
    assert not folder.exists()


def test_it_is_left_alone_where_one_is_named_or_none_needed(tmp_path: Path):
    stage = Stage(tmp_path, 1)
    sets = SharedSets(stage.load)
    assert sets.load(1).settings.state_dir is None
    stage.write(SETS, top=f'state_dir = "{tmp_path}"')
    assert sets.load(2).settings.state_dir == str(tmp_path)
    sets.close()


def test_without_room_for_it_each_worker_fetches_for_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    stage = Stage(tmp_path, 1)
    stage.write(SETS)
    assert SharedSets(stage.load).load(1).settings.state_dir is None
    assert "set state_dir" in caplog.text


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_it_belongs_to_whom_the_workers_become(tmp_path: Path):
    stage = Stage(tmp_path, 1)
    stage.write(SETS, top='user = "nobody"')
    sets = SharedSets(stage.load)
    folder = Path(str(sets.load(1).settings.state_dir))
    assert folder.owner() == "nobody"
    sets.close()
