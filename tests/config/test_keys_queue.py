"""The keys of the queue: each has a default that its own bounds admit, and a line that says what happens there."""

from __future__ import annotations

import pytest

from proxy.config.keys import DELIVERY, QUEUE, RETRY, Key
from proxy.config.kinds import read_within


@pytest.mark.parametrize("key", [*DELIVERY, *QUEUE, *RETRY], ids=lambda key: key.name)
def test_defaults_are_within_bounds(key: Key) -> None:
    for value in key.default if isinstance(key.default, list) else [key.default]:
        if value is not None and not key.table:
            read_within(key.kind, value, key.minimum, key.maximum)
