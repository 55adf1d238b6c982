"""What a read shows: eventual consistency, as an adversary that keeps to V.

A read begun V after a task was created shows it; before that, List and Describe each lag apart, and
what one read showed the next may not. AWS: results may not be visible to the next call, poll for
up to five minutes (https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RunTask.html).
"""

import base64
import binascii
import json
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from random import Random

from blox.simulator.faults import MICROSECOND, Faults
from blox.simulator.parameters import Parameters, invalid


def draw_lag(random: Random, faults: Faults, bound: float) -> float:
    """How many seconds after its creation a resource may first be seen: mostly at once or after
    seconds, often exactly at the bound, anything between."""
    if random.random() >= faults.lag:
        return 0.0
    kind = random.random()
    if kind < 0.25:
        return bound
    return random.uniform(0.0, bound if kind < 0.5 else min(bound, 5.0))


def shows(random: Random, faults: Faults, *, age: float, lag: float, bound: float) -> bool:
    """Whether one read shows a resource created `age` seconds ago."""
    if age >= bound - MICROSECOND:
        return True
    if age < lag:
        return False
    return not (faults.flicker and random.random() < faults.flicker)


def page(
    parameters: Parameters,
    items: Sequence[str],
    *,
    scope: str,
    random: Random,
    faults: Faults,
    shown: Callable[[str], bool] | None = None,
    descending: bool = False,
) -> tuple[list[str], str | None]:
    """One page of `items` (sorted upwards), and the token of the next. A page may be short, even
    empty; what is created between two pages shows only behind the cursor.

    `scope` binds a token to its operation and cluster.
    """
    limit = parameters.number("maxResults", 100, least=1, most=100)
    short = faults.short_page > 0 and random.random() < faults.short_page
    if short:
        limit = random.randint(1, limit)
    token = parameters.text("nextToken")
    cursor = _open(token, scope) if token else None
    if descending:
        end = len(items) if cursor is None else bisect_left(items, cursor)
        order = range(end - 1, -1, -1)
    else:
        order = range(0 if cursor is None else bisect_right(items, cursor), len(items))
    found: list[str] = []
    for at in order:
        if len(found) == limit:
            return found, _seal(scope, found[-1])
        if shown is None or shown(items[at]):
            found.append(items[at])
    if short and found:
        return found, _seal(scope, found[-1])
    return found, None


def _seal(scope: str, cursor: str) -> str:
    return base64.urlsafe_b64encode(json.dumps([scope, cursor]).encode()).decode()


def _open(token: str, scope: str) -> str:
    try:
        made_for, cursor = json.loads(base64.urlsafe_b64decode(token))
    except (ValueError, TypeError, binascii.Error):
        raise invalid("Invalid nextToken.") from None
    if made_for != scope or not isinstance(cursor, str):
        raise invalid("Invalid nextToken.")
    return cursor
