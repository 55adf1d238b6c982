"""A disk whose fsync fails on demand: a SQLite VFS that passes everything else on to the real one.

https://rogerbinns.github.io/apsw/vfs.html
"""

import apsw


class BadDisk(apsw.VFS):
    """While `failing`, every fsync of the write-ahead log fails, after the data was written."""

    NAME = "bad-disk"

    def __init__(self) -> None:
        self.failing = False
        self.failures = 0
        super().__init__(self.NAME, "")

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> "_File":  # noqa: N802
        return _File(self, name, flags)


class _File(apsw.VFSFile):
    def __init__(
        self, disk: BadDisk, name: str | apsw.URIFilename | None, flags: list[int]
    ) -> None:
        self._disk = disk
        self._is_log = bool(flags[0] & apsw.SQLITE_OPEN_WAL)
        super().__init__("", name, flags)

    def xSync(self, flags: int) -> None:  # noqa: N802
        if self._disk.failing and self._is_log:
            self._disk.failures += 1
            raise apsw.IOError("the disk does not answer")
        super().xSync(flags)
