"""What every test shares: a hypothesis profile without a clock, for two busy cores make any deadline lie."""

from __future__ import annotations

import gc
import signal

import pytest
from hypothesis import HealthCheck, settings

from tests.examples import examples

settings.register_profile(
    "house", parent=examples(50), deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
)
settings.load_profile("house")

# A shell starts what runs behind it with SIGINT ignored, and every process that a test starts would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Tests that look for leaks collect garbage, and the collected tests are much to walk through each time."""
    gc.collect()
    gc.freeze()
