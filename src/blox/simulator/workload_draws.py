"""How a seed's ECS is: which faults it has between the storms, and how it answers the questions
that only a real account can settle."""

from random import Random
from typing import Final

from blox.simulator.model import RepeatedHost, Switches
from blox.simulator.workload_steps import Value

_RATES: Final[dict[str, float]] = {
    "pause": 0.1,
    "unreachable": 0.1,
    "drop_request": 0.1,
    "late_request": 0.1,
    "slow_execution": 0.3,
    "drop_answer": 0.1,
    "late_answer": 0.1,
    "error_before": 0.1,
    "error_after": 0.1,
    "garble": 0.05,
    "omit_host": 0.05,
    "double_host": 0.05,
    "lag": 0.6,
    "flicker": 0.3,
    "short_page": 0.3,
    "slow_task": 0.2,
    "slow_stop": 0.2,
    "dying_task": 0.05,
    "failing_task": 0.1,
    "agent_flap": 0.5,
    "event_lost": 0.3,
    "event_doubled": 0.3,
    "event_late": 0.3,
    "event_ancient": 0.1,
}
"""Fault → its highest rate between the storms."""


def draw_rates(randomness: Random) -> dict[str, float]:
    """Fault rates between the storms; two seeds of three have some."""
    share = randomness.choice((0.0, 0.2, 0.5))
    return {
        name: randomness.uniform(0.0, highest)
        for name, highest in _RATES.items()
        if randomness.random() < share
    }


def draw_switches(randomness: Random) -> Switches:
    """Answers within the assumptions: none of S, E and V is broken."""

    def coin() -> bool:
        return randomness.random() < 0.5

    return Switches(
        start_on_draining=coin(),
        start_on_external=coin(),
        constraints_checked=coin(),
        repeated_host=randomness.choice(tuple(RepeatedHost)),
        events_carry_overrides=coin(),
        attributes_bump_version=coin(),
        draining_bumps_version=coin(),
        started_by_alone=coin(),
        stop_of_stopped_answers=coin(),
        inactive_definition_code=randomness.choice(
            ("ClientException", "InvalidParameterException")
        ),
        denied_status=randomness.choice((400, 403)),
        pending_waits_for_stopping=coin(),
        backdated_refused=randomness.random() < 0.1,
        short_arns=randomness.random() < 0.2,
    )


def definition(
    family: str,
    *,
    health_check: bool = False,
    port: int = 0,
    stop_timeout: int = 30,
    cpu: int = 64,
    memory: int = 128,
    architecture: str = "",
) -> dict[str, Value]:
    """The arguments of a DEFINITION_ADD step."""
    return {
        "family": family,
        "health_check": health_check,
        "port": port,
        "stop_timeout": stop_timeout,
        "cpu": cpu,
        "memory": memory,
        "architecture": architecture,
    }
