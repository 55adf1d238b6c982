"""How every property test runs: as long as it takes, on whatever machine."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "blox", deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
settings.load_profile("blox")
