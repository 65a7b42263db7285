"""Numbers as people read them."""

from __future__ import annotations

import pytest

from proxy.console.pages import markup


@pytest.mark.parametrize(
    ("said", "text"),
    [
        (markup.clock(1_764_000_000.0785), "16:00:00.078"),
        (markup.day(1_764_000_000.0), "2025-11-24 16:00:00 UTC"),
        (markup.counted(1, "delivery", "deliveries"), "1 delivery"),
        (markup.counted(1200, "delivery", "deliveries"), "1,200 deliveries"),
    ],
)
def test_words(said: str, text: str) -> None:
    assert said == text
