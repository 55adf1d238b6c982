"""The daemon-scheduler with its waits scaled down: the same command line, seconds for minutes.

`python -m support.quick_scheduler --store …`, with tests/ on the path. S, E, V and B come from the
environment, as ever.
"""

import sys
from typing import Final

from blox.cli.services import run_command
from blox.settings import PacingSettings, SchedulerSettings, Settings, ViewSettings

QUICK: Final = Settings(
    view=ViewSettings(
        sweep_interval_with_queue=1.5,
        sweep_interval_without_queue=0.5,
        stopped_kept=60.0,
        unhealthy_confirmation=0.5,
        health_poll=0.3,
    ),
    pacing=PacingSettings(
        read_rate_without_queue=10.0,
        rates={"cluster-resource-modify": (100.0, 80.0), "cluster-resource-read": (100.0, 60.0)},
    ),
    scheduler=SchedulerSettings(
        healthy_after=0.2,
        condition_probe=0.7,
        doubt_looks=(0.3, 0.8, 2.0),
        intent_cleanup=2.0,
        call_timeout=5.0,
    ),
)

if __name__ == "__main__":
    raise SystemExit(run_command(sys.argv[1:], settings=QUICK))
