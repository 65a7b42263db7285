"""Times, sizes and shares as people read them."""

from __future__ import annotations

from datetime import UTC, datetime

_SIZES = (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10))
_AGES = (("d", 86400.0), ("h", 3600.0), ("min", 60.0), ("s", 1.0))


def clock(at: float) -> str:
    """The time of day in UTC, to a millisecond."""
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S.%f")[:-3]


def day(at: float) -> str:
    """The date and time in UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def took(seconds: float | None) -> str:
    """A duration."""
    if seconds is None:
        return "-"
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.1f} ms"


def size(count: int) -> str:
    """A number of bytes."""
    for unit, scale in _SIZES:
        if count >= scale:
            return f"{count / scale:.1f} {unit}"
    return f"{count} B"


def age(seconds: float | None) -> str:
    """About how long."""
    if seconds is None:
        return "-"
    for unit, scale in _AGES:
        if seconds >= scale:
            return f"{int(seconds // scale)} {unit}"
    return "0 s"


def counted(number: int, one: str, many: str) -> str:
    """``1 delivery``, ``2 deliveries``."""
    return f"{number:,} {one if number == 1 else many}"
