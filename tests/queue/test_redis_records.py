"""What is read from Redis is a record, or an error of the queue."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.queue.records import QueueError, Try
from proxy.queue.redis_records import as_queue_error, read_kept, read_lane_count, read_taken, text_of

TRIED = text_of(Try(1.0, 200, "delivered")).encode()
texts = st.binary(max_size=20) | st.sampled_from([b"1", b"{}", b"2.5", b"[1]", TRIED])


@given(st.lists(texts, min_size=13, max_size=16), st.lists(texts, max_size=2))
def test_nothing_but_its_own_error(row: list[bytes], tries: list[bytes]) -> None:
    for read in (
        lambda: read_taken(row),
        lambda: read_kept(row, tries, with_body=True),
        lambda: read_lane_count([row[0], row[1:5], row[5:7], row[7:9]]),
    ):
        with suppress(QueueError), as_queue_error():
            read()


def test_a_try_is_read_as_it_was_written() -> None:
    last = Try(1.5, 503, "word", 'a "detail"', 0.25)
    row = [b"1", b"id", b"hook", b"2.5", b"2.5", b"1", b"", b"", b"0", b"3", b"9.5", b"{}", b"", b"head", b""]
    kept = read_kept(row, [text_of(last).encode()], with_body=False)
    assert kept.tries == (last,)
    with pytest.raises(QueueError), as_queue_error():
        read_taken(row[1:])
