"""``Retry-After``, as applications write it, and as none should."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.queue.attempt import MOST_S, read_retry_after

NOW = 784111767.0  # Sun, 06 Nov 1994 08:49:27 GMT


@pytest.mark.parametrize(
    ("value", "pause"),
    [
        (None, 0.0),
        (b"", 0.0),
        (b"120", 120.0),
        (b"0", 0.0),
        (b"999999999", MOST_S),
        (b"9999999999", 0.0),
        (b"-5", 0.0),
        (b"1.5", 0.0),
        (b"Sun, 06 Nov 1994 08:49:37 GMT", 10.0),
        (b"Sunday, 06-Nov-94 08:49:37 GMT", 10.0),
        (b"Sun, 06 Nov 1994 08:00:00 GMT", 0.0),
        (b"Fri, 31 Dec 9999 23:59:59 GMT", MOST_S),
        (b"soon", 0.0),
        (b"\xff\xfe", 0.0),
    ],
)
def test_it_is_read(value: bytes | None, pause: float) -> None:
    assert read_retry_after(value, NOW) == pause


@given(st.binary(max_size=64) | st.text(max_size=64).map(str.encode))
def test_whatever_is_written_a_pause_comes_of_it(value: bytes) -> None:
    assert 0.0 <= read_retry_after(value, NOW) <= MOST_S
