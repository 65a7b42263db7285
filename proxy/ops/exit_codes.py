"""The exit codes of the process: those of sysexits(3) that an operator's script can tell apart."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """How the process ended."""

    OK = 0
    FAILED = 1  # a command did its work, and the result is not what was promised
    USAGE = 64  # bad flags
    UNAVAILABLE = 69  # an address is in use
    SOFTWARE = 70  # a bug of ours
    NO_PERMISSION = 77
    CONFIG = 78  # bad configuration
