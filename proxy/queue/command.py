"""``hookward queue``: look at what is kept, and change it, whether a process delivers from it or not.

A store may be open in several processes, so a command opens it as one more, changes what is to be changed in a
transaction, and rings for the courier. Where no process delivers, the command first puts back what one had under way
when it ended. Run by root it becomes the user that the store belongs to: no file of root's lies there afterwards.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from textwrap import fill

from proxy.config.host import ExitCode, environment, failed
from proxy.config.load import load
from proxy.config.parsers import SearchParser
from proxy.config.settings import QueueSettings
from proxy.core.search import FORMS, Query, SearchError, parse_query
from proxy.errors import FlagError, Problem
from proxy.net.clock import Clock
from proxy.queue import records
from proxy.queue.opening import OpenStore, open_store
from proxy.queue.records import Choice, Condition, Kept, QueueError
from proxy.values import frozen

#: Over so many seconds rates are measured.
RATE_S = 1.0
#: Deliveries of one change: what is changed is in one transaction.
BATCH = 500

_EXAMPLES = f"""
actions:
  status            depth, oldest, rate and size by route (without an action)
  list WORD...      what is kept, the oldest first; the words search
  show ID...        all that is known: attempts, and why they failed
  replay ID...      try these again now; or --dead, --since, --search
  drop ID...        remove these for good; or --dead, --since, --search (--yes)
  pause ROUTE       deliver nothing of a route; what comes is kept
  resume ROUTE      go on
  export ID|WORD... heads and bodies as lines of JSON

search words:
{fill(FORMS, 78, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False)}
"""


def main(argv: Sequence[str]) -> int:
    """Do what is asked of a store. Raises FlagError and ConfigError."""
    arguments = build_parser().parse(argv)
    place = _place(arguments)
    settings = place.settings
    _become_owner(settings)
    if settings.path is not None and not Path(settings.path).is_dir():
        return failed("queue", f"there is no folder {settings.path}: nothing was ever kept")
    try:
        return asyncio.run(_run(arguments, place))
    except QueueError as error:
        return failed("queue", error)


def build_parser() -> SearchParser:
    """The parser of the command."""
    parser = SearchParser(
        prog="hookward queue",
        description="Look at the deliveries that are kept, and change them, in a\nrunning process or at rest.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("action", metavar="ACTION", nargs="?", choices=_DOING, default="status", help="see below")
    parser.add_argument("words", metavar="WORD", nargs="*", help="ids, a route, or search words")
    parser.add_argument("-c", "--config", metavar="PATH", help="the configuration that says where the store is")
    parser.add_argument("--queue-path", metavar="DIR", help="the folder of the store, instead of a configuration")
    parser.add_argument("--dead", action="store_true", help="of `replay`, `drop`, `list`, `export`: dead letters")
    parser.add_argument("--since", metavar="TIME", help="those that were accepted since: 2h, or 2026-11-29T12:00")
    parser.add_argument("--search", metavar="WORDS", default="", help="those that match search words")
    parser.add_argument("--limit", metavar="N", type=int, default=1000, help="of `list`: at most so many (1000)")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")
    parser.add_argument("--yes", action="store_true", help="of `drop`: do it, though no ids are named")
    parser.add_argument("--json", action="store_true", help="one JSON document in each line")
    return parser


@frozen
class _StorePlace:
    """Where a store is, and what is known of routes: those that keep, and those that deliver directly."""

    settings: QueueSettings
    keeping: frozenset[str] = frozenset()
    direct: frozenset[str] = frozenset()


def _place(arguments: argparse.Namespace) -> _StorePlace:
    if arguments.queue_path is not None:
        return _StorePlace(QueueSettings(path=arguments.queue_path))
    words = [] if arguments.config is None else ["--config", arguments.config]
    if not words and "HOOKWARD_CONFIG" not in os.environ:
        mend = "name the configuration, -c /etc/hookward/hookward.toml, or the folder, --queue-path DIR"
        raise FlagError.of("hookward queue", "does not know where the store is", mend)
    loaded = load(words, environment())
    if loaded.settings.queue is None:
        problem = Problem("queue", "the configuration names no place to keep deliveries in", "add `state_dir`")
        raise FlagError([problem])
    keeping = frozenset(loaded.policy.lanes())
    return _StorePlace(
        loaded.settings.queue, keeping, frozenset(route.name for route in loaded.policy.routes) - keeping
    )


def _become_owner(settings: QueueSettings) -> None:
    """Root opens no database in a folder of another user's: that user could put a link to any file there."""
    if settings.path is None or os.geteuid() != 0:
        return
    with suppress(FileNotFoundError):
        status = Path(settings.path).lstat()
        if status.st_uid != 0:
            os.setgroups([])
            os.setgid(status.st_gid)
            os.setuid(status.st_uid)


async def _run(arguments: argparse.Namespace, place: _StorePlace) -> int:
    opened = open_store(place.settings, asyncio.get_running_loop())
    try:
        if opened.lock():  # nothing delivers from it now, and nothing begins to while we hold the lock
            await opened.store.recover(Clock.wall())
        return await _DOING[arguments.action](_Command(arguments, opened, place))
    finally:
        await opened.close()


class _Command:
    """One call of the command, with its store open."""

    def __init__(self, arguments: argparse.Namespace, opened: OpenStore, place: _StorePlace) -> None:
        self.place = place
        self.arguments = arguments
        self.words: list[str] = arguments.words
        self.opened = opened
        self.store = opened.store
        self.now = Clock.wall()
        since = f"after:{arguments.since}" if arguments.since else ""
        self.query = self._read(" ".join(part for part in (arguments.search, since) if part))

    def _read(self, text: str) -> Query:
        try:
            return parse_query(text, self.now)
        except SearchError as error:
            raise FlagError.of(f"column {error.column} of {text!r}", error.what, error.mend) from None

    async def meant(self, *, by_id: bool = True, content: bool = False) -> AsyncIterator[Kept]:
        """The deliveries that flags say, and words: as ids, or to search for."""
        query = self.query if by_id else self._read(" ".join([*self.words, self.query.text]))
        conditions = (Condition.DEAD,) if self.arguments.dead else ()
        async for kept in self.store.find(Choice(tuple(self.words) if by_id else (), conditions, content=content)):
            if query.matches(records.searched_of(kept)):
                yield kept

    def say(self, text: str) -> None:
        """For people, beside what is for programs."""
        print(text, file=sys.stderr if self.arguments.json else sys.stdout)


async def _status(command: _Command) -> int:
    before = await command.store.counts()
    await asyncio.sleep(RATE_S)
    now = Clock.wall()
    counts = await command.store.counts()
    seconds = now - command.now
    if command.arguments.json:
        earlier = {count.lane: count for count in before}
        for count in counts:
            print(json.dumps(records.count_json(count, earlier.get(count.lane, count), seconds, now)))
        return ExitCode.OK
    known = command.place.keeping | command.place.direct
    for line in records.table_of(counts, before, seconds, now, known):
        print(line)
    if command.opened.is_at_rest:
        print("no process delivers from it now")
    return ExitCode.OK


async def _list(command: _Command) -> int:
    left = command.arguments.limit
    async for kept in command.meant(by_id=False):
        if not left:
            command.say(f"there are more: --limit {2 * command.arguments.limit}")
            break
        left -= 1
        print(json.dumps(records.json_of(kept)) if command.arguments.json else records.line_of(kept, command.now))
    return ExitCode.OK


async def _show(command: _Command) -> int:
    _need_words(command, "an id")
    found = 0
    async for kept in command.meant():
        found += 1
        as_json = command.arguments.json
        print(json.dumps(records.json_of(kept)) if as_json else "\n".join(records.page_of(kept, command.now)))
    return _all_found(command, found)


async def _replay(command: _Command) -> int:
    return await _change(command, "replayed", lambda numbers: command.store.replay(numbers, command.now))


async def _drop(command: _Command) -> int:
    if not command.words and not command.arguments.yes and not command.arguments.dry_run:
        mend = "look with --dry-run, then add --yes"
        raise FlagError.of("hookward queue drop", "removes for good what is not named by its id", mend)
    return await _change(command, "dropped", command.store.drop)


async def _change(command: _Command, word: str, change: Callable[[Sequence[int]], Awaitable[int]]) -> int:
    if not command.arguments.dead and command.query.is_empty:
        _need_words(command, "ids, or --dead, --since or --search")
    meant = [kept async for kept in command.meant()]
    if command.arguments.dry_run:
        for kept in meant:
            print(records.line_of(kept, command.now))
        print(f"{len(meant)} would be {word}")
        return ExitCode.OK
    done = 0
    for start in range(0, len(meant), BATCH):
        done += await change([kept.number for kept in meant[start : start + BATCH]])
    command.opened.ring()
    command.say(f"{done} {word}")
    return _all_found(command, len(meant))


async def _pause(command: _Command) -> int:
    paused = command.arguments.action == "pause"
    known = {count.lane for count in await command.store.counts()} | command.place.keeping
    wrong = [lane for lane in command.words if lane not in known or lane in command.place.direct]
    if paused and wrong:
        # An operator who believes that a route is paused takes the application away.
        what, mend = f"{wrong[0]!r} is no route that keeps deliveries", 'write deliver = "fallback" or "queue" there'
        raise FlagError.of("hookward queue pause", what, mend)
    _need_words(command, "a route")
    for lane in command.words:
        await command.store.pause(lane, paused=paused)
        command.say(f"{lane}: {'paused' if paused else 'resumed'}")
    command.opened.ring()
    return ExitCode.OK


async def _export(command: _Command) -> int:
    """Of ids where all words are some; else of search words."""
    ids = {kept.parcel.id async for kept in command.store.find(Choice(tuple(command.words)))} if command.words else {""}
    async for kept in command.meant(by_id=ids == set(command.words), content=True):
        body = b"".join(command.store.pieces(kept.parcel))
        print(json.dumps({**records.json_of(kept), "body_base64": b64encode(body).decode("ascii")}))
    return ExitCode.OK


def _need_words(command: _Command, what: str) -> None:
    if not command.words:
        action = command.arguments.action
        raise FlagError.of(f"hookward queue {action}", f"needs {what}", "hookward queue list shows what there is")


def _all_found(command: _Command, found: int) -> int:
    missing = len(set(command.words)) - found
    if missing > 0:
        print(f"hookward queue: {missing} of the ids are not there (any more)", file=sys.stderr)
        return ExitCode.FAILED
    return ExitCode.OK


_DOING: Mapping[str, Callable[[_Command], Awaitable[int]]] = {
    "status": _status,
    "list": _list,
    "show": _show,
    "replay": _replay,
    "drop": _drop,
    "pause": _pause,
    "resume": _pause,
    "export": _export,
}
