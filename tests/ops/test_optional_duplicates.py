"""The memory of a worker: opened by what the settings say, closed with what is known."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from pathlib import Path

import pytest

from proxy.config.settings import DuplicateSettings
from proxy.core.metrics import Metrics
from proxy.errors import ConfigError
from proxy.net.access_log import AccessLog
from proxy.net.duplicates_redis import RedisStore
from proxy.net.duplicates_sqlite import SqliteStore
from proxy.net.log_formats import JsonLines
from proxy.net.site import Site
from proxy.ops.optional import close_duplicates, open_duplicates
from tests.net.dialogue import policy
from tests.redis_server import RedisServer, needs_redis, running_redis


def make_site() -> Site:
    loop = asyncio.get_running_loop()
    return Site(loop=loop, policy=policy(), log=AccessLog(None, JsonLines(), loop), metrics=Metrics(), instance="t")


async def test_the_memory_of_the_process() -> None:
    site = make_site()
    open_duplicates(site, DuplicateSettings(max_entries=500, refuses=True))
    assert site.duplicates.store is None
    assert site.duplicates.table.max_entries == 500
    assert not site.duplicates.admits_blind
    await close_duplicates(site)


def test_a_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        site = make_site()
        open_duplicates(site, DuplicateSettings("sqlite", path=str(tmp_path / "one.sqlite3")))
        assert isinstance(site.duplicates.store, SqliteStore)
        await close_duplicates(site)
        assert not site.duplicates.failures

    asyncio.run(main())
    assert not caplog.messages


async def test_a_file_that_can_not_be_used(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        open_duplicates(make_site(), DuplicateSettings("sqlite", path=str(tmp_path / "nowhere" / "one.sqlite3")))
    [problem] = caught.value.problems
    assert problem.where == "duplicates.path"
    assert "No such file" in problem.what


@needs_redis
def test_a_redis(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def main(server: RedisServer) -> None:
        site = make_site()
        open_duplicates(site, DuplicateSettings("redis", url=server.url))
        assert isinstance(site.duplicates.store, RedisStore)
        await close_duplicates(site)

    with running_redis(tmp_path) as server:
        asyncio.run(main(server))
    assert not caplog.messages


def test_a_redis_that_is_down_is_said_at_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        site = make_site()
        open_duplicates(site, DuplicateSettings("redis", url=f"unix://{tmp_path}/nobody.sock"))
        await close_duplicates(site)

    with caplog.at_level(logging.WARNING):
        asyncio.run(main())
    [message] = caplog.messages
    assert "the store of duplicates fails (ConnectionError)" in message


@pytest.mark.parametrize("url", ["http://127.0.0.1", "redis://127.0.0.1:port"])
async def test_a_redis_with_another_url(url: str) -> None:
    with pytest.raises(ConfigError, match=r"duplicates\.url"):
        open_duplicates(make_site(), DuplicateSettings("redis", url=url))


def test_without_the_client_for_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "proxy.net.duplicates_redis", None)

    async def main() -> None:
        with pytest.raises(ConfigError, match="-m pip install redis"):
            open_duplicates(make_site(), DuplicateSettings("redis", url="redis://127.0.0.1"))

    asyncio.run(main())


def test_who_still_waits_for_an_answer_is_ended() -> None:
    ended: list[float] = []

    class Waiting:
        deadline = 0.0

        def deadline_passed(self, now: float) -> None:
            ended.append(now)

    async def main() -> None:
        site = make_site()
        site.outcomes.add(Waiting())
        await close_duplicates(site)

    asyncio.run(main())
    assert len(ended) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be led by another user")
def test_root_keeps_no_file_where_another_user_may_exchange_it(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    os.chown(tmp_path / "theirs", 65534, 65534)

    async def main() -> None:
        settings = DuplicateSettings("sqlite", path=str(tmp_path / "theirs" / "one.sqlite3"))
        with pytest.raises(ConfigError, match="name the user to become"):
            open_duplicates(make_site(), settings)

    asyncio.run(main())
    assert list((tmp_path / "theirs").iterdir()) == []
