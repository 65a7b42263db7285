"""``ip-sets``: what published address lists there are, what they hold, and what their feeds say now.

``show`` (the default) looks at what is here, ``diff`` asks the feeds and tells the difference, ``refresh`` keeps what
they say in the state directory, where a running hookward finds it at its next look, or at once on SIGHUP. Your own
lists are known from the configuration; the rest of it is not read, so no secret has to be readable.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import ssl
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field, replace

from proxy.config.flags import CONFIG_VARIABLE
from proxy.config.guards import slug_of
from proxy.config.host import ExitCode, Paint, environment
from proxy.config.load import load_sets
from proxy.config.notation import show_time
from proxy.config.parsers import Parser
from proxy.config.problems import suggestion
from proxy.config.set_shelf import ALIASES, Copy, SetShelf, confirm_stored, write_stored
from proxy.config.settings import Feed
from proxy.core.ip_sets import FeedError
from proxy.http1 import utc_day, utc_text
from proxy.net.clock import Clock
from proxy.net.feed_fetch import Known
from proxy.net.feeds import Fresh, fetch_feed, judge
from proxy.values import frozen, mutable

_EPILOG = """\
examples:
  hookward ip-sets                            all lists, and what is stored
  hookward ip-sets show "aws?service=EC2"     the prefixes themselves
  hookward ip-sets diff github                ask the feed; 1 where it differs
  hookward ip-sets refresh -c hookward.toml   fetch the lists of the file
"""


# -- the lists in words


_HEADINGS = ("SET", "PREFIXES", "CONFIRMED", "AGE", "FROM", "FEED")


@frozen
class SetRow:
    """One list; ``copy`` is None where nothing is stored of it."""

    feed: Feed
    copy: Copy | None

    def cells(self, now: float) -> tuple[str, ...]:
        """The cells of its row, in the order of the headings."""
        copy = self.copy
        if copy is None:
            needs = "needs a refresh" if self.feed.url else "needs a feed"
            return self.feed.name, "-", "never", "-", needs, self.feed.url or "none"
        age = (utc_day(copy.confirmed), show_age(now - copy.confirmed))
        origin = "package" if copy.origin == "snapshot" else "feed"
        return self.feed.name, str(len(copy.listing)), *age, origin, self.feed.url or "none"

    def data(self, now: float) -> dict[str, object]:
        """What ``--json`` has for it."""
        copy, feed = self.copy, self.feed
        return {
            "set": feed.name,
            "prefixes": 0 if copy is None else len(copy.listing),
            "confirmed": None if copy is None else utc_text(copy.confirmed),
            "age_seconds": None if copy is None else round(max(0.0, now - copy.confirmed)),
            "from": None if copy is None else copy.origin,
            "feed": feed.url or None,
            "refresh_seconds": feed.refresh_s if feed.is_refreshed else None,
            "docs": feed.docs or None,
            "note": feed.note or None,
        }


def table_lines(rows: Iterable[SetRow], now: float) -> list[str]:
    """The lists as a table; the first line has the headings."""
    cells = [_HEADINGS, *(row.cells(now) for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(_HEADINGS))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def sentence(row: SetRow, now: float) -> str:
    """One list in a line, for ``check``."""
    copy, feed = row.copy, row.feed
    if copy is None:
        return f"set:{feed.name}: nothing is here yet; fetched at the start."
    kept = f"refreshed every {show_time(feed.refresh_s)}" if feed.is_refreshed else "never refreshed"
    when = f"confirmed {utc_day(copy.confirmed)} ({show_age(now - copy.confirmed)} ago)"
    return f"set:{feed.name}: {len(copy.listing)} prefixes, {when}, {kept}."


def show_age(seconds: float) -> str:
    """``3 days``, ``5 h``, ``12 min``: the largest unit that fills."""
    seconds = max(0.0, seconds)
    if seconds >= 2 * 86400:
        return f"{seconds / 86400:.0f} days"
    if seconds >= 2 * 3600:
        return f"{seconds / 3600:.0f} h"
    return f"{seconds / 60:.0f} min"


# -- the command


@mutable
class _Work:
    """What one run of the command works with."""

    feeds: Mapping[str, Feed]
    state_dir: str | None
    now: float
    accept: bool
    shelf: SetShelf = field(default_factory=SetShelf)
    warnings: list[str] = field(default_factory=list)

    def copy(self, feed: Feed) -> Copy | None:
        return self.shelf.look(feed, self.state_dir, self.warnings)


def main(argv: Sequence[str]) -> int:
    """Show, compare or refresh. Raises ConfigError where the configuration cannot be read."""
    parser = build_parser()
    arguments = parser.parse_args(_with_action(argv))
    sets = load_sets(arguments.config, arguments.state_dir, environment())
    work = _Work(sets.feeds, sets.state_dir, Clock.wall(), arguments.accept)
    names = arguments.name or sets.used
    if arguments.action == "show":
        code = _show(parser, work, arguments.name, as_json=arguments.json)
    elif not names and (arguments.config or environment().get(CONFIG_VARIABLE)):
        print("no published list is in use: no `allow`, `deny` or `trusted_proxies` has a set:NAME")
        return ExitCode.OK
    else:
        code = _compare(parser, work, names, arguments.action)
    for warning in work.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    return code


def _compare(parser: Parser, work: _Work, names: Sequence[str], action: str) -> int:
    """Ask the feeds of the lists, and keep what they say where the action is to refresh."""
    if not names:
        parser.error(f"name the lists to {action}, or give --config: then it is those in use")
    chosen = list(dict.fromkeys(feed for name in names for feed in _feeds(parser, work, name)))
    if action == "refresh" and work.state_dir is None:
        parser.error("a state directory is needed to keep them: --state-dir PATH, or `state_dir` in --config")
    return asyncio.run(_ask_all(work, chosen, keep=action == "refresh"))


def build_parser() -> Parser:
    """The parser of the command."""
    parser = Parser(
        prog="hookward ip-sets",
        description="Show, compare and refresh the published address lists.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("action", choices=("show", "diff", "refresh"), help="what to do (show by default)")
    parser.add_argument("name", nargs="*", help="a list, for show also with a query: atlassian?product=bitbucket")
    parser.add_argument("--config", "-c", metavar="PATH", help="a configuration file, for your own lists")
    parser.add_argument("--state-dir", metavar="PATH", help="where the last good copies are stored")
    parser.add_argument("--accept", action="store_true", help="accept a list even if it has shrunk suspiciously")
    parser.add_argument("--json", action="store_true", help="as JSON")
    return parser


def _with_action(argv: Sequence[str]) -> list[str]:
    """``ip-sets github`` is ``ip-sets show github``."""
    words = list(argv)
    first = words[0] if words else ""
    return words if first in {"show", "diff", "refresh", "-h", "--help"} else ["show", *words]


def _feeds(parser: Parser, work: _Work, name: str) -> list[Feed]:
    """The lists that a name stands for; its query, where it has one, is left out."""
    word = slug_of(name.removeprefix("set:").partition("?")[0])
    if word in ALIASES:
        return [work.feeds[other] for other, _ in ALIASES[word]]
    if word not in work.feeds:
        parser.error(f"there is no address set {word!r}: {suggestion(word, [*work.feeds, *ALIASES])}")
    return [work.feeds[word]]


def _show(parser: Parser, work: _Work, names: Sequence[str], *, as_json: bool) -> int:
    if not names:
        rows = [SetRow(feed, work.copy(feed)) for feed in work.feeds.values()]
        heading, *lines = table_lines(rows, work.now)
        if as_json:
            print(json.dumps([row.data(work.now) for row in rows], indent=2))
        else:
            print(Paint.on(sys.stdout)(heading, "bold"), *lines, sep="\n")
        return ExitCode.OK
    found: list[str] = []
    code = ExitCode.OK
    for name in names:
        try:
            found += _prefixes(parser, work, name)
        except ValueError as error:
            print(f"{name}: {error}", file=sys.stderr)
            code = ExitCode.FAILED
    if as_json:
        print(json.dumps(found, indent=2))
    elif found:
        print(*found, sep="\n")
    return code


def _prefixes(parser: Parser, work: _Work, name: str) -> list[str]:
    word, _, query = name.removeprefix("set:").partition("?")
    asked = ALIASES.get(slug_of(word)) or ((word, query),)
    found: list[str] = []
    for other, inner in asked:
        [feed] = _feeds(parser, work, other)
        copy = work.copy(feed)
        if copy is None:
            raise ValueError(f"nothing of it is here yet: hookward ip-sets refresh {feed.name} --state-dir PATH")
        found += copy.listing.choose(inner)
    return found


async def _ask_all(work: _Work, feeds: Sequence[Feed], *, keep: bool) -> int:
    context = ssl.create_default_context()
    return max([await _ask(work, feed, context, keep=keep) for feed in feeds], default=ExitCode.OK)


async def _ask(work: _Work, feed: Feed, context: ssl.SSLContext, *, keep: bool) -> ExitCode:
    """Ask one feed and tell the difference; store it if ``keep``. Returns the exit code."""
    old = work.copy(feed)
    try:
        fresh = await _fetch(work, feed, old, context)
        if keep:
            assert work.state_dir is not None
            store = confirm_stored if old is not None and fresh.copy.listing is old.listing else write_stored
            store(work.state_dir, feed, fresh.copy)
    except FeedError as error:
        print(f"{feed.name}: {error}", file=sys.stderr)
        return ExitCode.UNAVAILABLE
    except OSError as error:
        print(f"{feed.name}: cannot be kept in {work.state_dir}: {error.strerror}", file=sys.stderr)
        return ExitCode.NO_PERMISSION
    print(f"{feed.name}: {fresh.difference}; {len(fresh.copy.listing)} prefixes")
    if keep:
        return ExitCode.OK
    for sign, prefixes in (("+", fresh.difference.added), ("-", fresh.difference.removed)):
        for prefix in prefixes:
            print(f"{sign}{prefix}")
    return ExitCode.FAILED if fresh.difference else ExitCode.OK


async def _fetch(work: _Work, feed: Feed, old: Copy | None, context: ssl.SSLContext) -> Fresh:
    if not feed.url:
        raise FeedError(f"it has no feed that a program could fetch (see {feed.docs or 'its documentation'})")
    # Without conditions: an operator who asks by hand wants the whole answer to be judged again.
    document = await fetch_feed(feed, Known(), context)
    assert document is not None, "nothing was known that could be confirmed"
    fresh = judge(feed, document, None if work.accept else old, [""], work.now)
    return replace(fresh, difference=fresh.difference.between(None if old is None else old.listing, fresh.copy.listing))
