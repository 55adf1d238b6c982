"""`python -m blox.cli.demo_leash PARENT COMMAND…`: become COMMAND, and end when PARENT does.

The demo ends its scheduler itself, but nobody can when the demo gets kill -9: then the kernel does.
Only Linux can; elsewhere the command simply runs.
https://man7.org/linux/man-pages/man2/PR_SET_PDEATHSIG.2const.html
"""

import ctypes
import os
import signal
import sys
from collections.abc import Sequence
from typing import Final, NoReturn

_PR_SET_PDEATHSIG: Final = 1


def main(arguments: Sequence[str]) -> NoReturn:
    """Never returns."""
    parent, command = int(arguments[0]), list(arguments[1:])
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:
        raise SystemExit("The demo has ended.")
    os.execv(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
