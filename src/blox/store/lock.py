"""One process at a time: the file PATH.lock, held by flock.

The kernel lets go of the lock when its process ends, however it ends; what the file says (pid, host
and start time) is for people and is only believed while the lock is held.
"""

import contextlib
import fcntl
import os
import socket
from datetime import UTC, datetime

from blox.store.errors import StoreRefused


class ProcessLock:
    """Held from `take` to `release`, or to the end of the process."""

    def __init__(self, path: str) -> None:
        self.path = path + ".lock"
        self._guarded = path
        self._descriptor: int | None = None

    def take(self, wall: float) -> None:
        """Take the lock or raise StoreRefused, naming who holds it. `wall`: seconds since 1970."""
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise StoreRefused(
                f"{self.path} cannot be written: {error.strerror}. Choose a folder in which blox "
                "may create files."
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(descriptor, 1000, 0).decode(errors="replace").strip()
            os.close(descriptor)
            raise StoreRefused(
                f"{self._guarded} is in use by {holder or 'another process'}. Stop that process, "
                "or choose another file."
            ) from error
        started = datetime.fromtimestamp(wall, UTC).isoformat(timespec="seconds")
        text = f"process {os.getpid()} on {socket.gethostname()}, running since {started}\n"
        # Losing the text (a full disk) loses no lock.
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, text.encode(), 0)
        self._descriptor = descriptor

    def release(self) -> None:
        """Let go. The file stays: removing it would let two processes lock two files."""
        if self._descriptor is None:
            return
        with contextlib.suppress(OSError):
            os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)
        self._descriptor = None
