"""What refreshes published address sets: there from the first load on that asks for one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import proxy.net
from proxy.config.set_shelf import SetShelf
from proxy.core.metrics import Metrics
from proxy.errors import ConfigError
from proxy.ops.sets import PublishedSets
from tests.ops.staging import Stage

SETS = 'allow = ["set:github"]'


def published() -> PublishedSets:
    return PublishedSets(SetShelf(), Metrics("0", "3"), lambda: 0.0, lambda _: None)


def test_it_is_imported_where_a_set_is_used() -> None:
    code = "import sys, proxy.ops.worker; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"proxy.net.feeds", "proxy.net.feed_fetch"} & set(done.stdout.split()) == set()


async def test_without_a_set_nothing_is_measured_and_closed(tmp_path: Path) -> None:
    sets, loaded = published(), Stage(tmp_path, 1).load()
    assert await sets.fetch_missing(loaded) is loaded
    sets.use(loaded)
    sets.measure()
    await sets.close()


async def test_a_reload_may_be_the_first_that_asks_for_one(tmp_path: Path) -> None:
    stage = Stage(tmp_path, 1)
    sets = published()
    sets.use(stage.load())
    stage.write(SETS)
    loaded = stage.load()
    sets.prepare(loaded)
    sets.prepare(loaded)
    sets.use(loaded)
    sets.measure()
    await sets.close()


async def test_a_reload_is_refused_where_it_can_no_longer_be_read(tmp_path: Path, monkeypatch) -> None:
    """The user that serves may not be able to read the package, and must not find out later."""
    stage = Stage(tmp_path, 1)
    stage.write(SETS)
    sets = published()
    monkeypatch.delattr(proxy.net, "feeds", raising=False)
    monkeypatch.setitem(sys.modules, "proxy.net.feeds", None)
    with pytest.raises(ConfigError) as caught:
        sets.prepare(stage.load())
    assert caught.value.problems[0].mend == "restart hookward"
