"""Where a Redis is, and that no password is ever repeated."""

from __future__ import annotations

import pytest

from proxy.config.keys import Key
from proxy.config.kinds import STORE_URL, is_redis_url
from proxy.config.parse import read_value
from proxy.errors import Mistake

KEY = Key("url", STORE_URL, "")


@pytest.mark.parametrize(
    "url",
    [
        "redis://127.0.0.1:6379/0",
        "redis://cache",
        "rediss://user@cache.example.com:6380/1",
        "unix:///run/redis.sock",
        "unix:///run/redis.sock?db=2",
        "file:/etc/hookward/redis.url",
        "env:REDIS_URL",
        "cred:redis",
    ],
)
def test_what_it_may_be(url: str) -> None:
    assert read_value(KEY, url) == url


@pytest.mark.parametrize(
    "url",
    [
        *("", "127.0.0.1:6379", "http://127.0.0.1", "redis://", "redis://cache:port", "redis://cache:99999"),
        *("redis://[::1", "redis://ca che", "redis://cache\n", "unix://", "file:", 7, None),
    ],
)
def test_what_it_may_not_be(url: object) -> None:
    with pytest.raises(Mistake):
        read_value(KEY, url)


@pytest.mark.parametrize(
    "url",
    ["redis://:hunter2@cache", "redis://user:hunter2@cache", "unix:///run/redis.sock?password=hunter2", "hunter2"],
)
def test_a_password_is_neither_taken_nor_shown(url: str) -> None:
    with pytest.raises(Mistake) as caught:
        read_value(KEY, url)
    assert "hunter2" not in caught.value.what + caught.value.mend


def test_with_a_password_it_is_one_all_the_same() -> None:
    assert is_redis_url("redis://:hunter2@cache")
