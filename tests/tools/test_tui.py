"""``top --tui`` by its keys, with a console that is made up; and on a terminal, which is given back."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from proxy.errors import FlagError
from proxy.tools import top
from tests.console.hostile import PAYLOADS
from tests.tools.test_top import Terminal
from tests.whole.conftest import secret_file, start, upstream
from tests.whole.process import Hookward, environment
from tests.whole.recorder import RecordingUpstream
from tests.whole.wire import once, request

pytest.importorskip("textual")

from textual.pilot import Pilot
from textual.widgets import Static

from proxy.errors import HookwardError
from proxy.tools import tui
from proxy.tools.tui import Deliveries, InFull, Replay, cells, page

__all__ = ["secret_file", "start", "upstream"]

Start = Callable[..., Hookward]
pytestmark = pytest.mark.timeout(120)  # each draws many screens
HOSTILE = ["[red]x[/red]", "[/]", "[@click=app.quit]x[/]", "\x1b[2J", "\x1b]0;x\x07", "a\rb", "\u202etxt", *PAYLOADS]


def summary(number: int, **more: Any) -> dict[str, Any]:
    words = {"verdict": "admitted", "route": "github", "event": "push", "method": "POST", "path": "/x"}
    rest = {"reason": "delivered", "client": "192.0.2.1", "status": 200, "time": 1e9 + number, "duration_s": 0.1}
    return {"id": f"{number:012x}-aa-{number:x}", **words, **rest, **more}


def content(text: str) -> dict[str, Any]:
    return {"size": len(text), "encoding": "utf-8", "text": text, "cut": False}


def detail(text: str = "text", **more: Any) -> dict[str, Any]:
    message = {"fields": [[text, text]], "body": content(text)}
    return {
        **summary(1),
        "sentence": text,
        "mend": text,
        "cause": {"word": text, "sentence": text},
        "checks": [{"name": text, "passed": passed, "said": text} for passed in (True, False, None)],
        "request": {"method": text, "target": text, "version": "HTTP/1.1", **message},
        "answer": {"status": 200, "phrase": text, "by": "us", **message},
        **more,
    }  # fmt: skip


class MadeUp:
    """A console that has two deliveries, and more when ``more`` is given some."""

    def __init__(self) -> None:
        self.kept = [summary(2), summary(1)]
        self.queries: list[str] = []
        self.replayed: list[tuple[str, dict[str, object]]] = []
        self.more: asyncio.Queue[dict[str, Any] | HookwardError] = asyncio.Queue()
        self.wrong: HookwardError | None = None

    async def deliveries(self, query: str, limit: int) -> list[dict[str, Any]]:
        self.queries.append(query)
        if self.wrong is not None:
            raise self.wrong
        return self.kept

    async def delivery(self, name: str) -> dict[str, Any]:
        return detail(f"all of {name}")

    async def replay(self, name: str, how: dict[str, object]) -> dict[str, Any]:
        self.replayed.append((name, how))
        if how.get("sign") == "now":
            raise HookwardError("it cannot be signed: no secret")
        return {"outcome": "delivered 200", "diff": "-[b]a\n+b" if how["dry_run"] else ""}

    async def coming(self, query: str) -> AsyncGenerator[dict[str, Any], None]:
        while True:
            event = await self.more.get()
            if isinstance(event, HookwardError):
                raise event
            yield event


Play = Callable[[Deliveries, MadeUp, Pilot[None]], Awaitable[None]]


def play(action: Play, query: str = "", console: MadeUp | None = None) -> Deliveries:
    console = console or MadeUp()
    app = Deliveries(console, query)

    async def main() -> None:
        async with asyncio.timeout(100), app.run_test(size=(120, 40)) as pilot:
            await until(pilot, lambda: bool(console.queries))
            await pilot.pause()
            await action(app, console, pilot)

    asyncio.run(main())
    return app


async def until(pilot: Pilot[None], holds: Callable[[], bool]) -> None:
    while not holds():
        await pilot.pause()


def said(app: Deliveries) -> str:
    return str(app.screen_stack[0].query_one("#said", Static).content)


def test_the_list_is_live_and_the_newest_is_last() -> None:
    async def action(app: Deliveries, console: MadeUp, pilot: Pilot[None]) -> None:
        assert app.chosen == summary(2)["id"]
        console.more.put_nowait(summary(3))
        console.more.put_nowait(summary(3))
        console.more.put_nowait({"missed": 4})
        await until(pilot, lambda: said(app) == "3 deliveries, 4 not shown")
        assert app.chosen == summary(3)["id"], "it looks at the newest, where it did"
        await pilot.press("k")
        console.more.put_nowait(summary(4))
        await until(pilot, lambda: app.rows.row_count == 4)
        assert app.chosen == summary(2)["id"], "what is looked at stays"
        await pilot.press("j", "j")
        assert app.chosen == summary(4)["id"]

    play(action)


def test_old_rows_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tui, "MOST_ROWS", 3)

    async def action(app: Deliveries, console: MadeUp, pilot: Pilot[None]) -> None:
        for number in range(3, 9):
            console.more.put_nowait(summary(number))
        await until(pilot, lambda: app.chosen == summary(8)["id"])
        assert app.rows.row_count == 3

    play(action)


def test_one_is_shown_and_replayed_by_keys() -> None:
    async def action(app: Deliveries, console: MadeUp, pilot: Pilot[None]) -> None:
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, InFull) and bool(app.screen.query("#page")))
        assert f"all of {summary(2)['id']}" in str(app.screen.query_one("#page", Static).content)
        await pilot.press("j", "k", "r")
        replay = app.screen
        assert isinstance(replay, Replay)
        await pilot.press("p")
        await until(pilot, lambda: bool(replay.outcome))
        assert "-[b]a\n+b" in str(replay.query_one("#how", Static).content)
        await pilot.press("t", "d", "enter")
        await until(pilot, lambda: len(console.replayed) == 2)
        await pilot.press("s", "enter")
        await until(pilot, lambda: replay.outcome == "it cannot be signed: no secret")
        await pilot.press("escape", "escape")
        await until(pilot, lambda: len(app.screen_stack) == 1)
        await pilot.press("r")
        assert isinstance(app.screen, Replay)

    console = MadeUp()
    play(action, console=console)
    name = detail()["id"]
    assert console.replayed[:2] == [
        (name, {"sign": "received", "to": "checks", "dry_run": True}),
        (name, {"sign": "received", "to": "application", "duplicates": "pass", "dry_run": False}),
    ]


def test_other_words_are_looked_for() -> None:
    async def action(app: Deliveries, console: MadeUp, pilot: Pilot[None]) -> None:
        await pilot.press("slash")
        await pilot.press("end", "space", *">2s", "enter")  # what is there is selected, so that it can be written over
        await until(pilot, lambda: console.queries == ["route:a", "route:a >2s"])
        console.wrong = HookwardError("[b]no[/b] search word")
        await pilot.press("slash", "x", "enter")
        await until(pilot, lambda: said(app) == "[b]no[/b] search word")
        console.wrong = None
        await pilot.press("slash", "backspace", "enter")
        await until(pilot, lambda: app.rows.row_count == 2)
        await pilot.press("q")

    assert play(action, "route:a").return_code == 0


def test_a_stream_that_ends_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tui, "AGAIN_S", 0.0)

    async def action(app: Deliveries, console: MadeUp, pilot: Pilot[None]) -> None:
        console.kept = [summary(3), *console.kept]
        console.more.put_nowait(HookwardError("the worker is gone"))
        await until(pilot, lambda: app.rows.row_count == 3)

    play(action)


def test_without_a_console_it_ends_and_says_why() -> None:
    console = MadeUp()
    console.wrong = HookwardError("process 1 has no console")

    async def action(app: Deliveries, console: MadeUp, pilot: Pilot[None]) -> None:
        await until(pilot, lambda: bool(app.trouble))

    assert play(action, console=console).trouble == "process 1 has no console"


@pytest.mark.parametrize("text", HOSTILE)
def test_what_a_stranger_sent_is_text(text: str) -> None:
    for shown in (*cells(summary(1, path=text, event=text, reason=text)), page(detail(text))):
        assert all(char.isprintable() or char == "\n" for char in shown.plain)
        allowed = {"bold", "bold underline", "dim", "green", "red", "yellow", ""}
        assert {str(span.style) for span in shown.spans} | {str(shown.style)} <= allowed
    if text.isprintable():
        assert text in page(detail(text)).plain
        assert text[:70] in cells(summary(1, path=text))[5].plain


def test_hostile_rows_and_pages_are_drawn() -> None:
    few = HOSTILE[:20]

    async def action(app: Deliveries, console: MadeUp, pilot: Pilot[None]) -> None:
        for number, text in enumerate(few, 3):
            console.more.put_nowait(summary(number, path=text, route=text, event=text, client=text))
        await until(pilot, lambda: app.rows.row_count == len(few) + 2)
        await app.push_screen(InFull(detail("\n".join(few))))
        await pilot.pause()

    assert play(action).return_code in (None, 0)


def test_a_body_that_is_no_text_and_what_has_no_answer() -> None:
    binary = {"size": 3, "encoding": "base64", "text": "AAEC", "cut": False}
    long = {**content("x" * 100_000)}
    asked: dict[str, Any] = {"method": "", "target": None, "version": "HTTP/1.1", "fields": [], "body": binary}
    shown = page(detail(request=asked, answer=None, cause=None)).plain
    assert "3 bytes that are no text" in shown
    assert "The sender got no answer." in shown
    assert "not all of it is shown" in page(detail(answer={**detail()["answer"], "body": long})).plain


# -- on a terminal


@pytest.fixture
def running(start: Start, upstream: RecordingUpstream, tmp_path: Path) -> Hookward:
    where = ("--listen", "127.0.0.1:0", "--console", "127.0.0.1:0", "--upstream", upstream.url)
    hookward = start(*where, "--open", "--state-dir", tmp_path, listeners=2)
    once(hookward.address, request(target="/seen"))
    return hookward


@pytest.mark.parametrize("how", ["q", "SIGTERM", "SIGHUP", "crash"])
def test_the_terminal_is_given_back_whatever_ends_it(running: Hookward, how: str) -> None:
    broken = "import sys; from proxy.tools import top, tui; tui.page = None; sys.exit(top.main(sys.argv[1:]))"
    program = ("-c", broken) if how == "crash" else ("-m", "proxy", "top")
    one = Terminal("--tui", "--follow", running.pid, program=program)
    try:
        one.wait(b"\x1b[?1049h")
        one.wait(b"/seen")
        if how == "q":
            os.write(one.ours, b"q")
        elif how == "crash":
            os.write(one.ours, b"\r")
        else:
            one.process.send_signal(getattr(signal, how))
        code = one.end()
        assert one.is_given_back(), one.seen[-300:]
        assert code == {"SIGTERM": 143, "SIGHUP": 129, "crash": 1}.get(how, 0)
    finally:
        one.close()


def test_where_it_cannot_be(monkeypatch: pytest.MonkeyPatch, running: Hookward) -> None:
    follow = ["--follow", str(running.pid)]
    with pytest.raises(FlagError, match="needs a terminal"):
        top.main(["--tui", *follow])
    with pytest.raises(FlagError, match="are for --tui"):
        top.main(["verdict:refused", *follow])
    monkeypatch.setattr(top.Screen, "is_there", lambda: True)
    monkeypatch.delitem(sys.modules, "proxy.tools.tui")
    monkeypatch.delattr("proxy.tools.tui")
    monkeypatch.setitem(sys.modules, "textual", None)
    with pytest.raises(FlagError, match=r"(?s)needs Textual 1.*-m pip install textual"):
        top.main(["--tui", *follow])


def test_nothing_else_imports_it() -> None:
    code = "import sys, proxy.tools.top, proxy.ops.cli; print({'textual', 'rich'} & {*sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=True, timeout=60
    )
    assert done.stdout == "set()\n"
