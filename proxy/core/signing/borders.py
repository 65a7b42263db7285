"""Where one signed part ends and the next begins: a signed text must be readable in one way only.

What is signed is a row of characters. Where two parts that the client chooses stand side by side, characters can go
from one to the other without changing it: body and signature stay right, and mean something else. A border holds where
a literal stands there that no part before the body (or behind it) may hold, where a time has a fixed form, or where the
body is JSON, whose first and last brackets no other part holds. What is read from a parsed body is not judged here.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from proxy.core.signing.scheme import Scheme, TimeFormat
from proxy.core.signing.template import Part, Slot, compile_template

#: Digits of a time that stands beside another part: seconds from 2001 to 2286, and their thousandths.
WIDTHS = {TimeFormat.SECONDS: 10, TimeFormat.MILLISECONDS: 13}

_FIXED = frozenset({*WIDTHS, TimeFormat.RFC3339})
_HEADERS = frozenset({"header", "id", "nonce"})
_BEGIN_WITH_A_SLASH = frozenset({"path", "target", "url"})  # or "http:"; no method holds either character
#: What, beside a whole time of a loose form, may make it a longer one.
_DIGITS = frozenset(b"0123456789")
_LONGER = {
    TimeFormat.SECONDS_OR_MILLISECONDS: _DIGITS,
    TimeFormat.ISO_UTC: _DIGITS | frozenset(b".+-Z"),
    TimeFormat.ANY: _DIGITS | frozenset(b".+-Z"),
}


def open_borders(scheme: Scheme, *, whole_url: bool) -> Iterator[str]:
    """Pairs of slots between which characters can be moved. ``whole_url``: no part of the URL is the client's."""
    if scheme.document is not None:
        return
    parts: tuple[Part | None, ...] = (None, *compile_template(scheme.signed), None)
    form = scheme.timestamp.format if scheme.timestamp is not None else TimeFormat.ANY
    for at, (left, right) in enumerate(pairwise(parts)):
        if isinstance(left, Slot) and isinstance(right, Slot):
            is_open = not (
                _holds_by_time(left, right, parts[at - 1], parts[at + 2], form)
                or _holds_by_kind(scheme, left, right, whole_url=whole_url)
            )
        else:
            is_open = _may_grow(left, right, _LONGER.get(form, frozenset()))
        if is_open:
            yield f"{_show(left)}{_show(right)}"


def _holds_by_kind(scheme: Scheme, left: Slot, right: Slot, *, whole_url: bool) -> bool:
    if left.kind == "method" and right.kind in _BEGIN_WITH_A_SLASH:
        return True
    return "body" in (left.kind, right.kind) and _holds_by_body(scheme, left, right, whole_url=whole_url)


def stands_beside_another(scheme: Scheme) -> bool:
    """Whether the signed time stands beside another part, or beside digits, so that its length alone bounds it."""
    path = scheme.document.timestamp if scheme.document is not None else None
    return any(
        (_is_time(left, path) and (isinstance(right, Slot) or right[:1].isdigit()))
        or (_is_time(right, path) and (isinstance(left, Slot) or left[-1:].isdigit()))
        for left, right in pairwise(compile_template(scheme.signed))
    )


def _may_grow(left: Part | None, right: Part | None, longer: frozenset[int]) -> bool:
    """Whether a time stands beside a literal that another time may hold."""
    if isinstance(right, bytes):
        return isinstance(left, Slot) and left.kind == "timestamp" and right[0] in longer
    return isinstance(left, bytes) and right is not None and right.kind == "timestamp" and left[-1] in longer


def _is_time(part: Part, path: str | None) -> bool:
    return isinstance(part, Slot) and (part.kind == "timestamp" or (part.kind == "field" and part.name == path))


def _show(part: Part | None) -> str:
    if isinstance(part, Slot):
        return f"{{{part.kind}:{part.name}}}" if part.name else f"{{{part.kind}}}"
    return (part or b"").decode("utf-8", "replace")


def _holds_by_time(left: Slot, right: Slot, before: Part | None, after: Part | None, form: TimeFormat) -> bool:
    """A time of a fixed form is found from its free side; one with colons also behind a header's value without any."""
    if form not in _FIXED:
        return False
    clock = form is TimeFormat.RFC3339
    if right.kind == "timestamp":
        return (left.kind == "body" and not isinstance(after, Slot)) or (clock and left.kind in _HEADERS)
    free = not isinstance(before, Slot) or (clock and before.kind in _HEADERS)
    return left.kind == "timestamp" and free


def _holds_by_body(scheme: Scheme, left: Slot, right: Slot, *, whole_url: bool) -> bool:
    other = left if right.kind == "body" else right
    return (whole_url and other.kind == "url") or (scheme.json_body and other.kind in ("timestamp", "url"))
