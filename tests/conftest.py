"""How every test runs: as long as it takes, on whatever machine, started however."""

import signal

from hypothesis import HealthCheck, settings

settings.register_profile(
    "blox", deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
settings.load_profile("blox")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell that runs this in the background ignores Ctrl-C, and what is started here would
    # inherit that: commands that tests interrupt would never end.
    signal.signal(signal.SIGINT, signal.default_int_handler)
