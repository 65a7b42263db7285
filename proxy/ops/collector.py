"""The cyclic garbage collector of a process that serves: it looks seldom, and never at what stays.

An exchange leaves no cycles behind (its parts are freed by their last reference), so what the collector would look
through at every few hundred allocations is the code and the configuration: measured, 5 % of the time of a delivery.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator

#: Net allocations of containers before the young ones are looked through; Python's own figure is 700.
YOUNG = 20_000


@contextlib.contextmanager
def paused() -> Iterator[None]:
    """Collect nothing meanwhile, and take what was made for permanent: imports make much that stays and no garbage.

    Looking at it again and again would be a tenth of the time of a start.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def settle() -> None:
    """Take all that is there now for permanent, and look at the rest more seldom. Called once, before serving."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, 20, 50)
