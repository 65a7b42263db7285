"""Redis accepts every script; what they do is in test_redis_store.py."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("redis")

import redis

from proxy.queue import redis_records
from tests.redis_server import needs_redis, running_redis

WORDS = {name: text for name, text in vars(redis_records).items() if isinstance(text, str)}
SCRIPTS = {name: text for name, text in WORDS.items() if name.isupper() and name != "_COMMON"}


@needs_redis
def test_redis_can_read_them(tmp_path: Path) -> None:
    assert len(SCRIPTS) > 10
    with running_redis(tmp_path) as server, redis.Redis.from_url(server.url) as client:
        for text in SCRIPTS.values():
            assert client.script_load(text)


def test_each_says_what_it_takes_and_gives() -> None:
    folder = Path(redis_records.__file__).with_name("scripts")
    assert {path.stem.upper() for path in folder.glob("*.lua")} == {*SCRIPTS, "COMMON"}
    assert all(path.read_text().startswith("-- ") for path in folder.glob("*.lua"))
