"""How the files of this folder measure one call after the other.

``--quick`` is for tests: everything runs, and the figures mean nothing.
"""

import statistics
import sys
import timeit
from collections.abc import Callable, Mapping

QUICK = "--quick" in sys.argv
ROUNDS, SECONDS = (1, 0.0) if QUICK else (15, 0.05)


def few(count: int, least: int = 1) -> int:
    """``count``, or ``least`` where it is to be quick."""
    return least if QUICK else count


def median_us(case: Callable[[], object]) -> float:
    """The median over the rounds of the mean time of one call."""
    timer = timeit.Timer(case)
    calls = max(1, int(timer.autorange()[0] * SECONDS / 0.2)) if SECONDS else 1
    return statistics.median(timer.timeit(calls) / calls for _ in range(ROUNDS)) * 1e6


def tell(cases: Mapping[str, Callable[[], object]]) -> None:
    """A line for each case."""
    for name, case in cases.items():
        print(f"{name:44} {median_us(case):10.2f} µs")
