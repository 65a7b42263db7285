"""Timestamps: what is one, what is none, and the window."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.signing.scheme import TimeFormat, judge_time, parse_time, write_time
from proxy.reasons import Reason
from tests.examples import examples


@pytest.mark.parametrize(
    ("form", "text", "said"),
    [
        (TimeFormat.SECONDS, b"1764000000", 1764000000),
        (TimeFormat.SECONDS, b"1764000000000", None),
        (TimeFormat.SECONDS, b"+1764000000", None),
        (TimeFormat.SECONDS, b" 1764000000", None),
        (TimeFormat.SECONDS, b"1_0", None),
        (TimeFormat.SECONDS, b"1.5", None),
        (TimeFormat.SECONDS, b"", None),
        (TimeFormat.SECONDS, b"\xd9\xa1", None),
        (TimeFormat.SECONDS, b"1764000000\n", None),
        (TimeFormat.MILLISECONDS, b"1764000000500", 1764000000.5),
        (TimeFormat.SECONDS_OR_MILLISECONDS, b"1764000000500", 1764000000.5),
        (TimeFormat.SECONDS_OR_MILLISECONDS, b"1764000000", 1764000000),
        (TimeFormat.RFC3339, b"2025-11-24T16:00:00Z", 1764000000),
        (TimeFormat.RFC3339, b"2025-11-24T17:00:00.000+01:00", 1764000000),
        (TimeFormat.RFC3339, b"2025-11-24T16:00:00.123456789Z", 1764000000.123456),
        (TimeFormat.RFC3339, b"2025-11-24T16:00:00", None),
        (TimeFormat.RFC3339, b"2025-11-24 16:00:00Z", None),
        (TimeFormat.RFC3339, b"2025-02-30T16:00:00Z", None),
        (TimeFormat.RFC3339, b"0000-01-01T00:00:00Z", None),
        (TimeFormat.RFC3339, b"0001-01-01T00:00:00+23:59", -62135683140),
        (TimeFormat.RFC3339, b"2025-11-24T16:00:00+99:00", None),
        (TimeFormat.ISO_UTC, b"2025-11-24T16:00:00", 1764000000),
        (TimeFormat.ISO_UTC, b"2025-11-24T16:00:00.5Z", 1764000000.5),
        (TimeFormat.ANY, b"Mon, 24 Nov 2025 16:00:00 GMT", 1764000000),
        (TimeFormat.ANY, b"Mon, 99 Nov 2025 16:00:00 GMT", None),
        (TimeFormat.ANY, b"2025-11-24T16:00:00+00:00", 1764000000),
        (TimeFormat.ANY, b"1764000000", 1764000000),
        (TimeFormat.ANY, b"}1764000000", None),
    ],
)
def test_reading(form, text, said):
    assert parse_time(form, text) == said


@pytest.mark.parametrize("form", TimeFormat)
@examples(40)
@given(now=st.integers(0, 4_000_000_000))
def test_what_is_written_is_read(form, now):
    assert parse_time(form, write_time(form, now)) == now


@pytest.mark.parametrize("form", TimeFormat)
@examples(40)
@given(text=st.one_of(st.binary(max_size=40), st.from_regex(r"\A[0-9T:.Z+-]{1,40}\Z").map(str.encode)))
def test_reading_never_raises(form, text):
    said = parse_time(form, text)
    assert said is None or isinstance(said, int | float)


@pytest.mark.parametrize(
    ("form", "text"),
    [
        (TimeFormat.SECONDS, b"1"),
        (TimeFormat.MILLISECONDS, b"1250"),
        (TimeFormat.RFC3339, b"1970-01-01T00:00:01.250000Z"),
        (TimeFormat.ISO_UTC, b"1970-01-01T00:00:01.250000"),
    ],
)
def test_writing(form, text):
    assert write_time(form, 1.25) == text


def test_the_edge_of_the_window_is_inside():
    assert judge_time(1000, 1300, 300) is None
    assert judge_time(1000, 1300.001, 300) is Reason.TIMESTAMP_TOO_OLD
    assert judge_time(1300, 1000, 300) is None
    assert judge_time(1300.001, 1000, 300) is Reason.TIMESTAMP_IN_FUTURE
    assert judge_time(0, 1e12, None) is None


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "UTC"])
def test_the_zone_of_the_host_does_not_matter(monkeypatch, zone):
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        assert parse_time(TimeFormat.ISO_UTC, b"2025-11-24T16:00:00") == 1764000000
        assert write_time(TimeFormat.ISO_UTC, 1764000000.0).startswith(b"2025-11-24T16:00:00")
    finally:
        monkeypatch.undo()
        time.tzset()


def test_the_borders_of_the_forms():
    both = TimeFormat.SECONDS_OR_MILLISECONDS
    assert parse_time(both, b"99999999999") == 99999999999
    assert parse_time(both, b"100000000000") == 100000000
    assert parse_time(TimeFormat.ISO_UTC, b"2025-11-24") is None
