"""On how many examples a property is tried: some in every run, and several times as many in ``make test-all``.

Other examples are drawn each time, so that many short runs look further than one long one.
"""

from __future__ import annotations

import os

from hypothesis import settings

TIMES = int(os.environ.get("TEST_EXAMPLES", "1"))


def examples(count: int) -> settings:
    """So many examples, times what the environment says in ``TEST_EXAMPLES``."""
    return settings(max_examples=count * TIMES)
