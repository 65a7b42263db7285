"""Asynchronous tests without a plugin: ``run(main())`` on a loop of its own, which must leave nothing behind.

    def test_x(run):
        async def main(): ...
        run(main())

Every such test runs under asyncio in debug mode and under uvloop; HOOKWARD_LOOP chooses one.
"""

from __future__ import annotations

import asyncio
import gc
import os
import warnings
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any, TypeVar

import pytest
import trustme
import uvloop

T = TypeVar("T")
Run = Callable[[Coroutine[Any, Any, T]], T]

DEADLINE_S = 20.0
LOOPS = {"asyncio": asyncio.SelectorEventLoop, "uvloop": uvloop.new_event_loop}
CHOSEN = os.environ.get("HOOKWARD_LOOP")
NAMES = [CHOSEN] if CHOSEN in LOOPS else list(LOOPS)


def open_descriptors() -> set[str]:
    found = set()
    for path in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the listing's own
            found.add(f"{path.name} {path.readlink()}")
    return found


@pytest.fixture(scope="session")
def warm() -> None:
    """libuv opens a pipe for the whole process when it first runs: that is no leak of a test."""
    for factory in LOOPS.values():
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(asyncio.sleep(0))


@pytest.fixture(params=NAMES)
def run(request: pytest.FixtureRequest, warm: None) -> Run[T]:
    """Run a coroutine to its end within a deadline. Fails on what it leaves: tasks, descriptors, loud errors."""

    def run_one(main: Coroutine[Any, Any, T]) -> T:
        complaints: list[dict[str, Any]] = []

        async def bounded() -> T:
            async with asyncio.timeout(DEADLINE_S):
                result = await main
            await settled()
            return result

        gc.collect()
        gc.freeze()  # so that the collection after the test looks at what the test has made, and at no more
        before = open_descriptors()
        runner = asyncio.Runner(loop_factory=LOOPS[request.param], debug=request.param == "asyncio")
        try:
            runner.get_loop().set_exception_handler(lambda _, context: complaints.append(context))
            result = runner.run(bounded())
            gc.collect()
        finally:
            unclosed = close(runner)
        assert not complaints
        assert not unclosed
        # Threads of the test, an application's for example, close theirs when they hear that ours are closed.
        deadline = monotonic() + DEADLINE_S
        while not open_descriptors() <= before and monotonic() < deadline:
            Event().wait(0.01)
        assert open_descriptors() <= before
        return result

    return run_one


def close(runner: asyncio.Runner) -> list[str]:
    """Close the loop; what it complains about. As an error, a warning of what a failed test has left would have uvloop
    keep that open, and wait for its end in C for ever, where not even the time-out of a test reaches it.
    """
    with warnings.catch_warnings(record=True) as complaints:
        warnings.simplefilter("always")
        runner.close()
    return [str(complaint.message) for complaint in complaints]


async def settled() -> None:
    """Callbacks of closed transports have run; no task is left but the test's own."""
    async with asyncio.timeout(DEADLINE_S):
        while len(asyncio.all_tasks()) > 1:  # noqa: ASYNC110 - tasks tell nobody
            await asyncio.sleep(0.001)
    for _ in range(3):
        await asyncio.sleep(0)


@dataclass(frozen=True)
class Authority:
    """A certificate authority that writes pairs to files."""

    ca: trustme.CA
    directory: Path

    def write(self, name: str, *names: str) -> tuple[str, str]:
        """A new certificate for ``names`` in the files of ``name``; the paths of chain and key."""
        issued = self.ca.issue_cert(*names)
        cert, key = self.directory / f"{name}.crt", self.directory / f"{name}.key"
        # As certbot does: new files take the place of the old ones.
        for path, data in (
            (cert, b"".join(c.bytes() for c in issued.cert_chain_pems)),
            (key, issued.private_key_pem.bytes()),
        ):
            fresh = path.with_suffix(path.suffix + ".new")
            fresh.write_bytes(data)
            fresh.rename(path)
        return str(cert), str(key)


@pytest.fixture(scope="session")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def authority(ca: trustme.CA, tmp_path: Path) -> Authority:
    return Authority(ca, tmp_path)
