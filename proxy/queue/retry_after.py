"""``Retry-After`` (RFC 9110 section 10.2.3), as an application may write it: a pause comes of whatever it writes."""

from __future__ import annotations

import re
from datetime import UTC
from email.utils import parsedate_to_datetime

#: No pause is longer, whatever is asked for.
MOST_S = 86400.0
_SECONDS = re.compile(rb"[0-9]{1,9}")


def read_retry_after(value: bytes | None, now: float) -> float:
    """The pause in seconds; 0 where there is none, or the value cannot be read. ``now`` is in seconds since the
    epoch.
    """
    if value is None:
        return 0.0
    if _SECONDS.fullmatch(value):
        return min(float(value), MOST_S)
    try:
        at = parsedate_to_datetime(value.decode("ascii"))
        asked = (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp() - now
    except (ValueError, TypeError, IndexError, OverflowError):
        return 0.0
    return max(0.0, min(asked, MOST_S))
