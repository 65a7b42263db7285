"""What the process says about itself, on standard error: start, reload, drain, trouble. Exchanges have their own log.

One line per message, printable ASCII and what a configuration says; a traceback only for bugs of ours.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable
from typing import TextIO

from proxy.errors import Problem

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_HANDLER_NAME = "hookward-journal"

log = logging.getLogger("proxy")


def open_journal(level: str, stream: TextIO | None = None, *, who: str = "") -> None:
    """Send the messages of this process, and the event loop's, to ``stream`` (stderr). May be called again. ``who``
    stands before each, where several processes write to the same stream.
    """
    root = logging.getLogger()
    for handler in list(root.handlers):
        if handler.name == _HANDLER_NAME:
            root.removeHandler(handler)
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.name = _HANDLER_NAME
    handler.setFormatter(logging.Formatter(f"%(asctime)s %(levelname)-7s {who}%(message)s", "%Y-%m-%dT%H:%M:%S%z"))
    root.addHandler(handler)
    # Debug messages are ours to ask for; asyncio's own would fill a disk.
    root.setLevel(max(LEVELS[level], logging.INFO))
    log.setLevel(LEVELS[level])


def problem_lines(problems: Iterable[Problem]) -> str:
    """All problems at once: where, what, and below it how to mend it."""
    return "\n".join(str(problem) for problem in problems)
