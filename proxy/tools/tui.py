"""``top --tui``: the deliveries of a running process on a terminal, by keyboard: list, one in full, replay.

It is an extra, on Textual; ``top`` imports it when it is asked for. Everything that a stranger sent becomes ``Text``
that ``visible`` has been over: neither a control character nor markup of Textual's can come of it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import termios
from collections.abc import Iterator, Mapping
from contextlib import aclosing, contextmanager, suppress
from functools import partial
from types import FrameType
from typing import Any, ClassVar

from rich.text import Text
from textual import work
from textual.app import App, ComposeResult
from textual.binding import BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen, Screen
from textual.widgets import DataTable, Footer, Input, Static

from proxy.config.host import ExitCode, failed, visible
from proxy.config.notation import took
from proxy.errors import HookwardError
from proxy.net.log_formats import clock_text
from proxy.tools.running import AskedConsole, Running

#: Rows of the list; older ones go.
MOST_ROWS = 1000
#: Of a body, so much is shown.
MOST_SHOWN = 64 * 1024
AGAIN_S = 2.0
_COLUMNS = ("TIME", "VERDICT", "STATUS", "ROUTE", "EVENT", "REQUEST", "REASON", "FROM", "TOOK")
_STYLES = {"admitted": "green", "observed": "yellow", "refused": "red"}
_MARKS = {True: ("ok", "green"), False: ("NO", "red"), None: ("--", "dim")}
_ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
#: Out of the alternate screen, with the cursor, without reports of the mouse, of focus and of pastes.
_LEAVE = b"\033[?1000l\033[?1003l\033[?1006l\033[?1015l\033[?1004l\033[?2004l\033[<u\033[?25h\033[?1049l"

Found = Mapping[str, Any]


def run(running: Running, query: str) -> int:
    """Show it until ``q`` or a signal; the terminal is then what it was, whatever ended it."""
    app = Deliveries(AskedConsole(running), query)
    with as_it_was():
        app.run()
    if app.trouble:
        return failed("top", app.trouble)
    return app.return_code or ExitCode.OK


@contextmanager
def as_it_was() -> Iterator[None]:
    """Give the terminal back as it is now, where Textual does not: an error, or a signal before it listens."""
    before = termios.tcgetattr(sys.stdin.fileno())
    handlers = {number: signal.signal(number, _end) for number in _ENDING}
    try:
        yield
    except BaseException:
        with suppress(OSError):
            os.write(sys.stdin.fileno(), _LEAVE)  # both are the terminal; standard output may be full
        raise
    finally:
        termios.tcsetattr(sys.stdin.fileno(), termios.TCSADRAIN, before)
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _end(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def text(value: object, style: str = "") -> Text:
    """What may be a stranger's, in one line."""
    return Text(visible(str(value)).replace("\n", "\\n"), style)


def cells(one: Found) -> list[Text]:
    """A row of the list."""
    verdict = str(one["verdict"] or "ended")
    return [
        text(clock_text(float(one["time"]))),
        text(verdict, _STYLES.get(verdict, "dim")),
        text(one["status"] or "-"),
        text(one["route"] or "-"),
        text(one["event"] or "-"),
        text(f"{one['method']} {one['path']}"[:80]),
        text(one["reason"]),
        text(one["client"]),
        text(took(float(one["duration_s"]))),
    ]


def page(one: Found) -> Text:
    """All of one delivery."""
    request, answer, cause = one["request"], one["answer"], one["cause"]
    lines = [text(one["sentence"], "bold")]
    if cause:
        lines.append(text(" ".join(filter(None, (cause["sentence"], one.get("mend")))), "yellow"))
    lines += [Text(), Text("Checks", "bold underline")]
    lines += [
        Text.assemble(_MARKS[check["passed"]], " ", text(check["name"], "bold"), " ", text(check["said"]))
        for check in one["checks"]
    ]
    begins = f"{request['method']} {request['target'] or '(no request)'} {request['version']}"
    lines += _message("Request", begins, request)
    begins = "The sender got no answer."
    if answer is not None:
        begins = f"{answer['status']} {answer['phrase']}, by {answer['by']}"
    return Text("\n").join([*lines, *_message("Answer", begins, answer)])


def _message(title: str, begins: str, message: Found | None) -> list[Text]:
    lines = [Text(), Text(title, "bold underline"), text(begins)]
    if message is None:
        return lines
    fields = [text(f"{name}: {value}") for name, value in message["fields"]]
    return [*lines, *fields, Text(), *_content(message["body"])]


def _content(body: Found) -> list[Text]:
    if not body["size"]:
        return []
    if body["encoding"] != "utf-8":
        return [text(f"{body['size']} bytes that are no text")]
    shown = Text(visible(str(body["text"])[:MOST_SHOWN]))
    cut = len(body["text"]) > MOST_SHOWN or body["cut"]
    return [shown, text("not all of it is shown", "dim")] if cut else [shown]


class Deliveries(App[None]):
    """The list."""

    TITLE = "hookward"
    ENABLE_COMMAND_PALETTE = False
    CSS = "#said { height: auto; color: $text-muted; } DataTable { height: 1fr; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        ("q", "quit", "Quit"),
        ("slash", "filter", "Filter"),
        ("j", "step(1)", "Down"),
        ("k", "step(-1)", "Up"),
        ("r", "replay", "Replay"),
        ("escape", "list", "List"),
    ]

    def __init__(self, console: AskedConsole, query: str) -> None:
        super().__init__()
        self.asked = console
        self.query_words = query
        self.trouble = ""  # why it ended
        self._missed = 0

    def compose(self) -> ComposeResult:
        """Search words, the list, what is said of it, and the keys."""
        yield Input(self.query_words, placeholder='route:github verdict:refused >2s "text"', id="words")
        yield DataTable(cursor_type="row", id="list")
        yield Static(id="said")
        yield Footer()

    def on_mount(self) -> None:
        """Signals end it from now on as ``q`` does, with the code that a shell gives them."""
        loop = asyncio.get_running_loop()
        for number in _ENDING:
            with suppress(NotImplementedError, RuntimeError):  # in a test, which has no main thread
                loop.add_signal_handler(number, partial(self.exit, return_code=128 + number))
        self.rows.add_columns(*_COLUMNS)
        self.rows.focus()
        self.follow()

    @property
    def rows(self) -> DataTable[Text]:
        """The list, on the screen that is always there."""
        return self.screen_stack[0].query_one("#list", DataTable)

    def say(self, what: str) -> None:
        """Tell it below the list."""
        self.screen_stack[0].query_one("#said", Static).update(text(what))

    @work(exclusive=True)
    async def follow(self) -> None:
        """Fill the list, and add what comes until other words are asked for. A reload ends a stream; it goes on."""
        began = False
        while True:
            try:
                found = await self.asked.deliveries(self.query_words, MOST_ROWS // 2)
                self.rows.clear()
                for one in reversed(found):
                    self._add(one)
                began = True
                self._count()
                async with aclosing(self.asked.coming(self.query_words)) as events:
                    async for event in events:
                        self._come(event)
            except HookwardError as error:
                if not began and not self.rows.row_count and self.query_words == "":
                    self.trouble = str(error)
                    self.exit()
                    return
                self.say(str(error))
                if not began:
                    return
            await asyncio.sleep(AGAIN_S)

    def _come(self, event: Found) -> None:
        if "missed" in event:
            self._missed += int(event["missed"])
        else:
            self._add(event)
        self._count()

    def _add(self, one: Found) -> None:
        """One more, which is the newest: rows stand in the order in which they came, and the last is looked at."""
        rows = self.rows
        name = str(one["id"])
        if name in rows.rows:
            return
        at_end = rows.cursor_row >= rows.row_count - 1
        rows.add_row(*cells(one), key=name)
        if rows.row_count > MOST_ROWS:
            rows.remove_row(next(iter(rows.rows)))
        if at_end:
            rows.move_cursor(row=rows.row_count - 1)

    def _count(self) -> None:
        gone = f", {self._missed} not shown" if self._missed else ""
        self.say(f"{self.rows.row_count} deliveries{gone}")

    # -- keys

    def action_filter(self) -> None:
        """Write other search words."""
        self.query_one("#words", Input).focus()

    def action_list(self) -> None:
        """Back to the list."""
        self.rows.focus()

    def action_step(self, by: int) -> None:
        """To the next row, or the one before."""
        self.rows.move_cursor(row=self.rows.cursor_row + by)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Look for other words."""
        self.query_words = event.value
        self._missed = 0
        self.rows.clear()
        self.rows.focus()
        self.follow()

    @property
    def chosen(self) -> str | None:
        """The id of the row that the cursor is on."""
        rows = self.rows
        if not rows.row_count:
            return None
        return rows.coordinate_to_cell_key(rows.cursor_coordinate).row_key.value

    @work
    async def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        """Enter shows all of it."""
        try:
            found = await self.asked.delivery(str(event.row_key.value))
        except HookwardError as error:
            self.say(str(error))
        else:
            await self.push_screen(InFull(found))

    def action_replay(self) -> None:
        """Ask how the one under the cursor is to be sent again."""
        if self.chosen is not None and len(self.screen_stack) == 1:
            self.push_screen(Replay(self.asked, self.chosen))


class InFull(Screen[None]):
    """One delivery."""

    BINDINGS: ClassVar[list[BindingType]] = [
        ("escape", "app.pop_screen", "Back"),
        ("r", "replay", "Replay"),
        ("j", "scroll(1)", "Down"),
        ("k", "scroll(-1)", "Up"),
    ]

    def __init__(self, found: Found) -> None:
        super().__init__()
        self.found = found

    def compose(self) -> ComposeResult:
        """The page, which scrolls."""
        with VerticalScroll():
            yield Static(page(self.found), id="page")
        yield Footer()

    def action_scroll(self, by: int) -> None:
        """A line on, or back."""
        self.query_one(VerticalScroll).scroll_relative(y=by, animate=False)

    def action_replay(self) -> None:
        """Ask how it is to be sent again."""
        app = self.app
        assert isinstance(app, Deliveries)
        self.app.push_screen(Replay(app.asked, str(self.found["id"])))


class Replay(ModalScreen[None]):
    """How it is to be sent again, and what came of it."""

    CSS = "Replay { align: center middle; } #how { width: 76; height: auto; border: round $accent; padding: 1 2; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        ("s", "turn('sign')", "Sign again"),
        ("t", "turn('to')", "Checks or application"),
        ("d", "turn('duplicates')", "Duplicates"),
        ("p", "send(True)", "Show what would be sent"),
        ("enter", "send(False)", "Send"),
        ("escape", "app.pop_screen", "Close"),
    ]
    CHOICES: ClassVar[dict[str, dict[str, str]]] = {
        "sign": {"received": "with the proof that came", "now": "signed again, as of now"},
        "to": {"checks": "through every check", "application": "to the application alone"},
        "duplicates": {"refuse": "a duplicate is refused", "pass": "a duplicate passes, this once"},
    }

    def __init__(self, console: AskedConsole, name: str) -> None:
        super().__init__()
        self._asked = console
        self._delivery = name
        self.how = {"sign": "received", "to": "checks", "duplicates": "refuse"}
        self.outcome = ""

    def compose(self) -> ComposeResult:
        """What is chosen, and what came of it."""
        yield Static(id="how")
        yield Footer()

    def on_mount(self) -> None:
        """Say what is chosen."""
        self._say()

    def _say(self) -> None:
        keys = {"sign": "s", "to": "t", "duplicates": "d"}
        lines = [f"[{keys[word]}] {self.CHOICES[word][chosen]}" for word, chosen in self.how.items()]
        shown = visible(self.outcome)  # of a diff the lines stay
        self.query_one("#how", Static).update(Text("\n".join([f"Replay {self._delivery}", "", *lines, "", shown])))

    def action_turn(self, word: str) -> None:
        """The other choice."""
        self.how[word] = next(each for each in self.CHOICES[word] if each != self.how[word])
        self._say()

    @work(exclusive=True)
    async def action_send(self, dry: bool) -> None:  # noqa: FBT001 - as Textual calls it
        """Send it, or say what would be sent."""
        how: dict[str, object] = {word: chosen for word, chosen in self.how.items() if chosen != "refuse"}
        try:
            found = await self._asked.replay(self._delivery, {**how, "dry_run": dry})
        except HookwardError as error:
            self.outcome = str(error)
        else:
            diff = found.get("diff") or "It would be sent as it came."
            self.outcome = f"{found['outcome']}\n\n{diff}" if dry else str(found["outcome"])
        self._say()
