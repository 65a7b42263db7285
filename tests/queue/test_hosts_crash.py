"""The short form of ``make crash-hosts``."""

from __future__ import annotations

import shutil

import pytest

pytest.importorskip("redis")

from bench.queue import hosts
from tests.redis_server import needs_redis


@needs_redis
@pytest.mark.timeout(300)  # five programs, some of which start again and again
@pytest.mark.skipif(shutil.which("haproxy") is None, reason="haproxy is not installed")
def test_nothing_that_was_told_2xx_is_lost_when_a_host_or_redis_is_killed() -> None:
    said: list[str] = []
    options = hosts.parser().parse_args(["--kills", "4", "--rate", "30", "--seed", "3"])
    assert hosts.run(options, said.append) == 0, "\n".join(said)
