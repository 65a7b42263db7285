"""What every test shares: a hypothesis profile without a clock, for two busy cores make any deadline lie."""

from __future__ import annotations

import gc

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("house", deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None)
settings.load_profile("house")


def pytest_collection_finish(session: pytest.Session) -> None:
    """Tests that look for leaks collect garbage, and the collected tests are much to walk through each time."""
    gc.collect()
    gc.freeze()
