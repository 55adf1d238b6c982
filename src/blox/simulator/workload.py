"""What happens to a simulated world: a seeded schedule of disturbances, as data.

A `Workload` is made from one random generator and a size, and is the same for the same seed. In the
manner of swarm testing each one enables a random subset of the features, with random intensities,
so that some seeds are one storm and others wait quietly for one rare thing. Every disturbance that
lasts is over when the healing begins; what is for ever (a terminated machine, a deleted
environment, somebody else's task) stays.

Steps name machines by their instance id, environments, clusters and families by their names; where
a step needs one of several tasks it carries a number in [0, 1) that picks it. So a schedule can be
printed, cut down and replayed. Times are seconds since the beginning of the run.

`blox.simulator.disturber` carries out the steps that concern the cloud; the others are for whoever
runs the scheduler (`WORLD_ACTIONS`).
"""

from random import Random

from blox.simulator.workload_draws import draw_switches
from blox.simulator.workload_features import APPLICATION, FAMILIES, POOLS
from blox.simulator.workload_people import FEATURES, PeoplesCourse
from blox.simulator.workload_steps import (
    EVERYWHERE,
    USER_ACTIONS,
    WORLD_ACTIONS,
    Action,
    Size,
    Step,
)

__all__ = [
    "APPLICATION",
    "EVERYWHERE",
    "FAMILIES",
    "FEATURES",
    "POOLS",
    "USER_ACTIONS",
    "WORLD_ACTIONS",
    "Action",
    "Size",
    "Step",
    "Workload",
]


class Workload:
    """A schedule: `setup` at time 0, then `steps` in the order of time, the last one HEAL."""

    def __init__(self, randomness: Random, size: Size | None = None) -> None:
        self.size = size or Size()
        self.healing_at = self.size.turmoil
        """When the healing begins: the time of the HEAL step."""
        self.switches = draw_switches(randomness)
        """How this seed's ECS answers the questions that nobody has settled."""
        course = PeoplesCourse(randomness, self.size)
        self.features = {**course.features, **course.more}
        """The enabled features with their mean number of occurrences."""
        self.setup = course.set_up()
        self.steps = course.run()
