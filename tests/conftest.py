"""Settings that all tests share."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

from tests.places import make_place, place, postgresql

__all__ = ["make_place", "place", "postgresql"]

#: How often laws are tried; `MILEPOST_LAW_RUNS=1000` tries them in earnest.
LAW_RUNS = int(os.environ.get("MILEPOST_LAW_RUNS", "60"))

settings.register_profile(
    "laws",
    max_examples=LAW_RUNS,
    deadline=None,
    derandomize=True,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)
settings.load_profile("laws")
