"""The cluster-state-service with its waits scaled down: the same command line, seconds for minutes.

`python -m support.quick_state_service --store …`, with tests/ on the path. V comes from the
environment, as ever.
"""

import sys
from typing import Final

from blox.cli.state_service import run_command
from blox.settings import PacingSettings, Settings, ViewSettings

QUICK: Final = Settings(
    view=ViewSettings(
        sweep_interval_with_queue=1.5,
        sweep_interval_without_queue=0.5,
        stopped_kept=600.0,
        unhealthy_confirmation=0.5,
    ),
    pacing=PacingSettings(
        read_rate_without_queue=20.0,
        rates={"cluster-resource-read": (100.0, 100.0), "cluster-read": (100.0, 100.0)},
    ),
)

if __name__ == "__main__":
    raise SystemExit(run_command(sys.argv[1:], settings=QUICK))
