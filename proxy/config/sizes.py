"""Sizes, times and numbers as people write them: ``25MiB``, ``512B``, ``8s``, ``500ms``, ``2 routes``.

Strict on purpose: ``25m`` is megabytes to one program, minutes to the next and mebibytes to a third, so it is refused
with the spelling that was probably meant. Binary units are powers of 1024 (IEC 80000-13), decimal ones of 1000.
"""

from __future__ import annotations

import re

SIZE_FORM = 'write a size such as "25MiB", "16KiB" or "512B" (a bare number is bytes)'
TIME_FORM = 'write a time such as "8s", "500ms", "5m" or "1h"'
RATE_FORM = 'write a rate such as "20/s", "100/m" or "1000/h"'

_SIZE_UNITS = {
    "B": 1,
    "KiB": 1 << 10,
    "MiB": 1 << 20,
    "GiB": 1 << 30,
    "TiB": 1 << 40,
    "KB": 10**3,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
}
#: In milliseconds, so that no sum of parts is ever off by a rounding.
_TIME_UNITS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
#: A number of requests that is whole but for the rounding of a division.
_NEARLY = 1e-6
_RATE = re.compile(r"([0-9]{1,6}) ?/ ?([smh])")
_SIZE = re.compile(r"([0-9]{1,18}) ?([A-Za-z]{0,3})")
_TIME = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,3})?) ?([a-z]{1,2})")


def parse_size(value: object) -> int:
    """Bytes of ``25MiB`` or of a bare whole number. ValueError says what is wrong, never how to mend it."""
    if isinstance(value, int) and not isinstance(value, bool):
        if value < 0:
            raise ValueError("a size is not negative")
        return value
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match is not None and (match[2] or "B") in _SIZE_UNITS:
        return int(match[1]) * _SIZE_UNITS[match[2] or "B"]
    raise ValueError(f"{value[:40]!r} is not a size{_meant(match)}" if isinstance(value, str) else "is not a size")


def parse_time(value: object) -> float:
    """Seconds of ``8s``. A bare ``0`` needs no unit; any other bare number does. ValueError as ``parse_size``."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        if value == 0:
            return 0.0
        raise ValueError(f"{value} has no unit")
    match = _TIME.fullmatch(value) if isinstance(value, str) else None
    if value == "0":
        return 0.0
    if match is not None and match[2] in _TIME_UNITS:
        return float(match[1]) * _TIME_UNITS[match[2]] / 1000
    lacking = "has no unit" if re.fullmatch(r"[0-9.]{1,12}", str(value)) else "is not a time"
    raise ValueError(f"{value[:40]!r} {lacking}" if isinstance(value, str) else "is not a time")


def parse_rate(value: object) -> float:
    """Requests per second of ``20/s``. ValueError as ``parse_size``."""
    match = _RATE.fullmatch(value) if isinstance(value, str) else None
    if match is None or int(match[1]) == 0:
        shown = repr(value[:40]) if isinstance(value, str) else "this"
        raise ValueError(f"{shown} is not a rate")
    return int(match[1]) * 1000 / _TIME_UNITS[match[2]]


def show_rate(per_s: float) -> str:
    """The shortest exact spelling of whole numbers: ``20/s``, ``100/m``."""
    for unit in ("s", "m", "h"):
        count = per_s * _TIME_UNITS[unit] / 1000
        if abs(count - round(count)) < _NEARLY and round(count):
            break
    return f"{round(count)}/{unit}"


def show_size(size: int) -> str:
    """The shortest exact spelling: ``25MiB``, ``1000B``."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if size and size % _SIZE_UNITS[unit] == 0:
            return f"{size // _SIZE_UNITS[unit]}{unit}"
    return f"{size}B"


def show_time(seconds: float) -> str:
    """The shortest exact spelling of whole units: ``90s``, ``500ms``, ``1h``."""
    millis = round(seconds * 1000)
    for unit in ("d", "h"):
        if millis and millis % _TIME_UNITS[unit] == 0:
            return f"{millis // _TIME_UNITS[unit]}{unit}"
    return f"{millis}ms" if millis % 1000 else f"{millis // 1000}s"


def about_size(size: int) -> str:
    """About how much, for people: ``1.5MiB``."""
    for unit in ("GiB", "MiB", "KiB"):
        if size >= _SIZE_UNITS[unit]:
            return f"{size / _SIZE_UNITS[unit]:.1f}{unit}"
    return f"{size}B"


def about_time(seconds: float | None) -> str:
    """About how long, for people, in the largest unit that fills: ``3h``, ``12s``; ``-`` of None."""
    if seconds is None:
        return "-"
    for unit in ("d", "h", "m", "s"):
        count = int(seconds * 1000 // _TIME_UNITS[unit])
        if count > 0:
            return f"{count}{unit}"
    return "0s"


def took(seconds: float | None) -> str:
    """How long something that was measured took: ``1.5 ms``, ``2.50 s``; ``-`` of None."""
    if seconds is None:
        return "-"
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.1f} ms"


def count(number: int, noun: str) -> str:
    """``1 route``, ``2 routes``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _meant(match: re.Match[str] | None) -> str:
    """`` (25MiB?)`` where the letter says which unit was probably meant."""
    if match is None or match[2].lower() not in {"k", "m", "g", "t", "kib", "mib", "gib", "tib", "mb", "gb", "tb"}:
        return ""
    return f" ({match[1]}{match[2][0].upper()}iB?)"
