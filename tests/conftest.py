"""What every test shares."""

from hypothesis import HealthCheck, settings

# No deadline: the machine may be loaded. Real servers are shared between examples on purpose.
settings.register_profile(
    "easel",
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("easel")
