"""Search words: what each of them finds, what is said of a query that is none, and that nothing else ever comes."""

from __future__ import annotations

import re
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.search import MAX_QUERY, MAX_TERMS, SearchError, parse_query

NOW = 1_800_000_000.0
PUSH = {
    "route": "github",
    "provider": "github",
    "event": "push",
    "reason": "signature_mismatch",
    "verdict": "refused",
    "id": "01a2291457b1-ebdb4a3b-1",
    "request_id": "ebdb4a3b00000001",
    "delivery_id": "72d3162e-cc78-11e3",
    "method": "POST",
    "path": "/hooks/git",
    "host": "hooks.example.com",
    "secret": "2026-q4",
    "status": 403,
    "ip": "140.82.112.7",
    "duration_s": 2.5,
    "size": 1_500_000,
    "time": NOW - 300,
    "text": '{"ref":"refs/heads/Main", "note": "a \\"quoted\\" word"}',
}


@pytest.mark.parametrize(
    "query",
    [
        "",
        "   ",
        "route:github",
        "ROUTE:GitHub",
        "route:git*",
        "route:*hub",
        "route:g*t*b",
        "path:/hooks/*",
        "route:stripe,github",
        "reason:signature_mismatch status:4xx event:push ip:140.82.0.0/16 >2s size>1m after:10m",
        "status:403",
        "status:403,404",
        "-status:5xx",
        "-route:stripe",
        "ip:140.82.112.7",
        "ip:2001:db8::/32,140.82.112.0/24",
        ">=2500ms",
        "<3s",
        "size>=1500000",
        "size<1.5mib",
        "before:4m",
        "before:2099-01-01",
        "after:2026-12-01T00:00:00Z",
        "refs/heads/main",
        '"refs/heads/Main"',
        '"\\"quoted\\\\\\" word"',
        "-nothing",
        "mismatch",
        'id:"72d3162e-cc78-11e3"',
        "id:ebdb4a3b00000001",
        "id:01a2291457b1-*",
    ],
)
def test_what_finds_it(query: str) -> None:
    assert parse_query(query, NOW).matches(PUSH)


@pytest.mark.parametrize(
    "query",
    [
        "route:git",
        'route:"git*"',
        "route:*git",
        "route:github*github",
        "-route:github",
        "status:5xx",
        "ip:10.0.0.0/8",
        "ip:unix:",
        ">2500ms",
        "size>10m",
        "before:10m",
        "after:1m",
        "nothing",
        '-"refs/heads"',
        "agent:ci",
        "route:github agent:*",
    ],
)
def test_what_does_not(query: str) -> None:
    assert not parse_query(query, NOW).matches(PUSH)


@pytest.mark.parametrize(
    ("query", "column", "says"),
    [
        ("route:github reasn:x", 14, 'did you mean "reason:"?'),
        ("zzzz:x", 1, "route, provider"),
        ("a -", 4, "without a word"),
        ("route:", 7, "without a value"),
        ("route:a,", 9, "without a value"),
        ('a "b', 3, "quotation mark"),
        ("status:9xx", 1, "status:5xx"),
        ("status:twohundred", 1, "status:5xx"),
        ("a ip:1.2.3.4/8", 3, ""),
        ("ip:nowhere", 1, "192.0.2.7"),
        (">2", 1, ">2s"),
        (">2parsecs", 1, ">2s"),
        ("size>big", 1, "size>1m"),
        ("x before:yesterday", 3, "before:10m"),
        ("x" * (MAX_QUERY + 1), MAX_QUERY + 1, "less"),
        ("x " * (MAX_TERMS + 1), 2 * MAX_TERMS + 1, "less"),
        ("http://a", 1, "quotes"),
    ],
)
def test_an_error_says_the_place(query: str, column: int, says: str) -> None:
    with pytest.raises(SearchError) as caught:
        parse_query(query, NOW)
    assert caught.value.column == column
    assert says in str(caught.value)
    assert f"column {column}: " in str(caught.value)


WORDISH = st.lists(
    st.sampled_from(
        [
            "route:",
            "ip:",
            "status:",
            "before:",
            "-",
            '"',
            "\\",
            ">",
            "<=",
            "size",
            "5xx",
            "1m",
            " ",
            ",",
            "*",
            "a:",
            "::",
        ]
    )
    | st.text(max_size=4),
    max_size=20,
).map("".join)
VALUES = st.text(max_size=10) | st.integers() | st.floats() | st.none()


@given(WORDISH, st.dictionaries(st.sampled_from(sorted(PUSH)), VALUES))
def test_any_query_is_read_or_its_mistake_is_said(query: str, record: dict[str, object]) -> None:
    with suppress(SearchError):
        assert parse_query(query, NOW).matches(record) in {True, False}


@given(WORDISH)
def test_the_place_of_a_mistake_is_in_the_query(query: str) -> None:
    columns = [0]
    try:
        parse_query(query, NOW)
    except SearchError as error:
        columns.append(error.column)
    assert 0 <= columns[-1] <= len(query) + 1


@given(st.text(min_size=1, max_size=20))
def test_quoted_text_is_found_as_it_is(text: str) -> None:
    quoted = '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    assert parse_query(quoted, NOW).matches({"text": f"before {text} after"})
    assert parse_query(f"route:{quoted}", NOW).matches({"route": text})
    assert not parse_query(f"-route:{quoted}", NOW).matches({"route": text})


@given(st.text("ab*", max_size=8), st.text("ab", max_size=8))
def test_a_star_stands_for_anything(pattern: str, value: str) -> None:
    wanted = re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), value) is not None
    if pattern:
        assert parse_query(f"route:{pattern}", NOW).matches({"route": value}) is wanted
