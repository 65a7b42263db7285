"""Lists as people read them."""

from __future__ import annotations

import pytest

from proxy.config.set_shelf import Copy
from proxy.config.settings import Feed
from proxy.core.ip_sets import listing_of
from proxy.tools.ip_sets import SetRow, sentence, show_age, table_lines

NOW = 1_796_000_000.0  # 2026-11-30
FEED = Feed("office", "https://example.com/", None)
COPY = Copy(listing_of({(): ["192.0.2.0/24", "2001:db8::/32"]}), NOW - 3 * 86400, "feed")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0 min"),
        (59, "1 min"),
        (3600, "60 min"),
        (7200, "2 h"),
        (86400, "24 h"),
        (172800, "2 days"),
        (9e6, "104 days"),
    ],
)
def test_an_age_is_short(seconds: float, text: str):
    assert show_age(seconds) == text


def test_the_table_says_what_is_here_and_what_is_not():
    rows = [
        SetRow(FEED, COPY),
        SetRow(Feed("new", "https://example.com/new", None), None),
        SetRow(Feed("old", "", None), None),
    ]
    heading, office, new, old = (line.split() for line in table_lines(rows, NOW))
    assert heading == ["SET", "PREFIXES", "CONFIRMED", "AGE", "FROM", "FEED"]
    assert office == ["office", "2", "2026-11-27", "3", "days", "feed", "https://example.com/"]
    assert new == ["new", "-", "never", "-", "needs", "a", "refresh", "https://example.com/new"]
    assert old == ["old", "-", "never", "-", "needs", "a", "feed", "none"]


def test_the_same_for_programs():
    assert SetRow(FEED, COPY).data(NOW) == {
        "set": "office",
        "prefixes": 2,
        "confirmed": "2026-11-27T00:53:20Z",
        "age_seconds": 259200,
        "from": "feed",
        "feed": "https://example.com/",
        "refresh_seconds": 3600.0,
        "docs": None,
        "note": None,
    }
    assert SetRow(Feed("old", "", None), None).data(NOW)["age_seconds"] is None


def test_a_sentence_for_check():
    assert sentence(SetRow(FEED, COPY), NOW) == (
        "set:office: 2 prefixes, confirmed 2026-11-27 (3 days ago), refreshed every 1h."
    )
    packaged = SetRow(Feed("old", "", None), Copy(COPY.listing, NOW, "snapshot"))
    assert sentence(packaged, NOW).endswith("(0 min ago), never refreshed.")
    assert sentence(SetRow(FEED, None), NOW) == "set:office: nothing is here yet; fetched at the start."
