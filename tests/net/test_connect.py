"""One connection to an upstream: what cannot be connected to says so by an error, and leaves no descriptor behind."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from proxy.core.policy import Endpoint, UpstreamTls
from proxy.errors import ConfigError
from proxy.net.clock import Clock
from proxy.net.connect import connect
from proxy.net.pool import UpstreamPool
from proxy.net.turn import Turn


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({}, ConnectionRefusedError),
        ({"host": "a" * 64 + ".invalid"}, UnicodeError),
        ({"path": "/nonexistent/app.sock"}, FileNotFoundError),
        ({"listens": True, "tls": UpstreamTls(ca_file="/nonexistent/ca.pem")}, ConfigError),
    ],
)
def test_what_cannot_be_connected_to_leaves_nothing(run, change, error) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        clock = Clock(loop)
        pool = UpstreamPool(loop, clock, Turn(loop), connect_timeout_s=1.0)
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            settings = {"host": "127.0.0.1", "port": sock.getsockname()[1]} | change
            if settings.pop("listens", False):
                sock.listen()
            before = descriptors()
            with pytest.raises(error):
                await connect(loop, Endpoint(**settings), pool, b"")
            assert descriptors() == before
        assert pool.lent_connections() == 0
        clock.close()

    run(main())
