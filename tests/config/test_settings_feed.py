"""A feed knows when it is fetched and which list it gives."""

from __future__ import annotations

from dataclasses import replace

from proxy.config.settings import Feed

FEED = Feed("office", "https://example.com/", None)


def test_it_is_fetched_where_there_is_something_to_fetch_and_a_time_for_it():
    assert FEED.is_refreshed
    assert not replace(FEED, url="").is_refreshed
    assert not replace(FEED, refresh_s=0.0).is_refreshed


def test_the_interval_does_not_make_it_another_list():
    assert replace(FEED, refresh_s=1.0).key == FEED.key
    assert replace(FEED, path="a[]").key != FEED.key
    assert replace(FEED, url="https://example.org/").key != FEED.key
