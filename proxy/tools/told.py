"""A delivery in one line, for people: what ``tail`` prints of the events of a process and of the lines of a log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy.config.commandline import Paint, visible
from proxy.net.log_formats import clock_text

_STYLES = {"admitted": "green", "observed": "yellow", "refused": "red"}
_MARKS = {"admitted": "ok", "observed": "??", "refused": "NO"}
_MAX_TEXT = 120


def one_line(event: Mapping[str, Any], paint: Paint, *, compact: bool) -> str:
    """The line of one event (the ``Summary`` of the API); a cause that is known stands in a second one."""
    verdict = str(event.get("verdict", ""))
    when = paint(clock_text(float(event.get("time") or 0.0)), "dim")
    mark = paint(_MARKS.get(verdict, "--"), _STYLES.get(verdict, "dim"))
    status = str(event.get("status") or "-").rjust(3)
    reason = _text(event, "reason")
    if compact:
        return " ".join(part for part in (when, mark, status, _text(event, "route") or "-", reason) if part)
    what = f"{_text(event, 'method')} {_text(event, 'path')}".strip() or "-"
    took = f"{float(event.get('duration_s') or 0.0) * 1000:.0f} ms"
    details = [
        ("", _text(event, "detail")),
        ("route=", _text(event, "route")),
        ("event=", _text(event, "event")),
        ("id=", _text(event, "delivery_id")),
        ("from=", _text(event, "client")),
        ("secret=", _text(event, "secret")),
        ("agent=", _text(event, "agent")),
        ("replay of ", _text(event, "replay_of")),
    ]
    told = " ".join(f"{name}{value}" for name, value in details if value)
    size = f"{event.get('size', 0)} B"
    line = f"{when} {mark} {status} {paint(reason, 'bold')} {what} {told} {paint(f'{size} {took}', 'dim')}"
    why = " ".join(part for part in (_text(event, "why", 500), _text(event, "mend", 500)) if part)
    return f"{line}\n    {why}" if why else line


def _text(event: Mapping[str, Any], name: str, most: int = _MAX_TEXT) -> str:
    """What a sender may have chosen, as text that drives no terminal and begins no line."""
    value = event.get(name)
    return "" if value is None else visible(str(value)[:most]).replace("\n", "\\n")
