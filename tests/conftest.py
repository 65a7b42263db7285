"""What every test shares: a hypothesis profile without a clock, for two busy cores make any deadline lie."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("house", deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None)
settings.load_profile("house")
