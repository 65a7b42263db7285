"""The environment as the configuration may see it."""

from __future__ import annotations

import os

#: Chooses the event loop, for tests and for who must avoid uvloop: "asyncio" or "uvloop". It configures nothing else.
LOOP_VARIABLE = "HOOKWARD_LOOP"


def environment() -> dict[str, str]:
    """A copy of the process's environment, without the variable that only chooses the loop."""
    return {name: value for name, value in os.environ.items() if name != LOOP_VARIABLE}
