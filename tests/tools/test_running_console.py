"""The console of a running process, asked without a token over its private socket."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from pathlib import Path

import pytest

from proxy.tools.running import AskedConsole, ConsoleError, Running
from tests.whole.conftest import secret_file, start, upstream
from tests.whole.process import Hookward
from tests.whole.recorder import RecordingUpstream
from tests.whole.wire import once, request

__all__ = ["secret_file", "start", "upstream"]

Start = Callable[..., Hookward]


def ask(hookward: Hookward, folder: Path, action: Callable[[AskedConsole], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(40):
            await action(AskedConsole(Running(hookward.pid, (str(folder),))))

    asyncio.run(main())


def test_what_is_kept_is_listed_shown_replayed_and_told(
    start: Start, upstream: RecordingUpstream, tmp_path: Path
) -> None:
    console = ("--console", "127.0.0.1:0")
    hookward = start(
        "--listen", "127.0.0.1:0", "--upstream", upstream.url, "--open", "--state-dir", tmp_path, *console, listeners=2
    )
    once(hookward.address, request(target="/first"))

    async def action(asked: AskedConsole) -> None:
        [first] = await asked.deliveries("path:/first", 10)
        assert await asked.deliveries("path:/none", 10) == []
        shown = await asked.delivery(first["id"])
        assert shown["request"]["target"] == "/first"
        async with aclosing(asked.coming("")) as events:
            waiting = asyncio.ensure_future(anext(events))
            while not (await asked._ask("GET", "status"))["console"]["viewers"]:
                pass
            await asyncio.to_thread(once, hookward.address, request(target="/second"))
            assert (await waiting)["path"] == "/second"
        found = await asked.replay(first["id"], {"to": "application"})
        assert found["outcome"].startswith("delivered 200")
        with pytest.raises(ConsoleError, match="no delivery 'none' is kept: GET "):
            await asked.delivery("none")
        with pytest.raises(ConsoleError, match='"nope:" is no search word'):
            await asked.deliveries("nope:x", 10)
        with pytest.raises(ConsoleError, match='"nope:" is no search word'):
            await anext(asked.coming("nope:x"))

    ask(hookward, tmp_path, action)
    assert hookward.said("replayed the delivery")
    assert hookward.said("audit: uid "), "who acts over the private socket is told as well"


def test_without_a_console_and_without_a_process_that_is_said(
    start: Start, upstream: RecordingUpstream, tmp_path: Path
) -> None:
    hookward = start("--listen", "127.0.0.1:0", "--upstream", upstream.url, "--open", "--state-dir", tmp_path)

    async def without(asked: AskedConsole) -> None:
        with pytest.raises(ConsoleError, match=r"has no console: add \[console\]"):
            await asked.deliveries("", 10)

    ask(hookward, tmp_path, without)
    hookward.stop()

    async def gone(asked: AskedConsole) -> None:
        for question in (asked.deliveries("", 10), anext(asked.coming(""))):
            with pytest.raises(ConsoleError, match="is gone"):
                await question

    ask(hookward, tmp_path, gone)
