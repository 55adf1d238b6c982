"""A backup on disk: written whole or not at all, and looked at before it gets its name."""

import os
from pathlib import Path

import apsw

from blox.base.errors import InvalidInput
from blox.store.database import APPLICATION_ID
from blox.store.errors import StoreRefused, StoreUnavailable


def write_backup(data: bytes, path: Path, *, replace: bool = False) -> int:
    """Write a store's snapshot to `path`, readable by its owner only; returns how many records are
    in it. Nothing else is there under this name before the copy was checked.

    Raises InvalidInput for a place that cannot be used or is taken (unless `replace`), StoreRefused
    for data that is no store of blox, StoreUnavailable when the disk fails.
    """
    if path.is_dir() or not path.parent.is_dir():
        raise InvalidInput(f"{path}: a file in a folder that exists is needed.")
    if path.exists() and not replace:
        raise InvalidInput(f"{path} exists. Choose another name, or say --replace.")
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        _write(data, draft)
        records = _checked(draft)
        draft.rename(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise StoreUnavailable(f"{path} cannot be written: {error.strerror}.") from error
    finally:
        draft.unlink(missing_ok=True)
    return records


def _write(data: bytes, draft: Path) -> None:
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _checked(draft: Path) -> int:
    """How many records the copy holds. Raises StoreRefused when it is not sound."""
    try:
        db = apsw.Connection(
            f"{draft.resolve().as_uri()}?immutable=1",
            flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI,
        )
        try:
            if db.pragma("application_id") != APPLICATION_ID:
                raise StoreRefused("What was sent is no store of blox.")
            sound = db.pragma("integrity_check")
            if sound != "ok":
                raise StoreRefused(f"The copy is damaged: {sound}.")
            return int(db.execute("SELECT count(*) FROM records").get)
        finally:
            db.close()
    except apsw.Error as error:
        raise StoreRefused(f"What was sent is no store of blox: {error}.") from error


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
