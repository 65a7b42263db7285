"""Health checks on real sockets: who answers badly twice is chosen last, until the first good answer."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from proxy.core.policy import Endpoint, HealthCheck
from proxy.net.clock import Clock
from proxy.net.health import HealthChecks
from proxy.net.pool import UpstreamPool
from proxy.net.turn import Turn
from tests.net.accepting import until


class App:
    """Answers every request with ``answer``; b"" hangs up, None says nothing."""

    def __init__(self, answer: bytes | None) -> None:
        self.answer = answer
        self.heads: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):  # who asked was out of patience before we came to it
            self.heads.append(await reader.readuntil(b"\r\n\r\n"))
        if self.answer is not None:
            writer.write(self.answer)
            writer.close()


GOOD = b"HTTP/1.1 204 No Content\r\n\r\n"
BAD = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize("bad", [BAD, b"", b"nonsense\r\n\r\n", None], ids=["503", "hangs up", "nonsense", "silent"])
def test_two_bad_answers_make_it_unwell_and_one_good_well(run, bad: bytes | None) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        app = App(bad)
        server = await asyncio.start_server(app.serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        # Only who says nothing is to be found by the time, which must not run out for others on a busy machine.
        timeout_s = 0.2 if bad is None else 10.0
        endpoint = Endpoint("127.0.0.1", port, health=HealthCheck("/healthz", 0.02, timeout_s))
        clock = Clock(loop)
        pool = UpstreamPool(loop, clock, Turn(loop), connect_timeout_s=1.0)
        checks = HealthChecks(loop, pool)
        checks.use([endpoint, Endpoint("127.0.0.1", 1)])
        await until(lambda: not pool.reachable((endpoint,)))
        await until(lambda: bad is not None or len(app.heads) >= 2)
        assert len(app.heads) >= 2
        assert app.heads[0].startswith(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:")
        app.answer = GOOD
        await until(lambda: pool.reachable((endpoint,)))
        app.answer = bad
        await until(lambda: not pool.reachable((endpoint,)))
        checks.use([])
        assert pool.reachable((endpoint,))
        checks.use([endpoint])
        await checks.close()
        server.close()
        await pool.close()
        clock.close()
        await until(lambda: pool.lent_connections() == 0)

    run(main())


def test_nobody_who_listens_is_unwell(run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        clock = Clock(loop)
        pool = UpstreamPool(loop, clock, Turn(loop), connect_timeout_s=1.0)
        endpoint = Endpoint("", 0, "/nonexistent/app.sock", health=HealthCheck("/", 0.01, 0.05))
        checks = HealthChecks(loop, pool)
        checks.use([endpoint])
        await until(lambda: not pool.reachable((endpoint,)))
        assert pool.conditions() == {"unix:/nonexistent/app.sock": False}
        await checks.close()
        await pool.close()
        clock.close()

    run(main())
