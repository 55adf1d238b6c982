"""A daemon-scheduler with a defect: the task that sweeps ends with an exception.

`python -m support.broken_scheduler --store …`, with tests/ on the path.
"""

import sys

from blox.cli.services import run_command
from blox.clusterstate.view import View
from support.quick_scheduler import QUICK


async def _broken(self: View) -> None:
    raise AssertionError("the planted defect")


if __name__ == "__main__":
    View.run = _broken  # type: ignore[method-assign]
    raise SystemExit(run_command(sys.argv[1:], settings=QUICK))
