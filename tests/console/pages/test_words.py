"""Numbers as people read them."""

from __future__ import annotations

import pytest

from proxy.console.pages import words


@pytest.mark.parametrize(
    ("said", "text"),
    [
        (words.clock(1_764_000_000.0785), "16:00:00.078"),
        (words.day(1_764_000_000.0), "2025-11-24 16:00:00 UTC"),
        (words.took(0.0015), "1.5 ms"),
        (words.took(2.5), "2.50 s"),
        (words.took(None), "-"),
        (words.size(12), "12 B"),
        (words.size(1536), "1.5 KiB"),
        (words.age(90000), "1 d"),
        (words.age(59), "59 s"),
        (words.age(0), "0 s"),
        (words.age(None), "-"),
        (words.counted(1, "delivery", "deliveries"), "1 delivery"),
        (words.counted(1200, "delivery", "deliveries"), "1,200 deliveries"),
    ],
)
def test_words(said: str, text: str) -> None:
    assert said == text
