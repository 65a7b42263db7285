"""The trace that a request belongs to, as W3C Trace Context names it: ``traceparent`` (https://www.w3.org/TR/trace-context/).

It is read for the log alone and passed on as it came. A client may name any trace.
"""

from __future__ import annotations

import re

_FORM = re.compile(rb"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(?:-.*)?")
_VERSION_0 = 55
_NO_TRACE = b"0" * 32
_NO_SPAN = b"0" * 16


def read_traceparent(value: bytes) -> tuple[str, str]:
    """The trace id and the span id, in hexadecimal; ("", "") where the value is none that counts."""
    found = _FORM.fullmatch(value)
    if found is None or found[1] == _NO_TRACE or found[2] == _NO_SPAN:
        return "", ""
    if value.startswith(b"00") and len(value) != _VERSION_0:
        return "", ""
    return found[1].decode("ascii"), found[2].decode("ascii")
