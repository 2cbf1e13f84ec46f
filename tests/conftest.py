"""What holds for all tests."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# A property that fails because the machine is busy has shown nothing: none is timed.
settings.register_profile(
    "untimed", parent=settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("untimed")
