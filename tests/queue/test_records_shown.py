"""Kept deliveries as people and programs see them."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from proxy.core.search import parse_query
from proxy.queue import records
from proxy.queue.records import Condition, Kept, LaneCount, Parcel, Try

NOW = 1_700_000_000.0
FACTS = {"event": "push", "client": "192.0.2.7", "path": "/hook", "agent": "GitHub", "delivery_id": "d-1"}
PARCEL = Parcel("abc1", "github", NOW - 3600, b"POST /hook HTTP/1.1\r\nHost: h\r\n\r\n", None, 2048, FACTS)
KEPT = Kept(
    7,
    PARCEL,
    Condition.WAITING,
    NOW + 30,
    2,
    (Try(NOW - 60, 0, "upstream_timeout"), Try(NOW - 5, 503, "delivered", "", 0.1, "agent:ci/ab12")),
)


@pytest.mark.parametrize(
    "words",
    ["", "route:github", "event:push status:503", "id:abc1", "ip:192.0.2.0/24", "size>1k", "before:30m", "waiting",
     "d-1", "-dead", "agent:ci"],
)  # fmt: skip
def test_search_words_find_it(words: str) -> None:
    assert parse_query(words, NOW).matches(records.searched_of(KEPT))


@pytest.mark.parametrize("words", ["route:gitlab", "agent:other", "dead", "after:30m", "status:200", "size<1k"])
def test_search_words_leave_it_out(words: str) -> None:
    assert not parse_query(words, NOW).matches(records.searched_of(KEPT))


def test_a_line() -> None:
    line = "abc1  waiting  github  push  2.0KiB  1h old  2 attempts  answered 503  agent ci  again in 30s"
    assert records.line_of(KEPT, NOW) == line


def test_what_a_sender_wrote_drives_no_terminal() -> None:
    hostile = replace(KEPT, parcel=PARCEL._replace(facts={"event": "\x1b[2J\n\u202e", "agent": "a\nb"}))
    for line in (records.line_of(hostile, NOW), *records.page_of(hostile, NOW), json.dumps(records.json_of(hostile))):
        assert line.isprintable()


def test_a_page_has_every_attempt() -> None:
    page = "\n".join(records.page_of(KEPT, NOW))
    assert "upstream_timeout" in page
    assert "answered 503" in page
    assert "answered 503, 0.100 s, by agent:ci/ab12" in page
    assert "POST /hook HTTP/1.1" in page
    assert "user_agent GitHub" in page


def test_json_is_whole() -> None:
    found = json.loads(json.dumps(records.json_of(KEPT)))
    assert (found["id"], found["condition"], len(found["attempts"])) == ("abc1", "waiting", 2)
    assert (found["agent"], found["user_agent"]) == ("ci", "GitHub")
    assert [one["upstream"] for one in found["attempts"]] == ["", "agent:ci/ab12"]


def test_the_agent_is_the_last_that_had_it() -> None:
    tries = (*KEPT.tries, Try(NOW, 0, "agent_away"))
    assert records.agent_through(replace(KEPT, tries=tries)) == "ci"
    assert records.agent_through(replace(KEPT, tries=(Try(NOW, 200, "delivered", "", 0.1, "http://a:80"),))) == ""


def test_a_table_with_rates() -> None:
    before = LaneCount("github", live=9, accepted=10, delivered=2)
    after = LaneCount("github", live=8, dead=1, bytes=3 << 20, accepted=30, delivered=12, paused=True, oldest=NOW - 90)
    [head, row] = records.table_of([after], [before], 10.0, NOW)
    assert head.split() == ["ROUTE", "WAITING", "DEAD", "OLDEST", "IN/S", "OUT/S", "SIZE"]
    assert row.split() == ["github", "8", "1", "1m", "2.0", "1.0", "3.0MiB", "paused"]
    assert records.count_json(after, before, 10.0, NOW)["accepted_per_s"] == 2.0
