"""What the process is given by whoever starts it: Python, variables, and the three standard descriptors."""

from __future__ import annotations

import os
import sys

#: As ``platform`` says it, which would be imported for this alone.
PYTHON_VERSION = sys.version.partition(" ")[0]
#: Chooses the event loop, for tests and for who must avoid uvloop: "asyncio" or "uvloop". It configures nothing else.
LOOP_VARIABLE = "HOOKWARD_LOOP"
#: The path of a datagram socket: there ``hookward reload`` hears what came of a reload. The printed units set it.
RELOAD_VARIABLE = "HOOKWARD_RELOAD_SOCKET"
_OWN = {LOOP_VARIABLE, RELOAD_VARIABLE}


def environment() -> dict[str, str]:
    """A copy of the process's environment, without the variables that configure nothing."""
    return {name: value for name, value in os.environ.items() if name not in _OWN}


def hold_standard_descriptors() -> None:
    """Open /dev/null in place of stdin, stdout or stderr where they were closed.

    Else the next socket gets that number: a message for stderr goes to a sender, and libuv aborts when it closes it.
    """
    descriptor = os.open(os.devnull, os.O_RDWR)
    while descriptor <= 2:
        descriptor = os.open(os.devnull, os.O_RDWR)
    os.close(descriptor)
