from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.notation import (
    about_size,
    about_time,
    parse_rate,
    parse_size,
    parse_time,
    show_rate,
    show_size,
    show_time,
    took,
)


@pytest.mark.parametrize(
    ("written", "size"),
    [
        (0, 0),
        (512, 512),
        ("0", 0),
        ("512", 512),
        ("512B", 512),
        ("16KiB", 16384),
        ("16 KiB", 16384),
        ("25MiB", 26214400),
        ("1GiB", 1 << 30),
        ("1TiB", 1 << 40),
        ("25MB", 25_000_000),
        ("1kB", 1000),
    ],
)
def test_sizes(written: object, size: int) -> None:
    assert parse_size(written) == size


@pytest.mark.parametrize(
    "written",
    [
        "",
        "B",
        "25m",
        "25mib",
        "-1",
        -1,
        "1.5MiB",
        "1e3",
        "0x10",
        "1_000",
        "٣B",
        " 1B",
        "1B ",
        "1  B",
        1.5,
        True,
        None,
        [],
    ],
)
def test_what_is_no_size(written: object) -> None:
    with pytest.raises(ValueError, match="size"):
        parse_size(written)


@pytest.mark.parametrize(("written", "meant"), [("25m", "25MiB"), ("8k", "8KiB"), ("1g", "1GiB"), ("5mib", "5MiB")])
def test_the_unit_that_was_meant_is_said(written: str, meant: str) -> None:
    with pytest.raises(ValueError, match=rf"\({meant}\?\)"):
        parse_size(written)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("8s", 8.0), ("500ms", 0.5), ("1h", 3600.0), ("5m", 300.0), ("7d", 604800.0), ("0.5s", 0.5), (0, 0.0), ("0", 0.0)],
)
def test_times(written: object, seconds: float) -> None:
    assert parse_time(written) == seconds


@pytest.mark.parametrize("written", [8, 1.5, "8", "8.5"])
def test_a_time_needs_a_unit(written: object) -> None:
    with pytest.raises(ValueError, match="no unit"):
        parse_time(written)


@pytest.mark.parametrize(
    "written", ["", "s", "8S", "8 min", "-8s", "1h30m", "8s ", "nan", "infs", "٣s", True, False, None, {}]
)
def test_what_is_no_time(written: object) -> None:
    with pytest.raises(ValueError, match="time"):
        parse_time(written)


@given(st.integers(0, 1 << 50))
def test_a_shown_size_means_itself(size: int) -> None:
    assert parse_size(show_size(size)) == size


@given(st.integers(0, 10**12))
def test_a_shown_time_means_itself(millis: int) -> None:
    assert parse_time(show_time(millis / 1000)) == millis / 1000


@pytest.mark.parametrize(
    ("text", "per_s"), [("20/s", 20.0), ("1/m", 1 / 60), ("90 / m", 1.5), ("1000/h", 1000 / 3600), ("1/h", 1 / 3600)]
)
def test_rates(text: str, per_s: float) -> None:
    assert parse_rate(text) == pytest.approx(per_s)


@pytest.mark.parametrize("text", ["0/s", "20", "20/", "/s", "20/d", "-1/s", "1.5/s", 20, None, "20 per second"])
def test_bad_rates(text: object) -> None:
    with pytest.raises(ValueError, match="is not a rate"):
        parse_rate(text)


@given(st.integers(1, 999_999), st.sampled_from("smh"))
def test_a_shown_rate_means_itself(count: int, unit: str) -> None:
    per_s = parse_rate(f"{count}/{unit}")
    assert parse_rate(show_rate(per_s)) == pytest.approx(per_s)


@given(st.one_of(st.text(max_size=30), st.integers(), st.floats(), st.lists(st.integers()), st.booleans()))
def test_junk_raises_value_error_only(written: object) -> None:
    for parse in (parse_size, parse_time, parse_rate):
        with contextlib.suppress(ValueError):
            assert parse(written) >= 0


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (show_size(26214400), "25MiB"),
        (show_size(1000), "1000B"),
        (show_size(0), "0B"),
        (about_size(12), "12B"),
        (about_size(1536), "1.5KiB"),
        (about_size(5 << 30), "5.0GiB"),
        (about_time(90000), "1d"),
        (about_time(59), "59s"),
        (about_time(0), "0s"),
        (about_time(-1), "0s"),
        (about_time(None), "-"),
        (took(0.0015), "1.5 ms"),
        (took(2.5), "2.50 s"),
        (took(None), "-"),
        (show_time(90), "90s"),
        (show_time(0.5), "500ms"),
        (show_time(3600), "1h"),
        (show_time(0), "0s"),
        (show_rate(20.0), "20/s"),
        (show_rate(100 / 60), "100/m"),
        (show_rate(1 / 3600), "1/h"),
    ],
)
def test_shown(shown: str, expected: str) -> None:
    assert shown == expected
