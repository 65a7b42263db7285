"""Instants and counts as people read them; sizes and durations are said by ``config.sizes``."""

from __future__ import annotations

from datetime import UTC, datetime


def clock(at: float) -> str:
    """The time of day in UTC, to a millisecond."""
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S.%f")[:-3]


def day(at: float) -> str:
    """The date and time in UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def counted(number: int, one: str, many: str) -> str:
    """``1 delivery``, ``2 deliveries``."""
    return f"{number:,} {one if number == 1 else many}"
