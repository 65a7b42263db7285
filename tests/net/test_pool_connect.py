"""One connection to an upstream: what cannot be connected to says so by an error, and leaves no descriptor behind."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from proxy.core.policy import Endpoint, UpstreamTls
from proxy.errors import ConfigError
from proxy.net.clock import Clock, Turn
from proxy.net.pool import UpstreamPool, connect

#: A connection to what listens, on the loop of the product, and the threads of the process after it.
THREADS = """if True:
    import asyncio, os, socket, uvloop
    from proxy.core.policy import Endpoint
    from proxy.net.clock import Clock
    from proxy.net.pool import connect
    from proxy.net.pool import UpstreamPool
    from proxy.net.clock import Turn

    async def main():
        loop = asyncio.get_running_loop()
        pool = UpstreamPool(loop, Clock(loop), Turn(loop), connect_timeout_s=5.0)
        with socket.create_server(("127.0.0.1", 0)) as sock:
            connection = await connect(loop, Endpoint("127.0.0.1", sock.getsockname()[1]), pool, b"")
            print(len(os.listdir("/proc/self/task")))
            connection.abort()

    uvloop.run(main())
"""


def test_an_address_is_connected_to_without_a_thread() -> None:
    done = subprocess.run([sys.executable, "-c", THREADS], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"


async def test_a_connection_that_is_given_up_leaves_nothing(run) -> None:
    loop = asyncio.get_running_loop()
    clock = Clock(loop)
    pool = UpstreamPool(loop, clock, Turn(loop), connect_timeout_s=1.0)
    with socket.socket() as full:  # takes one connection into its queue, and answers no second one
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        endpoint = Endpoint("127.0.0.1", full.getsockname()[1])
        with socket.create_connection(full.getsockname()):
            before = descriptors()
            dialled = loop.create_task(connect(loop, endpoint, pool, b""))
            await asyncio.sleep(0)
            dialled.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                (await dialled).abort()  # the kernel took two
            await asyncio.sleep(0)
            assert descriptors() == before
    clock.close()


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
async def test_what_cannot_be_connected_to_leaves_nothing(run, change, error) -> None:
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
