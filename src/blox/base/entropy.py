"""Identifiers from the operating system, or from a seed."""

import random
import uuid

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


class SeededEntropy:
    """The same seed gives the same identifiers in the same order."""

    def __init__(self, seed: int | str) -> None:
        self._random: random.Random = random.Random(seed)

    def uuid(self) -> str:
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))

    def token(self) -> str:
        bits = self._random.getrandbits(130)
        return "".join(_CROCKFORD[(bits >> shift) & 31] for shift in range(125, -1, -5))

    def uniform(self, low: float, high: float) -> float:
        return self._random.uniform(low, high)


class SystemEntropy(SeededEntropy):
    """Identifiers from the operating system's random source."""

    def __init__(self) -> None:
        self._random = random.SystemRandom()
