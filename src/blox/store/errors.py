"""What can go wrong with a store, named by what is known afterwards.

Unavailable (base)
├── StoreUnavailable    nothing happened; try again
└── StoreUnknown        a transaction may or may not have been applied: read back
InvalidInput (base)
└── StoreRefused        this store cannot be used at all: newer format, in use, network disk
Compacted               the revision to watch from is no longer kept: list again
"""

from blox.base.errors import BloxError, InvalidInput, Unavailable


class StoreUnavailable(Unavailable):
    """Nothing was read or written."""


class StoreUnknown(Unavailable):
    """The transaction may or may not have been applied; only reading back tells."""


class StoreRefused(InvalidInput):
    """The store must not be used as asked: in use, of a newer format, or on a network disk."""


class Compacted(BloxError):
    """The revision asked for is no longer kept; list, then watch from the listing's revision."""

    def __init__(self, oldest: int) -> None:
        super().__init__(f"Changes before revision {oldest} are no longer kept; list again.")
        self.oldest = oldest
