"""Which file systems reach over a network, and so must not hold the database.

Their locks can be lost while we believe that we hold them, and their fsync may not mean that the
data is on a disk; SQLite's documentation advises against them
(https://www.sqlite.org/howtocorrupt.html#_filesystems_with_broken_or_missing_lock_implementations).
"""

import re
from typing import Final, NamedTuple

NETWORK: Final = frozenset(
    {
        "9p",
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "fuse.ceph",
        "fuse.glusterfs",
        "fuse.s3fs",
        "fuse.sshfs",
        "glusterfs",
        "gpfs",
        "lustre",
        "nfs",
        "nfs4",
        "smb3",
        "smbfs",
    }
)

_ESCAPE: Final = re.compile(r"\\([0-7]{3})")


class _Mount(NamedTuple):
    point: str
    kind: str


def network_filesystem(mountinfo: str, path: str) -> str | None:
    """The type of the network file system that holds `path`, or None for a local one.

    `mountinfo` is the text of /proc/self/mountinfo (its form: `man 5 proc_pid_mountinfo`); `path`
    is absolute, without symbolic links or "..". The longest mount point above the path wins, and of
    equal ones the last, which covers the others.
    """
    best: _Mount | None = None
    for line in mountinfo.splitlines():
        mount = _parse(line)
        if mount is None or not _holds(mount.point, path):
            continue
        if best is None or len(mount.point) >= len(best.point):
            best = mount
    return best.kind if best is not None and best.kind in NETWORK else None


def _parse(line: str) -> _Mount | None:
    """The mount of one line: ID PARENT DEVICE ROOT POINT OPTIONS [TAG…] - TYPE SOURCE OPTIONS."""
    before, separator, after = line.partition(" - ")
    fields, rest = before.split(" "), after.split(" ")
    if not separator or len(fields) < 6 or not rest[0]:
        return None
    return _Mount(_ESCAPE.sub(lambda match: chr(int(match[1], 8)), fields[4]), rest[0])


def _holds(point: str, path: str) -> bool:
    return point == "/" or path == point or path.startswith(point.rstrip("/") + "/")
