"""Who answers where a cluster-state-service is to be: asked when the scheduler begins, so that a
wrong address is told then, and not when the first cluster is to be followed."""

import asyncio
import json
import os
from collections.abc import Sequence
from typing import Final, NamedTuple

import aiohttp
import structlog

TIMEOUT: Final = 5.0
"""Seconds for one answer."""
AGAIN: Final = 5.0
"""Seconds until those are asked again that were not what is needed."""
_LONGEST: Final = 1024 * 1024
"""Bytes of an answer that are read."""
_CORRECT: Final = "correct --css-endpoint"

_log = structlog.get_logger("blox")


class Answered(NamedTuple):
    """What is at an address."""

    problem: str
    """Why it will not do, in a sentence; "" when it is a cluster-state-service."""
    other: bool = False
    """Somebody answers, and is something else."""


async def who_answers(endpoint: str) -> Answered:
    """Ask an address, HOST:PORT or a URL, what it is."""
    base = endpoint if "://" in endpoint else f"http://{endpoint}"
    timeout = aiohttp.ClientTimeout(total=TIMEOUT)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=False) as session,
            session.get(f"{base.rstrip('/')}/v2/status", allow_redirects=False) as answer,
        ):
            return _judged(endpoint, answer.status, await answer.content.read(_LONGEST))
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        return Answered(
            f"No cluster-state-service answers at {endpoint} ({_cause(error)}): start one there, "
            f"or {_CORRECT}."
        )


def _judged(endpoint: str, status: int, body: bytes) -> Answered:
    try:
        told = json.loads(body)
    except ValueError:
        told = None
    members = told if isinstance(told, dict) else {}
    if status == 200 and "epoch" in members:
        return Answered("")
    if status >= 500:
        return Answered(f"{endpoint} answered {status}: see to what is there, or {_CORRECT}.")
    found = "a daemon-scheduler" if status == 200 and "mode" in members else "something else"
    return Answered(
        f"{endpoint} is {found}, not a cluster-state-service (which answers at port 3000 unless it "
        f"was told otherwise): {_CORRECT}.",
        other=True,
    )


def _cause(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, aiohttp.ClientSSLError):
        return "no TLS there: the service itself speaks plain http, as in http://127.0.0.1:3000"
    number = error.os_error.errno if isinstance(error, aiohttp.ClientConnectorError) else None
    return os.strerror(number) if number and number > 0 else str(error) or type(error).__name__


class Whereabouts:
    """What is known of several addresses."""

    def __init__(self, endpoints: Sequence[str]) -> None:
        """Nothing is asked yet."""
        self._found: dict[str, Answered] = {}
        self._endpoints = tuple(endpoints)

    async def ask(self) -> None:
        """Ask all of them, and those again that will not do, until all will. What is found is
        logged, each cause once."""
        left = self._endpoints
        while left:
            for endpoint, found in zip(
                left, await asyncio.gather(*map(who_answers, left)), strict=True
            ):
                self._learn(endpoint, found)
            left = tuple(endpoint for endpoint in left if self._found[endpoint].problem)
            if left:
                await asyncio.sleep(AGAIN)

    def _learn(self, endpoint: str, found: Answered) -> None:
        if self._found.get(endpoint) == found:
            return
        self._found[endpoint] = found
        if found.problem:
            _log.warning("view", css_endpoint=endpoint, problem=found.problem)
        else:
            _log.info("view", css_endpoint=endpoint, state="answers")

    @property
    def problem(self) -> str | None:
        """Why none of them will do; None when one will, and when they have not been asked yet."""
        problems = [self._found[name].problem for name in self._endpoints if name in self._found]
        return " ".join(problems) if problems and all(problems) else None

    def answers(self, endpoint: str) -> bool:
        """Whether a cluster-state-service has answered there."""
        found = self._found.get(endpoint)
        return found is not None and not found.problem

    def another(self, endpoint: str) -> str | None:
        """What is there instead, in a sentence; None where nothing else is."""
        found = self._found.get(endpoint)
        return found.problem if found is not None and found.other else None
