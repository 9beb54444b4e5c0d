"""How long Hypothesis looks: ``HYPOTHESIS_PROFILE=thorough`` for much longer."""

from hypothesis import HealthCheck, settings

_SLOW = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much)

settings.register_profile(
    "planning",
    max_examples=150,
    stateful_step_count=50,
    deadline=None,
    suppress_health_check=_SLOW,
    print_blob=True,
)
settings.register_profile("thorough", parent=settings.get_profile("planning"), max_examples=20000)
