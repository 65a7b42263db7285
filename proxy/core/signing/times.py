"""Timestamps of signatures: strict reading, writing, and the window both ways.

``int`` takes ``+5``, ``1_0`` and blanks, and some SDKs let a timestamp that is no number pass the age test. Here a
timestamp is digits of a bounded length or a full RFC 3339 date-time, else it is malformed. The clock is an argument.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime

from proxy.core.signing.scheme import TimeFormat
from proxy.http1 import read_http_date
from proxy.reasons import Reason

_SECONDS = re.compile(rb"[0-9]{1,11}")
_MILLISECONDS = re.compile(rb"[0-9]{1,14}")
_CLOCK = rb"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?"
_RFC3339 = re.compile(_CLOCK + rb"(?:Z|[+-][0-9]{2}:[0-9]{2})")
_ISO_UTC = re.compile(_CLOCK + rb"(?:Z|[+-][0-9]{2}:[0-9]{2})?")
_FIRST_MILLISECONDS = 12  # digits: seconds have eleven until the year 5138


def _date_time(text: bytes) -> float | None:
    try:
        said = datetime.fromisoformat(text.decode("ascii"))
        return (said if said.tzinfo else said.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


_FORMS: dict[TimeFormat, tuple[re.Pattern[bytes], Callable[[bytes], float | None]]] = {
    TimeFormat.SECONDS: (_SECONDS, int),
    TimeFormat.MILLISECONDS: (_MILLISECONDS, lambda text: int(text) / 1000),
    TimeFormat.RFC3339: (_RFC3339, _date_time),
    TimeFormat.ISO_UTC: (_ISO_UTC, _date_time),
}


def parse_time(form: TimeFormat, text: bytes) -> float | None:
    """Seconds since the epoch that ``text`` says, or None where it is not written as it must be."""
    if form is TimeFormat.SECONDS_OR_MILLISECONDS:
        form = TimeFormat.MILLISECONDS if len(text) >= _FIRST_MILLISECONDS else TimeFormat.SECONDS
    if form is TimeFormat.ANY:
        date = read_http_date(text.decode("latin-1"))
        if date is not None:
            return date
        said = parse_time(TimeFormat.SECONDS_OR_MILLISECONDS, text)
        return parse_time(TimeFormat.ISO_UTC, text) if said is None else said
    pattern, read = _FORMS[form]
    return read(text) if pattern.fullmatch(text) else None


def write_time(form: TimeFormat, now: float) -> bytes:
    """``now`` (seconds since the epoch) as ``form`` writes it."""
    if form is TimeFormat.MILLISECONDS:
        return b"%d" % round(now * 1000)
    if form in (TimeFormat.RFC3339, TimeFormat.ISO_UTC):
        text = datetime.fromtimestamp(now, UTC).replace(tzinfo=None).isoformat()
        return (text + ("Z" if form is TimeFormat.RFC3339 else "")).encode("ascii")
    return b"%d" % int(now)


def judge_time(said: float, now: float, tolerance_s: float | None) -> Reason | None:
    """Why a signature made at ``said`` is not fresh at ``now``, or None. The window is closed: its edge is fresh."""
    if tolerance_s is None:
        return None
    if now - said > tolerance_s:
        return Reason.TIMESTAMP_TOO_OLD
    if said - now > tolerance_s:
        return Reason.TIMESTAMP_IN_FUTURE
    return None
