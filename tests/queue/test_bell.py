"""One process rings for the courier of another."""

from __future__ import annotations

import asyncio
from pathlib import Path

from proxy.queue.opening import BELL_NAME, Bell


def test_the_courier_hears_it(tmp_path: Path) -> None:
    deep = tmp_path / ("a" * 100) / ("b" * 100)  # longer than the name of a unix socket may be
    deep.mkdir(parents=True)

    async def run() -> None:
        heard = asyncio.Event()
        courier, other = Bell(deep), Bell(deep)
        other.ring()  # with none to hear it
        courier.answer(asyncio.get_running_loop(), heard.set)
        assert (deep / BELL_NAME).stat().st_mode & 0o777 == 0o600
        other.ring()
        async with asyncio.timeout(10):
            await heard.wait()
        courier.close()
        other.ring()
        other.close()
        assert not (deep / BELL_NAME).exists()

    before = len(list(Path("/proc/self/fd").iterdir()))
    asyncio.run(run())
    assert len(list(Path("/proc/self/fd").iterdir())) <= before
