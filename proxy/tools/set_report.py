"""Address sets in words: how many prefixes, how old, and when they were last confirmed."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

from proxy.config.feed import Feed
from proxy.config.set_store import Copy
from proxy.config.sizes import show_time
from proxy.values import frozen

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
            return self.feed.name, "-", "never", "-", "needs a refresh" if self.feed.url else "needs a feed", self._feed
        origin = "package" if copy.origin == "snapshot" else "feed"
        return self.feed.name, str(len(copy.listing)), _day(copy), show_age(now - copy.confirmed), origin, self._feed

    @property
    def _feed(self) -> str:
        feed = self.feed
        return feed.url or "none"

    def data(self, now: float) -> dict[str, object]:
        """What ``--json`` has for it."""
        copy, feed = self.copy, self.feed
        return {
            "set": feed.name,
            "prefixes": 0 if copy is None else len(copy.listing),
            "confirmed": None if copy is None else _instant(copy),
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
    return (
        f"set:{feed.name}: {len(copy.listing)} prefixes, confirmed {_day(copy)} "
        f"({show_age(now - copy.confirmed)} ago), {kept}."
    )


def show_age(seconds: float) -> str:
    """``3 days``, ``5 h``, ``12 min``: the largest unit that fills."""
    seconds = max(0.0, seconds)
    if seconds >= 2 * 86400:
        return f"{seconds / 86400:.0f} days"
    if seconds >= 2 * 3600:
        return f"{seconds / 3600:.0f} h"
    return f"{seconds / 60:.0f} min"


def _day(copy: Copy) -> str:
    return dt.datetime.fromtimestamp(copy.confirmed, dt.UTC).strftime("%Y-%m-%d")


def _instant(copy: Copy) -> str:
    return dt.datetime.fromtimestamp(copy.confirmed, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
